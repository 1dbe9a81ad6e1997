"""Messages are settled by what is known of them: none is lost, none is settled for another.

Each of these is a way in which stock Dramatiq on RabbitMQ loses or doubles messages.
"""

import socket
from threading import Event
from typing import Any

import msgspec
import pytest
from dramatiq.common import dq_name, xq_name
from dramatiq.errors import ConnectionClosed
from dramatiq.middleware import Middleware
from pika.frame import Method
from pika.spec import Basic

from actors.controls import controls
from actors.placing import place_orders
from tests.conftest import eventually
from tests.integration.workshop import (
    Workshop,
    dead_letters,
    declare,
    for_actor,
    new_queue,
    order,
    orders_now,
    stocked,
)


class Work:
    """An actor's function that notes its runs and fails for as long as it is told to."""

    def __init__(self) -> None:
        self.runs: list[str] = []
        self.done: list[str] = []
        self.healed = Event()

    def __call__(self, commands: msgspec.Raw) -> None:
        name = msgspec.json.decode(commands)[0]
        self.runs.append(name)
        if not self.healed.is_set():
            raise ConnectionError(f"{name} came too early")
        self.done.append(name)

    __name__ = "work"


@pytest.fixture
def quick_to_give_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """One attempt at a publish rather than six."""
    monkeypatch.setattr("dramatiq.brokers.rabbitmq.MAX_ENQUEUE_ATTEMPTS", 1)


# --- trap 1: the retry can't be published ---


def test_a_message_whose_retry_can_not_be_published_is_put_back_and_processed_later(
    workshop: Workshop, quick_to_give_up: None
) -> None:
    # Given messages that fail
    work = Work()
    broker = workshop.new_broker(blocked_timeout_s=0.3)
    actor = declare(broker, work, new_queue())
    names = [f"m{n}" for n in range(4)]
    for name in names:
        broker.enqueue(for_actor(actor, name))
    # and a RabbitMQ that is out of memory, so that no retry can be published
    workshop.rabbitmq.ctl("set_vm_memory_high_watermark", "absolute", "1")
    try:
        # When a worker tries them, again and again, from the queue itself
        workshop.start(actor.queue_name, broker=broker)
        eventually(lambda: all(work.runs.count(name) >= 2 for name in names))
    finally:
        workshop.rabbitmq.ctl("set_vm_memory_high_watermark", "absolute", "1GB")
    work.healed.set()

    # Then none is lost, and nothing is left behind
    eventually(lambda: set(work.done) == set(names))
    workshop.eventually_empty(actor.queue_name)
    assert dead_letters() == []


def test_a_retry_survives_that_the_delay_queue_was_deleted(workshop: Workshop) -> None:
    work = Work()
    actor = declare(workshop.broker, work, new_queue())
    broker = workshop.broker
    broker.enqueue(for_actor(actor, "a"))
    with workshop.connect() as connection:
        connection.channel().queue_delete(dq_name(actor.queue_name))

    workshop.start(actor.queue_name)

    eventually(lambda: work.runs)
    work.healed.set()
    eventually(lambda: work.done == ["a"])
    workshop.eventually_empty(actor.queue_name)


def test_a_retry_survives_that_its_connection_was_closed_at_that_moment(
    workshop: Workshop, quick_to_give_up: None
) -> None:
    class CutsOnce(Work):
        """The thread's own connection to RabbitMQ is dead when the retry is to be published."""

        def __call__(self, commands: msgspec.Raw) -> None:
            if len(self.runs) == 0:
                workshop.broker.connection._impl._transport._sock.shutdown(socket.SHUT_RDWR)
            super().__call__(commands)

    work = CutsOnce()
    actor = declare(workshop.broker, work, new_queue())
    workshop.broker.enqueue(for_actor(actor, "a"))
    workshop.start(actor.queue_name)

    eventually(lambda: len(work.runs) >= 2)
    work.healed.set()

    eventually(lambda: work.done)
    workshop.eventually_empty(actor.queue_name)


def test_a_failure_that_can_not_be_recorded_is_not_let_go_of(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a message that is given up, while its record can't be written
    class Hopeless(Work):
        def __call__(self, commands: msgspec.Raw) -> None:
            self.runs.append("run")
            raise ValueError("a bug")

    work = Hopeless()
    actor = declare(workshop.broker, work, new_queue())
    unwritable = Event()

    def record(*_: Any) -> None:
        unwritable.set()
        raise OSError("no database")

    with monkeypatch.context() as patch:
        patch.setattr("actors.waiting_moves.dead_letters.record", record)
        workshop.broker.enqueue(for_actor(actor, "a", retries=5))
        workshop.start(actor.queue_name)
        # When that was tried, then it comes again
        eventually(lambda: unwritable.is_set() and len(work.runs) >= 2)

    # and is on record once that is possible
    eventually(dead_letters)
    workshop.eventually_empty(actor.queue_name)


# --- trap 2: confirms, mandatory, full queues ---


def test_a_message_for_a_queue_that_was_deleted_is_published_to_a_new_one(
    workshop: Workshop,
) -> None:
    actor = declare(workshop.broker, Work(), new_queue())
    workshop.broker.enqueue(for_actor(actor, "a"))
    with workshop.connect() as connection:
        connection.channel().queue_delete(actor.queue_name)

    workshop.broker.enqueue(for_actor(actor, "b"))

    assert workshop.messages_in(actor.queue_name) == 1


def test_a_full_queue_refuses_and_holds_exactly_what_it_took(workshop: Workshop) -> None:
    broker = workshop.new_broker(queue_length_max=3)
    actor = declare(broker, Work(), new_queue())
    taken = 0

    with pytest.raises(ConnectionClosed):
        for _ in range(100):
            broker.enqueue(for_actor(actor, "a"))
            taken += 1

    assert 3 <= taken < 100
    eventually(lambda: workshop.messages_in(actor.queue_name) == taken)


def test_a_full_queue_still_lets_messages_wait_for_a_retry(workshop: Workshop) -> None:
    broker = workshop.new_broker(queue_length_max=1)
    actor = declare(broker, Work(), new_queue())

    for _ in range(10):
        broker.enqueue(for_actor(actor, "a"), delay=60_000)

    eventually(lambda: workshop.messages_in(dq_name(actor.queue_name)) == 10)


def test_what_is_published_survives_a_restart_of_the_broker_by_being_persistent(
    workshop: Workshop,
) -> None:
    actor = declare(workshop.broker, Work(), new_queue())
    workshop.broker.enqueue(for_actor(actor, "a"))
    workshop.broker.enqueue(for_actor(actor, "b"), delay=60_000)

    with workshop.connect() as connection:
        channel = connection.channel()
        for name in (actor.queue_name, dq_name(actor.queue_name)):
            frame, properties, _ = channel.basic_get(name)
            assert frame is not None
            assert properties.delivery_mode == 2
            channel.basic_nack(frame.delivery_tag)


# --- trap 3: a delivery belongs to the consumer that received it ---


@pytest.mark.parametrize("settle", ["ack", "nack"])
def test_a_message_of_a_consumer_that_is_gone_settles_no_message_of_the_new_one(
    workshop: Workshop, settle: str
) -> None:
    controls.refresh()  # as a worker does when it boots
    # Given a message that an old consumer delivered under the number 1
    actor = declare(workshop.broker, Work(), new_queue())
    workshop.broker.enqueue(for_actor(actor, "a"))
    old: Any = workshop.broker.consume(actor.queue_name, timeout=100)
    delivered_before = eventually(lambda: next(old))
    old.close()
    # and that a new consumer has received under the same number
    new: Any = workshop.broker.consume(actor.queue_name, timeout=100)
    delivered_now = eventually(lambda: next(new))
    assert delivered_now._tag == delivered_before._tag

    # When what is left of the old one is settled through the new consumer
    getattr(new, settle)(delivered_before)
    new.close()

    # Then the message is still there
    eventually(lambda: workshop.messages_in(actor.queue_name) == 1)
    assert workshop.messages_in(xq_name(actor.queue_name)) == 0


def test_a_message_is_settled_once_by_the_consumer_that_delivered_it(workshop: Workshop) -> None:
    actor = declare(workshop.broker, Work(), new_queue())
    workshop.broker.enqueue(for_actor(actor, "a"))
    consumer: Any = workshop.broker.consume(actor.queue_name, timeout=100)

    consumer.ack(eventually(lambda: next(consumer)))
    consumer.close()

    for name in (actor.queue_name, xq_name(actor.queue_name)):
        assert workshop.messages_in(name) == 0


# --- trap 4: the broker cancels a consumer ---


def cancel_as_the_broker_does(thread: Any) -> None:
    """What pika gets when the broker cancels: the messages stay unacknowledged on the channel."""
    consumer = thread.consumer

    def cancelled() -> None:
        tag = consumer.channel._queue_consumer_generator.consumer_tag
        consumer.channel._on_consumer_cancelled_by_broker(
            Method(consumer.channel.channel_number, Basic.Cancel(tag))
        )

    consumer.connection.add_callback_threadsafe(cancelled)
    eventually(lambda: thread.consumer is not consumer)


def test_delayed_messages_are_not_doubled_when_the_broker_cancels_their_consumer(
    workshop: Workshop,
) -> None:
    # Given messages that a worker holds back until they are due
    work = Work()
    work.healed.set()
    actor = declare(workshop.broker, work, new_queue())
    worker = workshop.start(actor.queue_name)
    names = ["a", "b", "c"]
    for name in names:
        workshop.broker.enqueue(for_actor(actor, name), delay=1_500)
    delayed = worker.consumers[dq_name(actor.queue_name)]
    eventually(lambda: delayed.delay_queue.qsize() == 3)

    # When the broker cancels the consumer of the delayed ones
    cancel_as_the_broker_does(delayed)

    # Then each is processed once and nothing is left
    eventually(lambda: len(work.done) >= 3)
    workshop.eventually_empty(actor.queue_name)
    assert sorted(work.done) == names


def test_work_goes_on_after_its_queue_was_deleted(workshop: Workshop) -> None:
    work = Work()
    work.healed.set()
    actor = declare(workshop.broker, work, new_queue())
    worker = workshop.start(actor.queue_name)
    workshop.broker.enqueue(for_actor(actor, "before"))
    eventually(lambda: work.done == ["before"])
    cancelled = {name: thread.consumer for name, thread in worker.consumers.items()}

    with workshop.connect() as connection:
        for name in cancelled:
            connection.channel().queue_delete(name)
    # RabbitMQ 3.10 never tells the consumers of a queue that is made again within moments.
    eventually(lambda: all(worker.consumers[n].consumer is not c for n, c in cancelled.items()))

    workshop.broker.enqueue(for_actor(actor, "after"))
    workshop.broker.enqueue(for_actor(actor, "delayed"), delay=10)
    eventually(lambda: sorted(work.done) == ["after", "before", "delayed"])
    workshop.eventually_empty(actor.queue_name)


def test_work_goes_on_after_every_connection_was_closed(workshop: Workshop) -> None:
    stocked("A", 100)
    worker = workshop.start(place_orders.queue_name)
    first, second = [order(("A", 1)) for _ in range(3)], [order(("A", 1)) for _ in range(3)]
    workshop.broker.enqueue(for_actor(place_orders, *first))
    eventually(lambda: orders_now(first) == ["confirmed"] * 3)

    closed = worker.consumers[place_orders.queue_name].consumer
    # Without --global it closes those of the virtual host "/" only, of which there are none.
    workshop.rabbitmq.ctl("close_all_connections", "--global", "a test")
    eventually(lambda: worker.consumers[place_orders.queue_name].consumer is not closed)

    workshop.broker.enqueue(for_actor(place_orders, *second))
    eventually(lambda: orders_now(second) == ["confirmed"] * 3)
    workshop.eventually_empty(place_orders.queue_name)


# --- trap 8: hooks ---


class Raises(Middleware):
    """Every hook around a message raises."""

    def before_process_message(self, *_: Any, **__: Any) -> None:
        raise RuntimeError("before")

    def after_process_message(self, *_: Any, **__: Any) -> None:
        raise RuntimeError("after")

    def before_ack(self, *_: Any) -> None:
        raise RuntimeError("before ack")

    def before_delay_message(self, *_: Any) -> None:
        raise RuntimeError("before delay")


def test_a_hook_that_raises_loses_no_message_and_no_retry(workshop: Workshop) -> None:
    work = Work()
    workshop.broker.add_middleware(Raises())
    actor = declare(workshop.broker, work, new_queue())
    workshop.broker.enqueue(for_actor(actor, "a"))
    workshop.start(actor.queue_name)

    eventually(lambda: work.runs)
    work.healed.set()

    eventually(lambda: work.done == ["a"])
    workshop.eventually_empty(actor.queue_name)
