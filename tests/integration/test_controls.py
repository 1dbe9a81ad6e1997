"""Queues paused and resumed, limits set at run time, with real workers on a real RabbitMQ."""

import time
from collections.abc import Iterator
from threading import Event
from typing import Any

import msgspec
import peewee
import pytest
from dramatiq.common import dq_name

from actors.commands import ROUTES, Operate, PauseQueue, ResumeQueue, SetRateLimit
from actors.controls import Controls, controls
from actors.placing import place_orders
from models import database as db
from models.queries import controls as switches
from models.queries import reads
from tests.conftest import eventually
from tests.integration.workshop import (
    Workshop,
    apply,
    declare,
    for_actor,
    new_queue,
    operated,
    operation,
    order,
    orders_now,
    outcomes,
    rows,
    stocked,
)

ORDERS = place_orders.queue_name


@pytest.fixture(autouse=True)
def as_switched(workshop: Workshop) -> Iterator[None]:
    controls.refresh()
    yield
    workshop.stop_workers()
    db.execute("DELETE FROM paused_queues; DELETE FROM actor_limits")
    controls.refresh()


def pause(queue: str) -> None:
    """Pause any queue, and let this process know."""
    switches.pause(queue, "a test", "Ada")
    controls.refresh()


def resume(queue: str) -> None:
    switches.resume(queue)
    controls.refresh()


class Gatekeeper:
    """An actor's function that runs until it may end."""

    __name__ = "gatekeeper"

    def __init__(self) -> None:
        self.begun: list[bytes] = []
        self.may_end = Event()

    def __call__(self, commands: msgspec.Raw) -> None:
        self.begun.append(bytes(commands))
        assert self.may_end.wait(60)


# --- pausing ---


def test_a_paused_queue_gives_back_what_was_fetched_and_finishes_what_runs(
    workshop: Workshop,
) -> None:
    # Given a worker of one thread at work on one message, with more fetched ahead
    work, queue = Gatekeeper(), new_queue()
    actor = declare(workshop.broker, work, queue)
    for name in range(6):
        workshop.broker.enqueue(for_actor(actor, name))
    worker = workshop.start(queue, threads=1)
    eventually(lambda: len(work.begun) == 1)
    consumer = worker.consumers[queue].consumer
    eventually(lambda: len(consumer.known_tags) >= 2)

    # When the queue is paused
    pause(queue)
    work.may_end.set()

    # Then what ran is acknowledged, and all else is in RabbitMQ again
    eventually(lambda: workshop.messages_in(queue) == 5)
    eventually(lambda: not consumer.known_tags)
    assert len(work.begun) == 1

    # And when it is resumed, the rest is done, each once
    resume(queue)
    eventually(lambda: len(work.begun) == 6)
    assert len(set(work.begun)) == 6
    workshop.eventually_empty(queue)


def test_a_worker_that_starts_while_a_queue_is_paused_takes_nothing_of_it(
    workshop: Workshop,
) -> None:
    stocked("A", 5)
    assert operated(PauseQueue(ORDERS, "a test")) == "applied"
    placed = order(("A", 1))
    workshop.broker.enqueue(for_actor(place_orders, placed))

    worker = workshop.start(ORDERS, broker=workshop.new_broker())
    eventually(lambda: worker.consumers[ORDERS].consumer is not None)
    eventually(lambda: consumers_of(workshop, dq_name(ORDERS)) == 1)

    assert consumers_of(workshop, ORDERS) == 0
    assert outcomes([placed]) == [None]
    assert operated(ResumeQueue(ORDERS)) == "applied"
    assert list(switches.freed()) == [f"queue:{ORDERS}"]
    eventually(lambda: orders_now([placed]) == ["confirmed"])


def consumers_of(workshop: Workshop, queue: str) -> int:
    with workshop.connect() as connection:
        declared = connection.channel().queue_declare(queue, passive=True)
        return int(declared.method.consumer_count)


def test_a_pause_longer_than_the_heartbeat_keeps_the_connection(workshop: Workshop) -> None:
    # Given a paused worker whose connection is given up after two seconds of silence
    work, queue = Gatekeeper(), new_queue()
    work.may_end.set()
    broker = workshop.new_broker(heartbeat_s=1)
    actor = declare(broker, work, queue)
    worker = workshop.start(queue, broker=broker)
    eventually(lambda: worker.consumers[queue].consumer is not None)
    consumer = worker.consumers[queue].consumer
    pause(queue)
    eventually(lambda: consumers_of(workshop, queue) == 0)

    # When that has passed
    paused_at = time.monotonic()
    eventually(lambda: time.monotonic() - paused_at > 2.5)

    # Then it is the same connection, and good
    workshop.broker.enqueue(for_actor(actor, "x"))
    resume(queue)
    eventually(lambda: work.begun)
    assert worker.consumers[queue].consumer is consumer
    workshop.eventually_empty(queue)


def test_due_messages_move_on_to_a_paused_queue(workshop: Workshop) -> None:
    stocked("A", 5)
    pause(ORDERS)
    workshop.start(ORDERS)

    workshop.broker.enqueue(for_actor(place_orders, order(("A", 1))), delay=10)

    eventually(lambda: workshop.messages_in(ORDERS) == 1)
    eventually(lambda: workshop.messages_in(dq_name(ORDERS)) == 0)


def test_operations_go_on_while_all_else_is_paused(workshop: Workshop) -> None:
    for route in ROUTES.values():
        if route.queue != ROUTES[Operate].queue:
            pause(route.queue)
    stocked("A", 5)
    placed, resumed = order(("A", 1)), operation(ResumeQueue(ORDERS))
    workshop.broker.enqueue(for_actor(place_orders, placed))
    workshop.start(ORDERS, ROUTES[Operate].queue)

    workshop.broker.enqueue(for_actor(operate_actor(workshop), resumed))

    eventually(lambda: outcomes([resumed]) == ["applied"])
    eventually(lambda: orders_now([placed]) == ["confirmed"])


def operate_actor(workshop: Workshop) -> Any:
    return workshop.broker.get_actor(ROUTES[Operate].actor)


def test_the_switches_stay_as_they_are_while_the_database_is_away(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ours = Controls()
    assert ours.is_paused("holdfast.orders"), "what is not known yet counts as paused"
    assert not ours.is_paused(ROUTES[Operate].queue)
    assert not ours.is_paused("holdfast.orders.DQ")
    switches.pause("holdfast.orders", "a test", "Ada")
    switches.set_limit("place_orders", "5/s", "Ada")
    ours.refresh()

    def away() -> Any:
        raise peewee.OperationalError("no database")

    monkeypatch.setattr("models.queries.controls.paused", away)
    ours.refresh()
    ours.refresh()

    assert ours.is_paused("holdfast.orders")
    assert not ours.is_paused("holdfast.transitions")
    assert ours.rate_limit("place_orders") == "5/s"


def test_a_queue_that_is_paused_again_has_been_since_the_first_time(workshop: Workshop) -> None:
    operated(PauseQueue(ORDERS, "first"))
    (first,) = switches.paused()

    assert operated(PauseQueue(ORDERS, "second")) == "applied"

    (second,) = switches.paused()
    assert (second.queue, second.reason, second.paused_by) == (ORDERS, "second", "Ada")
    assert second.paused_at == first.paused_at


@pytest.mark.parametrize(
    ("action", "slug"),
    [
        (PauseQueue("holdfast.nothing", "a test"), "unknown-queue"),
        (PauseQueue(ROUTES[Operate].queue, "a test"), "not-to-be-stopped"),
        (ResumeQueue("holdfast.nothing"), "unknown-queue"),
        (ResumeQueue("holdfast.transitions"), "not-paused"),
        (SetRateLimit("nobody", "1/s"), "unknown-actor"),
        (SetRateLimit("operate", "1/h"), "not-to-be-stopped"),
    ],
)
def test_a_switch_that_makes_no_sense_is_refused(
    workshop: Workshop, action: Any, slug: str
) -> None:
    command = operation(action)

    apply(workshop.broker.get_actor("operate"), command)

    (found,) = reads.commands_by_id([command.id])
    assert found is not None
    assert found.status == "rejected"
    assert found.problem is not None
    assert found.problem["type"] == f"/problems/{slug}"
    assert rows("SELECT * FROM paused_queues") == rows("SELECT * FROM actor_limits") == []


# --- limits ---


def test_a_limit_set_at_run_time_holds_and_its_removal_lifts_it(workshop: Workshop) -> None:
    # Given an actor without a limit
    work, queue = Gatekeeper(), new_queue()
    work.may_end.set()
    actor = declare(workshop.broker, work, queue)
    workshop.start(queue, threads=4)
    workshop.broker.enqueue(for_actor(actor, "free"))
    eventually(lambda: len(work.begun) == 1)
    assert rows("SELECT key FROM rate_limits") == []

    # When it is limited, one message runs and the others wait
    switches.set_limit("gatekeeper", "1/h", "Ada")
    controls.refresh()
    for name in range(4):
        workshop.broker.enqueue(for_actor(actor, name))
    eventually(lambda: len(work.begun) == 2)
    eventually(lambda: workshop.messages_in(queue) == 0)
    eventually(lambda: sum(v for (v,) in rows("SELECT value FROM rate_limits")) == 1)

    # And when the limit is lifted, all that waited runs at once, with what comes
    switches.set_limit("gatekeeper", None, "Ada")
    controls.refresh()
    workshop.broker.enqueue(for_actor(actor, "after"))
    eventually(lambda: len(set(work.begun)) == len(work.begun) == 6)
    workshop.eventually_empty(queue)


def test_a_limit_that_was_just_lifted_holds_no_queue(database: None) -> None:
    met = controls.limits_version
    switches.set_limit("limited", "1/h", "Ada")
    controls.refresh()

    controls.hold("held", 60, met)
    assert controls.held_for_s("held") == 0

    controls.hold("held", 60, controls.limits_version)
    assert controls.held_for_s("held") > 0
    controls.lift("held")


def test_a_limit_set_at_run_time_holds_instead_of_the_setting(workshop: Workshop) -> None:
    def limited(commands: msgspec.Raw) -> None: ...

    actor = declare(workshop.broker, limited, new_queue(), rate_limit="1/h")
    actor.fn(commands=msgspec.Raw(b"[]"))

    switches.set_limit("limited", "1000/h", "Ada")
    controls.refresh()

    for _ in range(5):
        actor.fn(commands=msgspec.Raw(b"[]"))


def test_a_limit_is_set_and_removed_by_an_operation(workshop: Workshop) -> None:
    assert operated(SetRateLimit("place_orders", "50/m")) == "applied"
    assert controls.rate_limit("place_orders") == "50/m"
    ((limit,),) = [switches.limits()]
    assert (limit.actor, limit.rate_limit, limit.set_by) == ("place_orders", "50/m", "Ada")

    assert operated(SetRateLimit("place_orders", None)) == "applied"

    assert list(switches.freed()) == ["actor:place_orders"]
    assert controls.rate_limit("place_orders") is None
