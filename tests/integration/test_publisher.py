"""The front door's connection: what it opens to look at queues it closes; when it begins anew."""

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest

import web.publisher
from actors.commands import ENVELOPE_BYTES_MAX, ROUTES, MoveOrder, PlaceOrder
from config import settings
from deploy.local.servers import RabbitMQ
from web.publisher import CannotPublishError, Publisher

ROUTE = ROUTES[PlaceOrder]


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not holds():
            await asyncio.sleep(0.01)


async def close(publisher: Publisher, *others: Any) -> None:
    """Close it; returns when its connections are, which takes the loop some turns."""
    connections = [publisher._connection, *others]
    await publisher.close()
    await until(lambda: all(one is None or one.is_closed for one in connections))


@pytest.mark.parametrize("looked_before", [False, True])
def test_a_look_that_takes_too_long_leaves_no_channel_open(
    rabbitmq: RabbitMQ, monkeypatch: pytest.MonkeyPatch, looked_before: bool
) -> None:
    async def look(publisher: Publisher) -> None:
        publisher.start()
        await until(lambda: publisher.ready)
        if looked_before:
            assert await publisher.length(ROUTE.queue) is not None
        monkeypatch.setattr(web.publisher, "LOOK_DEADLINE_S", 0)
        assert await publisher.length(ROUTE.queue) is None

        # Then the one that publishes is left, and a look goes on as ever.
        await until(lambda: len(publisher._connection._channels) == 1)  # type: ignore[union-attr]
        monkeypatch.setattr(web.publisher, "LOOK_DEADLINE_S", 20)
        assert await publisher.length(ROUTE.queue) is not None
        await close(publisher)

    given = msgspec.structs.replace(settings(), rabbitmq_url=rabbitmq.url)
    asyncio.run(asyncio.wait_for(look(Publisher(given)), 60))


async def fill(publisher: Publisher) -> None:
    """Publish until the queue refuses."""
    with pytest.raises(CannotPublishError, match="full"):
        for _ in range(10):
            await publisher.publish_batch(ROUTE, [[b"{}"]])


def test_a_full_queue_costs_no_connection(rabbitmq: RabbitMQ) -> None:
    async def refused(publisher: Publisher) -> None:
        publisher.start()
        await until(lambda: publisher.ready)
        connection = publisher._connection

        await fill(publisher)

        await until(lambda: publisher._doubting is not None and publisher._doubting.done())
        assert publisher.ready
        assert publisher._connection is connection
        await close(publisher)

    url = rabbitmq.create_vhost("full")
    given = msgspec.structs.replace(settings(), rabbitmq_url=url, queue_length_max=3)
    asyncio.run(asyncio.wait_for(refused(Publisher(given)), 60))


def test_a_queue_that_refuses_though_it_has_room_is_asked_on_a_fresh_connection(
    rabbitmq: RabbitMQ,
) -> None:
    # Given a queue that refuses for a reason of its own (see tests/cluster for RabbitMQ's)
    url = rabbitmq.create_vhost("roomy")
    rabbitmq.ctl("set_policy", "-p", "roomy", "narrow", ".*", '{"max-length": 1}')

    async def refused(publisher: Publisher) -> None:
        publisher.start()
        await until(lambda: publisher.ready)
        connection = publisher._connection

        await fill(publisher)

        await until(lambda: publisher.ready and publisher._connection is not connection)
        await close(publisher, connection)

    given = msgspec.structs.replace(settings(), rabbitmq_url=url)
    asyncio.run(asyncio.wait_for(refused(Publisher(given)), 60))


# --- max_message_size ---

#: A quarter of what a message of ours may be.
SMALL = 256 * 1024


def limit(rabbitmq: RabbitMQ, size: int) -> None:
    """RabbitMQ takes no larger messages: 3.10 looks here and 4 there."""
    set_both = "application:set_env(rabbit, {0}), persistent_term:put({0})."
    rabbitmq.ctl("eval", set_both.format(f"max_message_size, {size}"))


@pytest.fixture
def small_messages(rabbitmq: RabbitMQ) -> Iterator[None]:
    limit(rabbitmq, SMALL)
    yield
    limit(rabbitmq, 16 * 1024 * 1024)


def command(size: int) -> bytes:
    return b'{"at":"' + b"x" * (size - 9) + b'"}'


def test_a_batch_too_large_for_one_message_takes_few_in_its_order() -> None:
    before, after = [[command(600)]] * 3, [[command(700)]]
    batch = [command(600 + number) for number in range(500)]
    items = [*before, batch, *after]
    room = SMALL - ENVELOPE_BYTES_MAX

    messages, errors = web.publisher._pack(items, room)

    sizes = [sum(map(len, message)) + len(message) for message in messages]
    assert errors == {}
    assert [each for message in messages for each in message] == [
        each for item in items for each in item
    ]
    assert max(sizes) <= room
    assert len(messages) == -(-sum(sizes) // room)


@pytest.mark.parametrize("known", [True, False], ids=["at start", "while running"])
def test_messages_are_no_larger_than_rabbitmq_takes_and_nobody_notices(
    rabbitmq: RabbitMQ, small_messages: None, known: bool
) -> None:
    url = rabbitmq.create_vhost(f"small{known}")
    given = msgspec.structs.replace(settings(), rabbitmq_url=url)

    async def publish() -> None:
        publisher = Publisher(given)
        publisher.start()
        await until(lambda: publisher.ready)
        assert publisher._bytes_max == SMALL
        if not known:
            publisher._bytes_max = given.message_bytes_max
        # Given orders that gathered, a batch that is more than a message by itself, an order that
        # is so alone, and what another queue's callers sent meanwhile,
        orders = [[command(2_000)] for _ in range(300)]
        batch, never = [command(3_000) for _ in range(200)], [command(SMALL)]

        outcomes, others = await asyncio.gather(
            publisher.publish_batch(ROUTE, [*orders, batch, *([never] if known else [])]),
            publisher.publish_batch(ROUTES[MoveOrder], [[command(100)]]),
        )

        # then all are taken, but for the one that never can be.
        assert outcomes[:301] == [None] * 301
        assert others == [None]
        if known:
            assert "RabbitMQ accepts at most" in str(outcomes[301])
        assert publisher._bytes_max == SMALL
        await close(publisher)

    asyncio.run(asyncio.wait_for(publish(), 60))


def test_a_front_door_waits_while_an_order_may_be_larger_than_rabbitmq_takes(
    rabbitmq: RabbitMQ,
    small_messages: None,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(web.publisher, "MISMATCH_PAUSE_S", 0.1)
    given = msgspec.structs.replace(settings(), rabbitmq_url=rabbitmq.create_vhost("tiny"))

    async def wait() -> None:
        publisher = Publisher(given)
        limit(rabbitmq, 12 * 1024)
        publisher.start()
        await until(lambda: "max_message_size is less than the 65536 bytes" in caplog.text)
        assert not publisher.ready
        limit(rabbitmq, SMALL)
        await until(lambda: publisher.ready)
        assert publisher._bytes_max == SMALL
        # RabbitMQ was reached all the time.
        assert "can't be reached" not in caplog.text
        await close(publisher)

    asyncio.run(asyncio.wait_for(wait(), 60))


# --- rights ---


def test_a_front_door_names_the_right_that_it_lacks(
    rabbitmq: RabbitMQ, caplog: pytest.LogCaptureFixture
) -> None:
    vhost = "forbidden"
    url = rabbitmq.create_vhost(vhost)
    rabbitmq.ctl("add_user", vhost, "a-password")
    mine = f"amqp://{vhost}:a-password@{url.rpartition('@')[2]}"
    given = msgspec.structs.replace(settings(), rabbitmq_url=url)

    async def make_queues() -> None:
        publisher = Publisher(given)
        publisher.start()
        await until(lambda: publisher.ready)
        await close(publisher)

    async def refused(right: str) -> None:
        publisher = Publisher(msgspec.structs.replace(given, rabbitmq_url=mine))
        publisher.start()
        await until(lambda: f"does not let this user {right}" in caplog.text)
        assert not publisher.ready
        assert "docs/deploy/rabbitmq.md" in caplog.text
        # It is said once, and by its name.
        assert "can't be reached" not in caplog.text
        await close(publisher)

    rabbitmq.ctl("set_permissions", "--vhost", vhost, vhost, "^$", ".*", ".*")
    asyncio.run(asyncio.wait_for(refused("configure"), 60))
    # To queues that somebody else has made it can't publish either.
    asyncio.run(asyncio.wait_for(make_queues(), 60))
    rabbitmq.ctl("set_permissions", "--vhost", vhost, vhost, ".*", "^holdfast", ".*")
    asyncio.run(asyncio.wait_for(refused("write"), 60))
    rabbitmq.ctl("delete_user", vhost)
