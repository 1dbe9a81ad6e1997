"""A queue that is full refuses; nothing is lost by that, and no connection."""

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from dramatiq.common import dq_name
from dramatiq.errors import ConnectionClosed
from dramatiq.middleware import Middleware

from actors.broker import Broker
from actors.controls import controls
from models import database as db
from models.queries import controls as switches
from tests.conftest import eventually
from tests.integration.workshop import Workshop, dead_letters, declare, for_actor, new_queue


class Publishes(Middleware):
    """Notes each attempt to publish onto the queue itself."""

    def __init__(self) -> None:
        self.attempts: list[str] = []

    def before_enqueue(self, _broker: Any, message: Any, delay: int | None) -> None:
        if delay is None:
            self.attempts.append(message.message_id)


@pytest.fixture
def resumed(workshop: Workshop) -> Iterator[None]:
    controls.refresh()
    yield
    workshop.stop_workers()
    db.execute("DELETE FROM paused_queues")
    controls.refresh()


def fill(broker: Broker, actor: Any) -> int:
    """Publish until the queue refuses; returns how many it took."""
    taken = 0
    with pytest.raises(ConnectionClosed):
        for _ in range(100):
            broker.enqueue(for_actor(actor, "filler"))
            taken += 1
    return taken


def test_a_queue_that_refuses_costs_no_connection_and_one_attempt(workshop: Workshop) -> None:
    broker, publishes = workshop.new_broker(queue_length_max=3), Publishes()
    broker.add_middleware(publishes)
    actor = declare(broker, print, new_queue())
    connection, channel = broker.connection, broker.channel

    taken = fill(broker, actor)

    assert broker.connection is connection
    assert connection.is_open
    # A channel may be refused for its own sake (see Publishing), so the next try takes another.
    assert channel.is_closed
    assert len(publishes.attempts) == taken + 1
    # Other queues go on by it.
    broker.enqueue(for_actor(declare(broker, repr, new_queue()), "other"))


@pytest.mark.usefixtures("resumed")
def test_due_messages_of_a_full_queue_stay_where_they_are_until_there_is_room(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("actors.full_queues.FULL_PAUSE_S", 0.2)
    done: list[bytes] = []

    def work(commands: msgspec.Raw) -> None:
        done.append(bytes(commands))

    # Given a paused queue that is full, and messages that become due
    broker, publishes = workshop.new_broker(queue_length_max=3), Publishes()
    actor = declare(broker, work, new_queue())
    switches.pause(actor.queue_name, "a test", "Ada")
    controls.refresh()
    taken = fill(broker, actor)
    for name in range(5):
        broker.enqueue(for_actor(actor, name), delay=10 + name)
    broker.add_middleware(publishes)

    # When a worker has tried to move them several times
    worker = workshop.start(actor.queue_name, broker=broker)
    waiting = worker.consumers[dq_name(actor.queue_name)]
    consumer = eventually(lambda: waiting.consumer)
    eventually(lambda: len(publishes.attempts) >= 4)

    # Then it tried the first of them only, by the consumer that holds them all
    assert len(set(publishes.attempts)) == 1
    assert waiting.consumer is consumer
    assert len(consumer.known_tags) == 5
    # While it is tried it is in the worker's hand.
    eventually(lambda: waiting.delay_queue.qsize() == 5)
    # and once there is room each is done, once
    switches.resume(actor.queue_name)
    controls.refresh()
    eventually(lambda: len(done) == taken + 5)
    assert sorted(done)[-5:] == [b"[0]", b"[1]", b"[2]", b"[3]", b"[4]"]
    workshop.eventually_empty(actor.queue_name)
    assert waiting.consumer is consumer
    assert dead_letters() == []
