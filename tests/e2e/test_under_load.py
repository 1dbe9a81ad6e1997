"""What it must show: never oversold, never lost, whatever happens in the middle."""

import threading
from collections import Counter
from collections.abc import Callable
from functools import partial

import pytest

from tests.conftest import System, eventually
from tests.e2e.shop import (
    NOW,
    WAIT,
    Answer,
    Ask,
    Shop,
    all_decided,
    an_order,
    assert_each_decided_once,
    assert_stock_is_true,
    burst,
    fresh,
)


def orders_of(sku: str, count: int, headers: dict[str, str] = NOW) -> list[Ask]:
    return [Ask("POST", "/v1/orders", an_order((sku, 1)), headers) for _ in range(count)]


def at(count: int, event: threading.Event) -> Callable[[int], None]:
    """Sets an event when so many requests are answered."""

    def on_answer(answered: int) -> None:
        if answered >= count:
            event.set()

    return on_answer


def decided_of(system: System, sku: str) -> int:
    """How many lines of a SKU are in decided orders."""
    found: int = system.sql("SELECT count(*) FROM order_lines WHERE sku = %s", sku)[0][0]
    return found


def has_decided(system: System, sku: str, count: int) -> bool:
    return decided_of(system, sku) >= count


def accepted(answers: list[Answer]) -> list[str]:
    return [answer.body["id"] for answer in answers if answer.status in (201, 202)]


def test_1500_concurrent_orders_on_500_units_sell_exactly_500(system: System, shop: Shop) -> None:
    sku = shop.product(500)

    answers = burst(system, orders_of(sku, 1500), connections=250)

    assert {answer.status for answer in answers} == {202}
    statuses = Counter(all_decided(system, accepted(answers)).values())
    assert statuses == {"confirmed": 500, "rejected": 1000}
    assert shop.stock(sku) == (500, 500, 0)


def test_who_waits_among_many_gets_the_decision_of_its_own_order(
    system: System, shop: Shop
) -> None:
    sku = shop.product(100)

    answers = burst(system, orders_of(sku, 200, WAIT), connections=100)

    assert Counter(answer.status for answer in answers) == {201: 100, 409: 100}
    ids = [answer.body["id"] for answer in answers]
    statuses = all_decided(system, ids)
    said = {201: "confirmed", 409: "rejected"}
    assert [statuses[id_] for id_ in ids] == [said[answer.status] for answer in answers]


def test_orders_of_many_lines_share_scarce_stock_without_a_deadlock(
    system: System, shop: Shop
) -> None:
    # Given three products, and orders that name them in every order
    skus = [shop.product(40) for _ in range(3)]
    asks = [
        Ask("POST", "/v1/orders", an_order(*[(skus[(n + k) % 3], 1 + n % 2) for k in range(3)]))
        for n in range(300)
    ]

    answers = burst(system, asks)

    statuses = all_decided(system, accepted(answers))
    assert len(statuses) == 300
    # Orders take the same of all three: what is left of each is the same, and too little for one.
    left = {shop.stock(sku)[2] for sku in skus}
    assert len(left) == 1
    assert left <= {0, 1}


def test_twelve_concurrent_cancellations_release_the_stock_once(system: System, shop: Shop) -> None:
    sku = shop.product(10)
    order_id = shop.confirmed((sku, 4))["id"]
    cancel = Ask("PATCH", f"/v1/orders/{order_id}", {"status": "cancelled"}, WAIT)

    answers = burst(system, [cancel] * 12, connections=12)

    assert Counter(answer.status for answer in answers) == {200: 1, 409: 11}
    assert shop.stock(sku) == (10, 0, 10)
    assert [event["type"] for event in shop.events(order_id)] == [
        "order.confirmed", "order.cancelled",
    ]  # fmt: skip
    assert_stock_is_true(system)


def test_shipping_and_cancelling_at_once_do_one_of_them(system: System, shop: Shop) -> None:
    sku = shop.product(100)
    ids = [shop.confirmed((sku, 1))["id"] for _ in range(10)]
    asks = [
        Ask("PATCH", f"/v1/orders/{order_id}", {"status": status}, WAIT)
        for order_id in ids
        for status in ("shipped", "cancelled")
    ]

    answers = burst(system, asks, connections=20)

    assert Counter(answer.status for answer in answers) == {200: 10, 409: 10}
    shipped = [order_id for order_id in ids if shop.order(order_id)["status"] == "shipped"]
    assert shop.stock(sku)[:2] == (100 - len(shipped), 0)
    assert_stock_is_true(system)


def test_orders_and_adjustments_at_once_never_promise_what_is_not_there(
    system: System, shop: Shop
) -> None:
    sku = shop.product(100)
    reduce = Ask("POST", f"/v1/inventory/{sku}/reductions", {"quantity": 1, "reason": "lost"}, WAIT)
    asks = [ask for pair in zip(orders_of(sku, 100, WAIT), [reduce] * 100, strict=True)
            for ask in pair]  # fmt: skip

    answers = burst(system, asks)

    statuses = Counter(answer.status for answer in answers)
    assert statuses[201] + statuses[200] == 100
    assert statuses[409] == 100
    assert shop.stock(sku)[2] == 0
    assert_stock_is_true(system)


@pytest.mark.parametrize("how", ["kill -9", "SIGTERM"])
def test_workers_that_go_in_the_middle_of_a_load_lose_nothing(
    system: System, shop: Shop, how: str
) -> None:
    # Given orders that come in
    sku = shop.product(700)
    running = threading.Event()
    answers: list[Answer] = []
    load = threading.Thread(
        target=lambda: answers.extend(
            burst(system, orders_of(sku, 1000), connections=32, on_answer=at(300, running))
        )
    )
    load.start()

    # When all workers go, and orders still come in
    try:
        assert running.wait(60)
        if how == "kill -9":
            system.kill("worker")
        else:
            system.stop("worker")
        load.join()
        answers += burst(system, orders_of(sku, 200))
        assert 1200 - decided_of(system, sku) >= 200
    finally:
        load.join()
        system.start("worker")

    # Then intake went on, and all that was accepted is decided, once
    assert {answer.status for answer in answers} == {202}
    statuses = Counter(all_decided(system, accepted(answers)).values())
    assert statuses == {"confirmed": 700, "rejected": 500}
    assert shop.stock(sku) == (700, 700, 0)


def test_workers_killed_again_and_again_decide_each_order_once(system: System, shop: Shop) -> None:
    sku = shop.product(100_000)
    answers: list[Answer] = []
    load = threading.Thread(
        target=lambda: answers.extend(burst(system, orders_of(sku, 1000), connections=8))
    )
    load.start()
    try:
        for goal in (100, 400, 700):
            eventually(partial(has_decided, system, sku, goal))
            system.kill("worker")
            system.start("worker")
    finally:
        load.join()

    ids = accepted(answers)
    assert len(ids) == 1000
    assert set(all_decided(system, ids).values()) == {"confirmed"}
    assert shop.stock(sku)[1] == 1000


def test_a_front_door_that_restarts_under_load_loses_no_order_it_accepted(
    system: System, shop: Shop
) -> None:
    # Given clients who repeat with the same key until they have an answer
    sku = shop.product(100_000)
    running = threading.Event()
    asks = [
        Ask("POST", "/v1/orders", an_order((sku, 1)), {"Idempotency-Key": fresh("restart")})
        for _ in range(600)
    ]
    first: list[Answer] = []
    load = threading.Thread(
        target=lambda: first.extend(burst(system, asks, connections=16, on_answer=at(100, running)))
    )
    load.start()

    # When the web process is told to go in the middle, and comes back
    try:
        assert running.wait(60)
        system.stop("web")
    finally:
        load.join()
        system.start("web")
    second = burst(system, asks)

    # Then what was said stands, and each order is there once
    assert {answer.status for answer in first} <= {0, 202, 503}
    assert {answer.status for answer in second} == {202}
    for before, after in zip(first, second, strict=True):
        assert before.status != 202 or before.body["id"] == after.body["id"]
    assert len(all_decided(system, accepted(second))) == 600
    assert shop.stock(sku)[1] == 600


def test_after_all_that_nothing_is_undecided_and_the_stock_is_true(system: System) -> None:
    ids = [row[0] for row in system.sql("SELECT id::text FROM orders")]

    assert_each_decided_once(system, ids)
    assert_stock_is_true(system)
    assert system.sql("SELECT id FROM commands WHERE status IN ('pending', 'failed')") == []
    assert system.sql("SELECT id FROM dead_letters") == []
