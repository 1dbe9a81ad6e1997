"""The front door's connection: what it opens to look at queues it closes; when it begins anew."""

import asyncio
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

import web.publisher
from actors.commands import ROUTES, PlaceOrder
from config import settings
from deploy.local.servers import RabbitMQ
from web.publisher import CannotPublishError, Publisher

ROUTE = ROUTES[PlaceOrder]


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
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
