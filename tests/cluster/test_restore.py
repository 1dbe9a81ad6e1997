"""A dump that is restored as docs/deploy/backup.md says: what is there, what has to come again."""

import os
import subprocess
from collections.abc import Iterator

import pytest

from deploy.local.install import postgres_binaries
from deploy.local.servers import Postgres, RabbitMQ
from tests.conftest import CHECKOUT, ROOT, System
from tests.e2e.shop import WAIT, Shop, an_order, assert_stock_is_true

PAGE = CHECKOUT / "docs" / "deploy" / "backup.md"
#: What the page has after `$DATABASE_URL`'s own tools, in its order.
DUMP = ["pg_dump", "--format=custom"]
RESTORE = ["pg_restore", "--exit-on-error", "--no-owner", "--no-privileges"]


@pytest.fixture
def system(postgres: Postgres, rabbitmq: RabbitMQ) -> Iterator[System]:
    running = System(postgres, rabbitmq, "restore")
    running.prepare()
    running.start()
    yield running
    running.stop()


def test_an_older_state_is_whole_and_what_came_since_can_be_sent_again(
    system: System, postgres: Postgres
) -> None:
    # Given a dump that was made while orders came in, and an order after it
    dump = ROOT / "holdfast.dump"
    with system.client() as client:
        shop = Shop(client)
        sku = shop.product(10)
        before = client.post("/v1/orders", json=an_order((sku, 2)), headers=WAIT).json()["id"]
        run(*DUMP, f"--file={dump}", f"--dbname={system.environment['DATABASE_URL']}")
        since = {**WAIT, "Idempotency-Key": "since-the-dump"}
        lost = client.post("/v1/orders", json=an_order((sku, 3)), headers=since).json()["id"]
        assert shop.stock(sku) == (10, 5, 5)

    # When it is restored into an empty database
    system.stop()
    empty = postgres.create_database("restored")
    run(*RESTORE, f"--dbname={empty}", str(dump))
    system.environment["DATABASE_URL"] = empty
    system.run("migrate")
    system.start()

    # Then the books agree, the order since is undecided for ever, and its shop can send it again
    system.run("reconcile", "--all")
    with system.client() as client:
        shop = Shop(client)
        assert shop.stock(sku) == (10, 2, 8)
        assert client.get(f"/v1/orders/{before}").json()["status"] == "confirmed"
        assert client.get(f"/v1/orders/{lost}").json()["status"] == "pending"
        listed = [order["id"] for order in shop.page("/v1/orders")["items"]]
        assert listed == [before]
        again = client.post("/v1/orders", json=an_order((sku, 3)), headers=since)
        assert again.json()["status"] == "confirmed"
        assert again.json()["id"] == lost
        assert shop.stock(sku) == (10, 5, 5)
    assert_stock_is_true(system)


def test_the_page_has_the_commands_that_are_tried_here() -> None:
    page = PAGE.read_text()
    assert " ".join(DUMP) in page
    assert " ".join(RESTORE) in page


def run(program: str, *arguments: str) -> None:
    path = f"{postgres_binaries()}:{os.environ['PATH']}"
    subprocess.run([program, *arguments], check=True, env={**os.environ, "PATH": path})
