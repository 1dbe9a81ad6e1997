"""Months go while orders come in: nothing is lost, and what is gone is said to be."""

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.local.servers import Postgres, RabbitMQ
from tests.conftest import API_KEY, CHECKOUT, System, eventually
from tests.e2e.operators import Operator
from tests.e2e.shop import NOW, WAIT, Answer, Ask, Shop, an_order, burst, problem


@pytest.fixture(scope="module")
def old(
    postgres: Postgres, rabbitmq: RabbitMQ, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[System]:
    """A system that keeps two months and exports the others."""
    folder = tmp_path_factory.mktemp("export")
    system = System(
        postgres, rabbitmq, "retention", RETENTION_MONTHS="2", RETENTION_ACTION="export",
        RETENTION_EXPORT_DIR=str(folder), RECONCILE_EVERY_S="0",
    )  # fmt: skip
    system.prepare()
    system.start()
    yield system
    system.discard()


def make_older(system: System, months: int) -> None:
    """All that was traded so far."""
    subprocess.run(
        [sys.executable, "-m", "tests.integration.history", str(months)],
        cwd=CHECKOUT, env=system.environment, check=True,
    )  # fmt: skip


#: A move under a key.
MOVED = {**WAIT, "Idempotency-Key": "cancelled-long-ago"}


def orders_of(sku: str, count: int) -> list[Ask]:
    return [Ask("POST", "/v1/orders", an_order((sku, 1)), NOW) for _ in range(count)]


def test_while_months_go_orders_come_in_and_the_books_agree(old: System) -> None:
    with old.client() as client:
        shop = Shop(client)
        # Given a past: orders that are over, one placed under a key, one that is still open
        sku = shop.product(100_000)
        keyed = {**WAIT, "Idempotency-Key": "of-long-ago"}
        gone = shop.place((sku, 3), headers=keyed).json()
        assert shop.move(gone["id"], "cancelled", headers=MOVED).status_code == 200
        refused = shop.place((sku, 999_999), headers=WAIT).json()
        burst(old, orders_of(sku, 50), connections=8)
        confirmed = [
            order["id"] for order in shop.pages("/v1/orders", status="confirmed", limit=200)
        ]
        eventually(lambda: len(list(shop.pages("/v1/orders", limit=200))) == 52)
        make_older(old, 4)
        stuck = shop.page("/v1/orders", status="confirmed", limit=200)["items"]
        assert len(stuck) >= len(confirmed)

        # Then the plan says that the open ones hold their month
        plan = old.run("partitions", "plan")
        assert "This month and 2 months before it are kept." in plan
        assert f"{len(stuck)} orders confirmed, such as " in plan
        assert "stays, and months go in their order" in plan

        # When they are delivered, and months are taken away while new orders come in
        for order in stuck:
            shop.move(order["id"], "shipped", headers=NOW)
        for order in stuck:
            shop.move(order["id"], "delivered", headers=NOW)
        eventually(lambda: not shop.page("/v1/orders", status="confirmed")["items"])
        eventually(lambda: not shop.page("/v1/orders", status="shipped")["items"])
        answers: list[Answer] = []
        over = threading.Event()

        def load() -> None:
            while not over.is_set() and len(answers) < 20_000:
                answers.extend(burst(old, orders_of(sku, 100), connections=8))

        loading = threading.Thread(target=load)
        loading.start()
        try:
            eventually(lambda: answers)
            done = json.loads(old.run("partitions", "apply", "--json"))
            during = old.run("reconcile", "--all")
            assert loading.is_alive()
        finally:
            over.set()
            loading.join()

        # Then all of them are decided, once, and the books agree
        assert "The books agree" in during
        assert [month["does"] for month in done["months"]] == ["retire"] * 3
        assert {answer.status for answer in answers} == {202}
        ids = [answer.body["id"] for answer in answers]
        count = "SELECT count(*) FROM orders WHERE status = 'confirmed' AND id = ANY (%s::uuid[])"
        eventually(lambda: old.sql(count, ids) == [(len(ids),)], within_s=60)
        assert "The books agree" in old.run("reconcile", "--all")
        left = 100_000 - len(stuck)
        assert shop.stock(sku) == (left, len(ids), left - len(ids))
        assert old.sql("SELECT on_hand, allocated FROM opening_balances") == [(100_000, len(stuck))]

        # And what was there is in the files
        folder = Path(old.environment["RETENTION_EXPORT_DIR"])
        rows = {
            each["table"]: each["rows"]
            for path in folder.glob("*/manifest.json")
            for each in json.loads(path.read_text())["tables"]
            if each["rows"]
        }
        assert rows["orders"] == 52
        assert "orders_" in old.run("partitions", "status")

        what_is_gone_is_said_to_be(old, shop, gone["id"], refused["id"], keyed)


def what_is_gone_is_said_to_be(
    old: System, shop: Shop, gone: str, refused: str, keyed: dict[str, str]
) -> None:
    client = shop.client
    for path in (gone, refused, f"{gone}/events"):
        assert problem(client.get(f"/v1/orders/{path}"), 410, "gone")["detail"].endswith(
            "is of a month that is no longer kept."
        )
    problem(shop.move(gone, "returned"), 410, "gone")
    # What was moved under a key was moved: a retry of long ago learns that
    again = shop.move(gone, "cancelled", headers=MOVED)
    assert (again.status_code, again.headers["Idempotent-Replayed"]) == (202, "true")
    assert shop.command(again.json()["id"])["status"] == "applied"
    operator = Operator(old, API_KEY)
    page = operator.look(f"/dashboard/orders/{gone}")
    operator.close()
    assert page.status == 410
    assert page.says("No longer kept")
    # Its outcome is known as long as the inbox is
    assert shop.command(gone)["status"] == "applied"
    # A key of long ago makes no second order, with a wait and without
    sku = next(iter(shop.pages("/v1/inventory")))["sku"]
    for headers in (keyed, {"Idempotency-Key": keyed["Idempotency-Key"]}):
        again = shop.place((sku, 3), headers=headers)
        assert (again.status_code, again.json()["id"]) == (202, gone)
        assert again.headers["Idempotent-Replayed"] == "true"
    # And lists begin with the months that are kept
    assert gone not in [order["id"] for order in shop.pages("/v1/orders", limit=200)]
    assert {entry["reason"] for entry in shop.movements(sku)} == {"placed", "shipped"}


def test_without_a_policy_everything_is_kept(system: System) -> None:
    assert system.run("partitions", "plan") == (
        "Everything is kept: RETENTION_MONTHS is not set.\n"
    )
    assert json.loads(system.run("partitions", "apply", "--json")) == {
        "policy": {"months": None, "action": "detach", "folder": None}, "months": [],
    }  # fmt: skip
    found = json.loads(system.run("partitions", "status", "--json"))
    assert {each["state"] for each in found} == {"kept", "current", "ahead"}
    assert len(found) == 4 * 5
