"""What a client does to an order second takes effect second, however soon it follows."""

import os
from collections.abc import Iterator

import pytest

from deploy.local.servers import Postgres, RabbitMQ
from tests.conftest import System, eventually
from tests.e2e.shop import NOW, Shop, assert_stock_is_true

#: Orders of each test; what goes wrong now and then wants many.
ROUNDS = int(os.environ.get("ROUNDS", "40"))
CHAIN = ("shipped", "delivered", "returned")
ORDERS = "holdfast.orders"


@pytest.fixture(scope="module", params=[1, 2], ids=["one worker", "two workers"])
def system(
    postgres: Postgres, rabbitmq: RabbitMQ, request: pytest.FixtureRequest
) -> Iterator[System]:
    """A system with so many workers."""
    worker = f"--processes {request.param} --threads 4"
    running = System(
        postgres, rabbitmq, f"moves{request.param}", worker=worker, REPORT_EVERY_S="0.5"
    )
    running.prepare()
    running.start()
    yield running
    running.discard()


@pytest.fixture
def shop(system: System) -> Iterator[Shop]:
    with system.client() as client:
        yield Shop(client)


def ordered(shop: Shop, sku: str, *to: str) -> str:
    """An order, and moves of it right behind; returns its id."""
    placed = shop.place((sku, 1), headers=NOW)
    assert placed.status_code == 202, placed.text
    order_id = str(placed.json()["id"])
    for each in to:
        assert shop.move(order_id, each, headers=NOW).status_code == 202
    return order_id


def statuses(shop: Shop, order_id: str) -> tuple[str, ...]:
    """What became of an order, in turn."""
    return tuple(event["type"].removeprefix("order.") for event in shop.events(order_id))


def refused(system: System) -> list[tuple[object, ...]]:
    return system.sql("SELECT problem FROM commands WHERE status <> 'applied'")


def all_decided(system: System, shop: Shop, order_ids: list[str], *to: str) -> None:
    """Each order took all these moves, in this order; nothing waits any more."""
    for order_id in order_ids:
        _wait_for(system, shop, order_id, len(to))
    assert {statuses(shop, order_id) for order_id in order_ids} == {("confirmed", *to)}
    assert refused(system) == []
    assert system.sql("SELECT command_id FROM waiting_moves") == []
    assert_stock_is_true(system)


def _wait_for(system: System, shop: Shop, order_id: str, moves: int) -> None:
    eventually(
        lambda: len(statuses(shop, order_id)) > moves,
        what=f"{order_id} took {moves} moves; refused: {refused(system)}",
    )


def test_moves_sent_right_after_their_order_take_effect_in_order(
    system: System, shop: Shop
) -> None:
    sku = shop.product(2 * ROUNDS)

    pairs = [ordered(shop, sku, "shipped", "delivered") for _ in range(ROUNDS)]
    chains = [ordered(shop, sku, *CHAIN) for _ in range(ROUNDS)]

    all_decided(system, shop, pairs, "shipped", "delivered")
    all_decided(system, shop, chains, *CHAIN)


def test_a_cancellation_sent_right_after_its_order_cancels_it(system: System, shop: Shop) -> None:
    sku = shop.product(ROUNDS)

    order_ids = [ordered(shop, sku, "cancelled") for _ in range(ROUNDS)]

    all_decided(system, shop, order_ids, "cancelled")
    assert shop.stock(sku) == (ROUNDS, 0, ROUNDS)


def test_moves_wait_for_as_long_as_their_order_is_paused(system: System, shop: Shop) -> None:
    # Given orders in a queue that is paused, and their moves
    sku = shop.product(ROUNDS)
    system.run("queues", "pause", ORDERS, "--reason", "a test")
    try:
        order_ids = [ordered(shop, sku, *CHAIN) for _ in range(ROUNDS)]
        eventually(
            lambda: system.sql("SELECT count(*) FROM waiting_moves") == [(3 * ROUNDS,)],
            what="all moves wait",
        )
        # and the workers start anew meanwhile
        system.kill("worker")
        system.start("worker")
        assert {shop.order(order_id)["status"] for order_id in order_ids} == {"pending"}
        assert refused(system) == []
    finally:
        system.run("queues", "resume", ORDERS)

    all_decided(system, shop, order_ids, *CHAIN)


def test_workers_that_are_killed_lose_and_reorder_no_move(system: System, shop: Shop) -> None:
    sku = shop.product(10 * ROUNDS)
    order_ids = []
    for _ in range(5):
        order_ids += [ordered(shop, sku, *CHAIN) for _ in range(max(1, ROUNDS // 5))]
        system.kill("worker")
        system.start("worker")

    all_decided(system, shop, order_ids, *CHAIN)
