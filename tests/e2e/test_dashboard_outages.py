"""The dashboard while the database or RabbitMQ is away: what it says, and what it leaves open."""

import re
from collections.abc import Iterator

import pytest

from deploy.local.servers import Postgres, RabbitMQ
from tests.conftest import System, eventually
from tests.e2e.operators import Look
from tests.e2e.shop import Shop, fresh
from tests.e2e.test_dashboard_live import outage

NAME = "away"


@pytest.fixture(scope="module")
def own(postgres: Postgres, rabbitmq: RabbitMQ) -> Iterator[System]:
    """A system that may be broken."""
    system = System(postgres, rabbitmq, NAME, PUBLISH_DEADLINE_S="2")
    system.prepare()
    system.start()
    yield system
    system.discard()


def test_without_the_database_nothing_unknown_is_told_as_known(own: System) -> None:
    with own.client() as client:
        assert client.get("/dashboard").status_code == 200
    with own.client() as client, outage(own):
        eventually(lambda: "has not answered" in client.get("/dashboard").text)

        orders = client.get("/dashboard/orders?status=shipped&sku=A")
        acted = Look(client.post("/dashboard/inventory/A/adjust", data={"delta": "1"}))
        resume = Look(client.get("/dashboard/queues/holdfast.orders/resume"))
        limit = Look(client.get("/dashboard/actors/place_orders/limit"))

        assert 'href="/dashboard/orders?status=shipped&amp;sku=A">Try again now' in orders.text
        assert "Idempotency-Key" not in orders.text
        assert acted.status == 503
        assert acted.says("The database can't answer now.", "Nothing was changed")
        # Counts that nobody can ask for stay as they were, and say since when.
        assert (
            len(re.findall(r'count-\w+ old" title="as of [^"]+ UTC">0<', resume.answer.text)) == 4
        )
        assert resume.says("Whether it is paused is unknown")
        assert limit.says("What is in force is unknown")


def test_without_rabbitmq_an_action_may_have_been_taken_and_can_be_looked_up(
    own: System, rabbitmq: RabbitMQ
) -> None:
    with own.client() as client:
        sku = Shop(client).product(5)
        rabbitmq.ctl("delete_vhost", NAME)
        try:
            form = {"delta": "1", "reason": "found", "key": fresh("key")}
            address = f"/dashboard/inventory/{sku}/adjust"
            look = Look(client.post(address, data=form))
            again = Look(client.post(address, data=form))
            unnamed = Look(client.post(address, data=form | {"key": ""}))
        finally:
            rabbitmq.create_vhost(NAME)

        assert look.status == 503
        assert look.says("RabbitMQ", "It may have been taken all the same", "Reload this page")
        assert not look.says("Idempotency-Key")
        (audit,) = [
            link for link in look.links if re.search(r"audit.command_id=[0-9a-f-]{36}$", link)
        ]
        # The same form is the same command.
        assert audit in again.links
        assert client.get(audit).status_code == 200
        assert unnamed.status == 503
        assert not unnamed.says("Reload this page")
        assert f"/dashboard/inventory/{sku}" in look.links


def test_a_worker_is_alive_by_the_clock_that_stamped_it(own: System) -> None:
    # Given a database whose clock is far behind that of the web's host
    own.stop()
    for statement in (
        "CREATE SCHEMA skewed",
        "CREATE FUNCTION skewed.now() RETURNS timestamptz LANGUAGE sql STABLE "
        "RETURN pg_catalog.now() - interval '1 hour'",
        f'ALTER DATABASE "{NAME}" SET search_path = skewed, public, pg_catalog',
    ):
        own.sql(statement)
    own.start()

    with own.client() as client:
        page = eventually(
            lambda: (look := Look(client.get("/dashboard/workers"))).says("Alive 1") and look
        )
        front = Look(client.get("/dashboard"))

    (row,) = [row for row in page.rows if "process" in row]
    # Beside it stands the exact time, by that clock too.
    assert re.search(r"(now|\d+ s ago)\s+\d+\s\w+ [\d:]+\sUTC\s*$", row)
    assert not front.says("No worker is alive")
