"""A consumer that RabbitMQ has lost without a word gets its messages all the same."""

from typing import Any

import msgspec
import pika.exceptions
import pytest

import actors.attachment
from actors.broker import declarations
from config import settings
from tests.conftest import eventually
from tests.integration.workshop import Workshop, declare, message, new_queue


class Seen:
    """An actor that remembers the batches it was given."""

    def __init__(self, name: str = "seen") -> None:
        self.__name__ = name
        self.batches: set[bytes] = set()

    def __call__(self, commands: msgspec.Raw) -> None:
        self.batches.add(bytes(commands))


def connection_of(worker: Any, queue: str) -> Any:
    consumer = worker.consumers[queue].consumer
    return consumer and consumer.connection


def make_anew(workshop: Workshop, queue: str) -> None:
    """Delete a queue and declare it again at once, which RabbitMQ 3.10 tells no consumer."""
    arguments = declarations(queue, settings().queue_length_max)[queue]
    with workshop.connect() as connection:
        channel = connection.channel()
        channel.queue_delete(queue)
        channel.queue_declare(queue, durable=True, arguments=arguments)


def consumers_of(workshop: Workshop, queue: str) -> int:
    with workshop.connect() as connection:
        try:
            found = connection.channel().queue_declare(queue, passive=True)
        except pika.exceptions.ChannelClosedByBroker:
            return 0  # Its worker has not declared it yet.
        return int(found.method.consumer_count)


def test_one_message_is_taken_from_a_queue_that_was_deleted_and_made_again_at_once(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(actors.attachment, "IDLE_MAX_S", 1.0)
    # Given two workers on each of some queues, for it is a race
    seen = {queue: Seen(queue) for queue in (new_queue() for _ in range(4))}
    for queue, actor in seen.items():
        declare(workshop.broker, actor, queue)
    for _ in range(2):
        workshop.start(*seen)
    eventually(lambda: all(consumers_of(workshop, queue) == 2 for queue in seen))

    # When one message comes to each as it is there again
    for queue in seen:
        make_anew(workshop, queue)
        workshop.publish(queue, message(queue, queue, {}).encode())

    # Then it is taken
    eventually(lambda: all(actor.batches for actor in seen.values()))
    workshop.eventually_empty(*seen)


def test_a_consumer_that_begins_anew_loses_nothing_and_keeps_its_connection(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given consumers that begin anew whenever they are idle
    monkeypatch.setattr(actors.attachment, "IDLE_MAX_S", 0.0)
    queue, seen = new_queue(), Seen()
    declare(workshop.broker, seen, queue)
    worker = workshop.start(queue)
    eventually(lambda: consumers_of(workshop, queue) == 1)
    connection = connection_of(worker, queue)
    first = worker.consumers[queue].consumer.channel

    # When messages come one by one, at once and delayed
    for n in range(40):
        one = message(queue, "seen", {"n": n})
        workshop.broker.enqueue(one, delay=n * 5 if n % 2 else None)

    eventually(lambda: len(seen.batches) == 40)
    workshop.eventually_empty(queue)
    eventually(lambda: worker.consumers[queue].consumer.channel is not first)
    assert connection_of(worker, queue) is connection
