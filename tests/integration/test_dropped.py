"""What RabbitMQ drops by somebody's policy is on record by itself, and can be put back."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import msgspec
import pytest
from dramatiq.common import dq_name, xq_name

from actors.dropped import Collector
from actors.operations import operate
from actors.placing import place_orders
from config import settings
from deploy.local.server import ServerError
from models import database as db
from tests.conftest import eventually
from tests.integration.test_put_backs import refusing
from tests.integration.workshop import (
    Workshop,
    apply,
    dead_letters,
    for_actor,
    order,
    orders_now,
    outcomes,
    put_back,
    rows,
    stocked,
)

QUEUE = place_orders.queue_name
POLICY = "a-policy-of-somebody"


@contextmanager
def collecting(workshop: Workshop) -> Iterator[Collector]:
    """As the clock has it."""
    given = msgspec.structs.replace(settings(), rabbitmq_url=workshop.rabbitmq.url)
    collector = Collector(given, [QUEUE])
    collector.start()
    yield collector
    collector.stop()


@pytest.fixture
def collector(workshop: Workshop) -> Iterator[Collector]:
    with collecting(workshop) as collector:
        yield collector
    with suppress(ServerError):
        clear_policy(workshop)


def set_policy(workshop: Workshop, definition: str) -> None:
    """For all queues, as people do."""
    vhost = workshop.rabbitmq.url.rpartition("/")[2]
    workshop.rabbitmq.ctl(
        "set_policy", "--vhost", vhost, POLICY, ".*", definition, "--apply-to", "queues"
    )


def clear_policy(workshop: Workshop) -> None:
    workshop.rabbitmq.ctl(
        "clear_policy", "--vhost", workshop.rabbitmq.url.rpartition("/")[2], POLICY
    )


def expire(workshop: Workshop, *messages: Any) -> None:
    workshop.broker.declare_queue(QUEUE, ensure=True)
    # It also empties .XQ, and keeps it short.
    set_policy(workshop, '{"message-ttl": 100, "max-length": 30}')
    for message in messages:
        workshop.broker.enqueue(message)


def grow_too_long(workshop: Workshop, *messages: Any) -> None:
    workshop.broker.declare_queue(QUEUE, ensure=True)
    set_policy(workshop, '{"max-length-bytes": 1}')
    for message in messages:
        workshop.broker.enqueue(message, delay=60_000)


def be_delivered_too_often(workshop: Workshop, *messages: Any) -> None:
    for message in messages:
        workshop.broker.enqueue(message)
    set_policy(workshop, '{"delivery-limit": 1}')
    with workshop.connect() as connection:
        channel = connection.channel()
        while (taken := channel.basic_get(QUEUE))[0] is not None:
            channel.basic_nack(taken[0].delivery_tag)


@pytest.mark.parametrize(
    ("drop", "reason", "queue"),
    [
        (expire, "expired", QUEUE),
        (grow_too_long, "maxlen", dq_name(QUEUE)),
        (be_delivered_too_often, "delivery_limit", QUEUE),
    ],
)
def test_what_a_policy_drops_is_a_failure_on_record_that_can_be_put_back(
    workshop: Workshop, collector: Collector, drop: Any, reason: str, queue: str
) -> None:
    stocked("A", 100)
    placed = [order(("A", 1)) for _ in range(20)]

    drop(workshop, *(for_actor(place_orders, each) for each in placed))

    eventually(lambda: outcomes(placed) == ["failed"] * 20)
    eventually(lambda: collector.dropped[QUEUE, reason] == 20)
    assert len(dead_letters()) == 20
    _, actor, error_class, error, _ = dead_letters()[0]
    assert (actor, error_class) == ("place_orders", "Dropped")
    assert error.startswith(f"RabbitMQ dropped it from {queue}: ")

    # Once the policy is gone, an operator puts them back, and all are decided.
    clear_policy(workshop)
    assert put_back(*(id_ for (id_,) in rows("SELECT id FROM dead_letters"))) == "applied"
    workshop.start(QUEUE, operate.queue_name)
    eventually(lambda: orders_now(placed) == ["confirmed"] * 20)
    workshop.eventually_empty(QUEUE)


def test_what_was_decided_or_is_no_message_of_ours_needs_no_decision(
    workshop: Workshop, collector: Collector
) -> None:
    stocked("A", 100)
    decided = order(("A", 1))
    apply(place_orders, decided)
    eventually(lambda: workshop.messages_in(xq_name(QUEUE)) == 0)

    with workshop.connect() as connection:
        for body in (for_actor(place_orders, decided).encode(), b"by hand"):
            connection.channel().basic_publish("", xq_name(QUEUE), body)

    eventually(lambda: collector.dropped[QUEUE, ""] == 2)
    assert outcomes([decided]) == ["applied"]
    assert [queue for queue, *_ in dead_letters()] == [QUEUE]


def test_what_was_dropped_is_kept_until_it_can_be_recorded(
    workshop: Workshop, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("actors.dropped.TRY_AGAIN_S", 0.2)
    placed = [order(("A", 1)) for _ in range(3)]
    with refusing("dead_letters"):
        expire(workshop, *(for_actor(place_orders, each) for each in placed))
        # Out of reach of the policy, and counted.
        eventually(lambda: collector.held() == {QUEUE: 3})
        assert outcomes(placed) == [None] * 3

    eventually(lambda: outcomes(placed) == ["failed"] * 3)
    eventually(lambda: collector.held() == {})


def test_while_the_database_is_away_the_first_of_what_was_dropped_waits_for_all(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    # Given many dropped messages, and a fault of the database that each of them would wait for
    monkeypatch.setattr("actors.dropped.TRY_AGAIN_S", 0.1)
    workshop.broker.declare_queue(QUEUE, ensure=True)
    placed = [order(("A", 1)) for _ in range(20)]
    with workshop.connect() as connection:
        for each in placed:
            body = for_actor(place_orders, each).encode()
            connection.channel().basic_publish("", xq_name(QUEUE), body)
    db.execute("CREATE SEQUENCE tried")
    every_try = refusing("dead_letters", "nextval('tried') > 0", sqlstate="57014")
    with every_try, collecting(workshop) as collector:
        eventually(lambda: caplog.text.count("20 messages that RabbitMQ dropped can't be") >= 2)
        collector.stop()
        collector.join()
    # Then each time one is tried and no more, lest RabbitMQ miss the heartbeats
    ((tried,),) = rows("SELECT last_value FROM tried")
    assert tried == caplog.text.count("RabbitMQ dropped can't be recorded")
    db.execute("DROP SEQUENCE tried")

    # And once it passes, all are recorded
    with collecting(workshop):
        eventually(lambda: outcomes(placed) == ["failed"] * 20)
