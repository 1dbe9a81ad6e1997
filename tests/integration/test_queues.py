"""What is in the queues: counted by RabbitMQ, dated by those who have the messages."""

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from actors.channels import close_in_order
from actors.commands import LANES
from actors.queues import QueueInspector, QueueState, QueuesUnknownError
from config import settings
from deploy.local import ports
from models.queries import workers
from tests.conftest import eventually
from tests.integration.workshop import Workshop, declare, message, new_queue

HOUR = timedelta(hours=1)


@pytest.fixture
def let_go() -> Iterator[threading.Event]:
    event = threading.Event()
    yield event
    event.set()


@pytest.fixture
def queue(workshop: Workshop, let_go: threading.Event) -> str:
    """A queue whose messages take until they are let go."""

    def stuck(commands: Any) -> None:
        let_go.wait(60)

    name = new_queue()
    declare(workshop.broker, stuck, name)
    return name


@pytest.fixture
def inspect(workshop: Workshop, queue: str) -> Iterator[Callable[[], QueueState]]:
    """Look into that queue, always by the same inspector."""
    given = msgspec.structs.replace(settings(), rabbitmq_url=workshop.rabbitmq.url)
    with contextlib.closing(QueueInspector(given, [queue])) as inspector:
        yield lambda: inspector.inspect()[queue]


def send(workshop: Workshop, queue: str, age: timedelta, **options: Any) -> None:
    made_ms = int((datetime.now(UTC) - age).timestamp() * 1000)
    given = message(queue, "stuck", {})
    workshop.broker.enqueue(given.copy(message_timestamp=made_ms), **options)


def is_about(found: datetime | None, age: timedelta) -> bool:
    return found is not None and abs(datetime.now(UTC) - found - age) < timedelta(seconds=30)


def deliveries(workshop: Workshop, queue: str) -> int:
    """How often the message at the head was delivered before."""
    with workshop.connect() as connection:
        channel = connection.channel()
        _, properties, _ = channel.basic_get(queue)
        return int((properties.headers or {}).get("x-delivery-count", 0))


def test_a_queue_that_nobody_has_declared_is_empty(inspect: Callable[[], QueueState]) -> None:
    assert inspect() == QueueState(0, 0, 0, 0, None, 0)


def test_a_queue_that_was_deleted_is_empty(
    workshop: Workshop, queue: str, inspect: Callable[[], QueueState]
) -> None:
    inspect()
    with workshop.connect() as connection:
        connection.channel().queue_delete(queue)

    assert inspect() == QueueState(0, 0, 0, 0, None, 0)


def test_waiting_and_delayed_messages_are_counted(
    workshop: Workshop, queue: str, inspect: Callable[[], QueueState]
) -> None:
    for _ in range(3):
        send(workshop, queue, age=HOUR)
    send(workshop, queue, age=HOUR, delay=600_000)

    found = inspect()

    assert (found.ready, found.delayed, found.consumers, found.unacked) == (3, 1, 0, 0)


def test_what_workers_hold_is_counted_too(
    workshop: Workshop, queue: str, inspect: Callable[[], QueueState]
) -> None:
    send(workshop, queue, age=2 * HOUR)
    for _ in range(9):
        send(workshop, queue, age=HOUR)
    send(workshop, queue, age=HOUR, delay=600_000)
    # It fetches two messages a thread.
    workshop.start(queue, threads=2)

    def all_reported() -> bool:
        found = inspect()
        return (found.ready, found.unacked, found.delayed, found.consumers) == (6, 4, 1, 1)

    eventually(all_reported)
    assert is_about(inspect().oldest_at, 2 * HOUR)


def test_without_a_consumer_the_head_says_how_old_the_oldest_is(
    workshop: Workshop, queue: str, inspect: Callable[[], QueueState]
) -> None:
    send(workshop, queue, age=2 * HOUR)
    send(workshop, queue, age=HOUR)

    assert is_about(inspect().oldest_at, 2 * HOUR)


def test_the_head_is_looked_at_once_and_stays_where_it_is(
    workshop: Workshop, queue: str, inspect: Callable[[], QueueState]
) -> None:
    send(workshop, queue, age=HOUR)
    send(workshop, queue, age=0 * HOUR)

    ages = [inspect().oldest_at]
    eventually(lambda: workshop.messages_in(queue) == 2)
    ages += [inspect().oldest_at for _ in range(5)]

    assert len(set(ages)) == 1
    assert deliveries(workshop, queue) == 1


def test_the_head_of_a_lane_says_how_old_the_oldest_is(workshop: Workshop) -> None:
    given = msgspec.structs.replace(settings(), rabbitmq_url=workshop.rabbitmq.url)
    (lane, *_) = LANES
    for age in (2 * HOUR, HOUR):
        send(workshop, lane, age=age)

    with contextlib.closing(QueueInspector(given, [lane])) as inspector:
        assert is_about(inspector.inspect()[lane].oldest_at, 2 * HOUR)
        # It goes back to its place
        eventually(lambda: workshop.messages_in(lane) == 2)
        assert inspector.inspect()[lane].consumers == 0
    with contextlib.closing(QueueInspector(given, [lane])) as another:
        assert is_about(another.inspect()[lane].oldest_at, 2 * HOUR)


def test_a_look_at_a_lane_leaves_what_a_worker_gave_back_in_order(workshop: Workshop) -> None:
    (lane, *_) = LANES
    for age in (3 * HOUR, 2 * HOUR, HOUR):
        send(workshop, lane, age=age)
    with workshop.connect() as connection:
        # Given a worker that gave the first ones back
        worker = connection.channel()
        worker.basic_qos(prefetch_count=2)
        before = bodies(worker, lane, 2)
        close_in_order(worker)

        # When somebody looks how old the oldest one is
        given = msgspec.structs.replace(settings(), rabbitmq_url=workshop.rabbitmq.url)
        with contextlib.closing(QueueInspector(given, [lane])) as inspector:
            assert is_about(inspector.inspect()[lane].oldest_at, 3 * HOUR)
        eventually(lambda: workshop.messages_in(lane) == 3)

        # Then the next worker gets all in the order in which it was sent
        assert bodies(connection.channel(), lane, 3)[:2] == before


def bodies(channel: Any, queue: str, count: int) -> list[bytes]:
    """So many messages from a consumer that acknowledges none."""
    stream = channel.consume(queue, inactivity_timeout=20)
    return [next(stream)[2] for _ in range(count)]


def test_a_head_that_was_taken_is_forgotten(
    workshop: Workshop, queue: str, inspect: Callable[[], QueueState], let_go: threading.Event
) -> None:
    send(workshop, queue, age=HOUR)
    assert is_about(inspect().oldest_at, HOUR)
    let_go.set()
    workshop.start(queue)
    workshop.eventually_empty(queue)
    workshop.stop_workers()
    assert inspect().oldest_at is None

    send(workshop, queue, age=0 * HOUR)

    assert is_about(inspect().oldest_at, 0 * HOUR)


def test_what_is_no_message_of_ours_has_no_age(
    workshop: Workshop, queue: str, inspect: Callable[[], QueueState]
) -> None:
    workshop.publish(queue, b"nonsense")

    found = inspect()

    assert (found.ready, found.oldest_at) == (1, None)


def test_the_age_of_an_empty_queue_is_not_known(
    workshop: Workshop, queue: str, inspect: Callable[[], QueueState], let_go: threading.Event
) -> None:
    let_go.set()
    send(workshop, queue, age=HOUR)
    workshop.start(queue)
    workshop.eventually_empty(queue)

    eventually(lambda: not any(w.holds[queue]["unacked"] for w in workers.live()))
    assert inspect().oldest_at is None
    assert inspect().consumers == 1


def test_a_connection_that_rabbitmq_dropped_is_replaced(workshop: Workshop, queue: str) -> None:
    given = msgspec.structs.replace(settings(), rabbitmq_url=workshop.rabbitmq.url)
    with contextlib.closing(QueueInspector(given, [queue])) as inspector:
        inspector.inspect()
        assert inspector._connection is not None
        inspector._connection._impl._transport._sock.shutdown(socket.SHUT_RDWR)

        assert inspector.inspect()[queue].ready == 0


def away() -> str:
    return f"127.0.0.1:{ports.free_ports(1)[0]}"


def unknown() -> str:
    return "rabbitmq.invalid:5672"


@pytest.fixture
def hangs() -> Iterator[str]:
    """A node that takes connections, as far as the kernel goes, and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


@pytest.mark.parametrize("kind", ["away", "unknown", "hangs"])
def test_rabbitmq_that_is_away_is_said_to_be(hangs: str, kind: str) -> None:
    address = {"away": away(), "unknown": unknown(), "hangs": hangs}[kind]
    given = msgspec.structs.replace(
        settings(), rabbitmq_url=f"amqp://guest:guest@{address}/%2F", connect_timeout_s=1
    )
    with contextlib.closing(QueueInspector(given)) as inspector, pytest.raises(QueuesUnknownError):
        inspector.inspect([])


def test_nodes_that_are_away_hide_no_other(workshop: Workshop, hangs: str) -> None:
    urls = [f"amqp://u:p@{address}/" for address in (away(), unknown(), hangs)]
    broker = workshop.new_broker(
        rabbitmq_url=";".join([*urls, workshop.rabbitmq.url]), connect_timeout_s=1
    )

    # In whatever order they are tried
    for _ in range(5):
        assert broker.connection.is_open
        del broker.connection
