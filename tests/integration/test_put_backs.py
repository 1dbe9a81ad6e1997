"""A failure that can't be recorded comes back, and is seen to: kept, counted, shown, passed by."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import msgspec
import pytest

from actors import health
from actors.placing import place_orders
from actors.put_backs import put_backs
from actors.queues import QueueInspector
from config import settings
from models import database as db
from models.queries import undecided
from tests.conftest import eventually
from tests.integration.workshop import (
    Workshop,
    dead_letters,
    for_actor,
    order,
    orders_now,
    outcomes,
    rows,
    stocked,
)
from tests.unit.test_health import WELL

CURSED = "cursed"
#: A message with so many retries behind it is given up at its next failure.
LAST_TRY = {"retries": 5}


@pytest.fixture(autouse=True)
def _nothing_came_back() -> None:
    put_backs.forgive()


@contextmanager
def refusing(table: str, when: str = "true", sqlstate: str = "P0001") -> Iterator[None]:
    """PostgreSQL refuses rows of a table: a trigger, as anybody may have added one."""
    db.execute(f"""
        CREATE FUNCTION refuse_{table}() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN RAISE EXCEPTION 'not while this trigger is here' USING ERRCODE = '{sqlstate}'; END $$;
        CREATE TRIGGER refuse BEFORE INSERT ON {table} FOR EACH ROW WHEN ({when})
        EXECUTE FUNCTION refuse_{table}()
    """)
    try:
        yield
    finally:
        db.execute(f"DROP TRIGGER refuse ON {table}; DROP FUNCTION refuse_{table}")


def cursed() -> Any:
    stocked("A", 0)
    return msgspec.structs.replace(order(("A", 1)), customer_id=CURSED)


ON_CURSED = f"NEW.customer_id = '{CURSED}'"


def came_back(worker_queue: str) -> tuple[int, float]:
    """As `holdfast queues list` and the dashboard have it, from the workers' reports."""
    inspector = QueueInspector(settings(), [worker_queue])
    try:
        state = inspector.inspect()[worker_queue]
    finally:
        inspector.close()
    return state.put_back, state.put_back_s


def test_failures_that_can_not_be_recorded_are_counted_shown_and_passed_by(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "PUT_BACK_S_MAX", 0.5)
    stocked("A", 100)
    queue = place_orders.queue_name
    bad = [cursed() for _ in range(8)]
    good = [order(("A", 1)) for _ in range(8)]
    # Given more orders that can only fail than the worker has threads,
    for each in bad:
        workshop.broker.enqueue(for_actor(place_orders, each, **LAST_TRY))
    with refusing("orders", ON_CURSED):
        # while the database takes no record of a failure,
        with refusing("dead_letters"), refusing("undecided"):
            workshop.start(queue)
            for each in good:
                workshop.broker.enqueue(for_actor(place_orders, each))

            # then their neighbours are decided,
            eventually(lambda: orders_now(good) == ["confirmed"] * 8)
            # none of them is let go of, and each is counted, with the reason, for all to see.
            eventually(lambda: put_backs.by_actor().get("place_orders", (0, 0.0))[0] == 8)
            eventually(lambda: put_backs.longest()[0].lasted_s > 0.5)
            vitals = msgspec.structs.replace(WELL, put_back=put_backs.longest())
            judged = health.judge(vitals, WELL.at)
            assert judged.status == "degraded"
            assert "not while this trigger is here" in judged.reasons[0]
            eventually(lambda: came_back(queue)[0] == 8 and came_back(queue)[1] > 0.5)
            assert outcomes(bad) == [None] * 8

        # Once it does, each is on record.
        eventually(lambda: outcomes(bad) == ["failed"] * 8)
        eventually(lambda: put_backs.by_actor() == {})
    assert len(dead_letters()) == 8
    workshop.eventually_empty(queue)


def test_a_failure_is_on_record_though_nothing_else_of_it_can_be_written(
    workshop: Workshop,
) -> None:
    bad = cursed()
    workshop.broker.enqueue(for_actor(place_orders, bad, **LAST_TRY))
    # The rows that the dashboard shows of it, the search for what it is about
    with refusing("orders", sqlstate="42501"), refusing("dead_letters", "NEW.subjects <> '{}'"):
        workshop.start(place_orders.queue_name)
        eventually(lambda: outcomes([bad]) == ["failed"])

    ((_, actor, error_class, error, _),) = dead_letters()
    assert (actor, error_class) == ("place_orders", "ProgrammingError")
    assert "not while this trigger is here" in error


def test_a_fault_that_should_pass_and_never_does_is_shown(workshop: Workshop) -> None:
    bad = cursed()
    workshop.broker.enqueue(for_actor(place_orders, bad))
    # As a statement that always takes too long
    with refusing("orders", ON_CURSED, sqlstate="57014"):
        workshop.start(place_orders.queue_name)
        listed = eventually(lambda: [u for u in undecided.page(limit=10) if u.attempts >= 3])
        assert (listed[0].command_id, listed[0].customer_id) == (bad.id, CURSED)
        assert listed[0].error == "not while this trigger is here"
        (only,) = put_backs.longest()
        assert only.count >= 3
        assert only.lasted_s > 0

    eventually(lambda: outcomes([bad]) == ["rejected"])
    assert undecided.page(limit=10) == []


def test_what_ends_its_own_connections_is_shown(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("actors.retries.LOST_TOO_LONG_S", 0.5)
    bad = cursed()
    workshop.broker.enqueue(for_actor(place_orders, bad))
    # As a statement that PostgreSQL's server process dies of
    with refusing("orders", ON_CURSED, sqlstate="57P01"):
        workshop.start(place_orders.queue_name)
        (listed,) = eventually(lambda: undecided.page(limit=10))
        assert listed.command_id == bad.id
        assert put_backs.longest()[0].count >= 2

    eventually(lambda: outcomes([bad]) == ["rejected"])


def test_what_lost_many_connections_in_a_moment_may_have_met_an_outage(
    workshop: Workshop,
) -> None:
    # Given a message that went back often before, as limits put it back
    bad, queue = cursed(), place_orders.queue_name
    workshop.publish(queue, for_actor(place_orders, bad).encode())
    with workshop.connect() as connection:
        channel = connection.channel()
        for _ in range(12):
            channel.basic_nack(eventually(lambda: channel.basic_get(queue)[0]).delivery_tag)
    with refusing("orders", ON_CURSED, sqlstate="57P01"):
        workshop.start(queue)
        eventually(lambda: put_backs.longest() and put_backs.longest()[0].count >= 14)
        assert undecided.page(limit=10) == []

    eventually(lambda: outcomes([bad]) == ["rejected"])


def test_what_can_not_be_read_is_counted_with_all_its_deliveries(workshop: Workshop) -> None:
    queue = place_orders.queue_name
    workshop.publish(queue, b"not one of ours")
    with refusing("dead_letters"):
        worker = workshop.start(queue)
        eventually(lambda: put_backs.longest() and put_backs.longest()[0].count >= 3)
        # Another process begins its own count where RabbitMQ's is.
        known = put_backs.longest()[0].count
        put_backs.forgive()
        (only,) = eventually(put_backs.longest)
        assert only.count >= known
        assert (only.actor, only.queue) == ("", queue)
        assert worker.consumers

    eventually(lambda: len(dead_letters()) == 1)
    assert rows("SELECT body FROM dead_letters") != []
    eventually(lambda: put_backs.longest() == [])
    workshop.eventually_empty(queue)
