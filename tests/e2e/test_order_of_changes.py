"""What a client did second takes effect second: product, stock and order, sent without waiting.

ROUNDS: how many SKUs each test sets up.
"""

import os
from collections.abc import Callable, Iterator
from typing import Final

import pytest

from deploy.local.servers import Postgres, RabbitMQ
from tests.conftest import System
from tests.e2e.shop import NOW, Shop, all_decided, fresh

ROUNDS: Final = int(os.environ.get("ROUNDS", "25"))
LANE: Final = "holdfast.skus"
#: Longer than an order takes.
SOON: Final = {"Prefer": "wait=3"}


@pytest.fixture(scope="module")
def crew(postgres: Postgres, rabbitmq: RabbitMQ) -> Iterator[System]:
    """A system with two workers."""
    system = System(postgres, rabbitmq, "order-of-changes", REPORT_EVERY_S="0.5")
    system.prepare()
    system.start("web", "worker", "worker-2")
    yield system
    system.discard()


@pytest.fixture
def busy_shop(crew: System) -> Iterator[Shop]:
    with crew.client() as client:
        yield Shop(client)


def nothing() -> None:
    """What happens halfway in an undisturbed run."""


def set_up(shop: Shop, halfway: Callable[[], None] = nothing) -> list[tuple[str, str]]:
    """New products one after another, each with prices, stock and an order of all of it.

    Nothing is waited for. Returns SKUs with the ids of the orders.
    """
    made = []
    for number in range(ROUNDS):
        if number == ROUNDS // 2:
            halfway()
        sku = fresh()
        for price in (1, 2, 3):
            assert shop.put_product(sku, NOW, unit_price=price).status_code == 202
        assert shop.adjust(sku, 2, headers=NOW).status_code == 202
        assert shop.adjust(sku, 3, headers=NOW).status_code == 202
        answer = shop.place((sku, 5), headers=NOW)
        assert answer.status_code == 202
        made.append((sku, answer.json()["id"]))
    return made


def assert_all_in_turn(system: System, shop: Shop, made: list[tuple[str, str]]) -> None:
    """Nothing was refused, and the order has all the stock, at the last price."""
    all_decided(system, [order_id for _, order_id in made])
    orders = [shop.order(order_id) for _, order_id in made]
    assert [(o["status"], o["total"]) for o in orders] == [("confirmed", 15)] * ROUNDS, orders
    skus = [sku for sku, _ in made]
    refused = system.sql(
        "SELECT target, kind, status, problem FROM commands "
        "WHERE target = ANY (%s) AND status <> 'applied'",
        skus,
    )
    assert refused == []
    assert [shop.stock(sku) for sku in skus] == [(5, 5, 0)] * ROUNDS


def test_product_stock_and_order_in_turn_always_work(system: System, shop: Shop) -> None:
    assert_all_in_turn(system, shop, set_up(shop))


def test_so_they_do_with_two_workers(crew: System, busy_shop: Shop) -> None:
    assert_all_in_turn(crew, busy_shop, set_up(busy_shop))


@pytest.mark.parametrize("victim", ["worker", "worker-2"])
def test_so_they_do_though_a_worker_is_killed(crew: System, busy_shop: Shop, victim: str) -> None:
    made = set_up(busy_shop, lambda: crew.kill(victim))
    crew.start(victim)

    assert_all_in_turn(crew, busy_shop, made)


def test_so_they_do_though_changes_of_skus_are_paused(crew: System, busy_shop: Shop) -> None:
    def pause() -> None:
        crew.run("queues", "pause", LANE, "--reason", "a test")
        # It is in force once a new product is not decided.
        for _ in range(20):
            if busy_shop.put_product(fresh(), SOON).status_code == 202:
                return
        pytest.fail(f"{LANE} goes on")

    made = set_up(busy_shop, pause)
    *_, (_, last) = made
    try:
        assert busy_shop.order(last)["status"] == "pending"
    finally:
        crew.run("queues", "resume", LANE)

    assert_all_in_turn(crew, busy_shop, made)


def test_a_change_that_is_superseded_says_by_what(crew: System, busy_shop: Shop) -> None:
    # Given a PUT whose product was put by a clock ahead of it, as another web process may have
    sku = busy_shop.product()
    writer = busy_shop.put_product(sku, NOW).json()["id"]
    busy_shop.adjust(sku, 1)
    crew.sql("UPDATE products SET accepted_at = now() + interval '1 hour' WHERE sku = %s", sku)

    key = {"Idempotency-Key": fresh("key")}
    answer = busy_shop.put_product(sku, {"Prefer": "wait=20", **key}, unit_price=7)
    again = busy_shop.put_product(sku, {"Prefer": "wait=20", **key}, unit_price=7)

    # Then every way to ask for it says so
    for problem in (answer.json(), again.json()):
        assert (problem["status"], problem["type"]) == (409, "/problems/superseded")
        assert problem["superseded_by"] == writer
    command = busy_shop.command(answer.json()["id"])
    assert command["status"] == "rejected"
    assert command["problem"]["superseded_by"] == writer
    assert again.headers["Idempotent-Replayed"] == "true"
    replay = busy_shop.put_product(sku, {**NOW, **key}, unit_price=7)
    assert (replay.status_code, replay.json()["status"]) == (202, "rejected")
    assert busy_shop.page(f"/v1/inventory/{sku}")["unit_price"] == 1250
