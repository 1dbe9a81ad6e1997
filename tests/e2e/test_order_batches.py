"""Many orders in one request: all of them, or none."""

from typing import Any

import pytest

from tests.conftest import System
from tests.e2e.shop import (
    Shop,
    all_decided,
    an_order,
    fresh,
    paused_workers,
    pointers,
    problem,
)


def post(shop: Shop, *orders: Any, **headers: str) -> Any:
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return shop.client.post("/v1/order-batches", json={"orders": list(orders)}, headers=names)


def test_a_batch_is_accepted_in_the_order_given(shop: Shop) -> None:
    sku = shop.product(100)
    customers = [fresh("customer") for _ in range(3)]

    answer = post(shop, *(an_order((sku, 1), customer_id=name) for name in customers))

    assert answer.status_code == 202
    accepted = answer.json()["orders"]
    for order in accepted:
        address = f"/v1/orders/{order['id']}"
        assert order == {"id": order["id"], "status": "pending", "links": {"self": address}}
    assert [shop.decided(order["id"])["customer_id"] for order in accepted] == customers


def test_the_largest_batch_sells_what_there_is_and_no_more(system: System, shop: Shop) -> None:
    sku = shop.product(120)

    accepted = post(shop, *[an_order((sku, 1))] * 500).json()["orders"]

    statuses = list(all_decided(system, [order["id"] for order in accepted]).values())
    assert len(statuses) == 500
    assert statuses.count("confirmed") == 120
    assert shop.stock(sku) == (120, 120, 0)


def test_a_batch_of_megabytes_is_taken_whole(system: System, shop: Shop) -> None:
    sku = shop.product(1, sku=fresh("LONG").ljust(64, "x"))
    order = an_order(*[(sku, 1)] * 60, metadata={"note": "x" * 2000})

    accepted = post(shop, *[order] * 500)

    assert len(accepted.request.content) > 3_500_000
    assert accepted.status_code == 202
    assert len(all_decided(system, [one["id"] for one in accepted.json()["orders"]])) == 500


@pytest.mark.parametrize("at", [0, 7, 499])
def test_one_bad_order_refuses_the_whole_batch(shop: Shop, at: int) -> None:
    # Given
    customer, sku = fresh("customer"), shop.product(1000)
    orders = [an_order((sku, 1), customer_id=customer) for _ in range(500)]
    orders[at]["lines"][0]["quantity"] = 0

    # When
    document = problem(post(shop, *orders), 422, "invalid-request")

    # Then
    assert f"/orders/{at}/lines/0/quantity" in pointers(document)
    shop.confirmed((sku, 1), customer_id=customer)
    assert len(shop.page("/v1/orders", customer_id=customer)["items"]) == 1


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"idempotency_key": ""}, "/orders/1/idempotency_key"),
        ({"idempotency_key": "x" * 256}, "/orders/1/idempotency_key"),
        ({"idempotency_key": "ö"}, "/orders/1/idempotency_key"),
        ({"idempotency_key": 5}, "/orders/1/idempotency_key"),
        ({"metadata": {"k": "x" * 5000}}, "/orders/1/metadata"),
        ({"nonsense": 1}, "/orders/1/nonsense"),
        ({"customer_id": "a\0"}, "/orders/1/customer_id"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_an_order_of_a_batch_has_the_same_rules(
    shop: Shop, change: dict[str, Any], pointer: str
) -> None:
    good = an_order(("MUG-01", 1))

    assert pointers(problem(post(shop, good, {**good, **change}), 422)) == [pointer]


def test_a_batch_has_1_to_500_orders(shop: Shop) -> None:
    order = an_order((fresh(), 1))

    assert pointers(problem(post(shop), 422)) == ["/orders"]
    assert pointers(problem(post(shop, *[order] * 501), 422)) == ["/orders"]
    assert post(shop, order).status_code == 202


def test_a_batch_above_4_mib_is_too_large(shop: Shop) -> None:
    body = b'{"orders": [' + b" " * (4 * 1024 * 1024) + b"]}"

    answer = shop.client.post(
        "/v1/order-batches", content=body, headers={"Content-Type": "application/json"}
    )

    problem(answer, 413, "too-large")


def test_an_order_is_known_by_its_own_key_in_a_batch_and_alone(shop: Shop) -> None:
    # Given an order that was placed alone with a key
    sku, key = shop.product(10), fresh("key")
    alone = shop.place((sku, 1), headers={"Prefer": "wait=20", "Idempotency-Key": key}).json()

    # When it comes again in a batch, with another
    order = an_order((sku, 1))
    batch = [{**order, "idempotency_key": key}, {**order, "idempotency_key": fresh("key")}]
    first, again = (post(shop, *batch).json()["orders"] for _ in range(2))

    # Then it is the same order
    assert [order["id"] for order in first] == [order["id"] for order in again]
    assert first[0]["status"] == "confirmed"
    assert first[0]["id"] == alone["id"]
    assert shop.decided(first[1]["id"])["status"] == "confirmed"
    assert shop.stock(sku) == (10, 2, 8)


def test_a_key_used_for_another_body_refuses_the_whole_batch(shop: Shop) -> None:
    sku, key = shop.product(10), fresh("key")
    shop.place((sku, 1), headers={"Idempotency-Key": key})
    other = {**an_order((sku, 2)), "idempotency_key": key}

    document = problem(post(shop, an_order((sku, 1)), other), 422, "idempotency-key-reused")

    assert pointers(document) == ["/orders/1/idempotency_key"]
    shop.confirmed((sku, 1))
    assert shop.stock(sku) == (10, 2, 8)


def test_the_same_key_twice_in_one_batch_is_refused(shop: Shop) -> None:
    order = {**an_order((fresh(), 1)), "idempotency_key": fresh("key")}

    assert pointers(problem(post(shop, order, order), 422)) == ["/orders/1/idempotency_key"]


def test_a_key_of_the_batch_makes_it_one_batch(system: System, shop: Shop) -> None:
    # Given
    sku, key = shop.product(100), fresh("key")
    orders = [an_order((sku, 1)) for _ in range(3)]

    # When it is sent twice, and once more after it is decided
    first = post(shop, *orders, Idempotency_Key=key).json()
    second = post(shop, *orders, Idempotency_Key=key).json()
    ids = [order["id"] for order in first["orders"]]
    all_decided(system, ids)
    third = post(shop, *orders, Idempotency_Key=key)

    # Then
    assert [order["id"] for order in second["orders"]] == ids
    assert [order["id"] for order in third.json()["orders"]] == ids
    assert {order["status"] for order in third.json()["orders"]} == {"confirmed"}
    assert third.headers["idempotent-replayed"] == "true"
    assert shop.stock(sku) == (100, 3, 97)


@pytest.mark.parametrize("change", ["shorter", "longer", "other order", "other keys"])
def test_a_key_of_the_batch_stands_for_the_whole_batch(shop: Shop, change: str) -> None:
    # Given
    sku, key = shop.product(100), fresh("key")
    one, two = an_order((sku, 1)), an_order((sku, 2))
    with_key = {**one, "idempotency_key": fresh("own")}
    before, after = {
        "shorter": ([one, two], [one]),
        "longer": ([one], [one, two]),
        "other order": ([one, two], [two, one]),
        "other keys": ([with_key], [{**two, "idempotency_key": fresh("own")}]),
    }[change]
    assert post(shop, *before, Idempotency_Key=key).status_code == 202

    # Then
    problem(post(shop, *after, Idempotency_Key=key), 422, "idempotency-key-reused")


def test_a_key_of_a_single_order_is_none_for_a_batch(shop: Shop) -> None:
    key, order = fresh("key"), an_order((fresh(), 1))
    shop.client.post("/v1/orders", json=order, headers={"Idempotency-Key": key})

    problem(post(shop, order, Idempotency_Key=key), 422, "idempotency-key-reused")


def test_every_bad_order_of_a_batch_is_named(shop: Shop) -> None:
    sku = shop.product(10)
    orders = [an_order((sku, 1)) for _ in range(4)]
    orders[1]["lines"][0]["quantity"] = 0
    orders[3]["colour"] = "red"

    document = problem(post(shop, *orders), 422, "invalid-request")

    assert pointers(document) == ["/orders/1/lines/0/quantity", "/orders/3/colour"]


def test_a_batch_that_waits_answers_with_each_outcome(shop: Shop) -> None:
    sku = shop.product(1)
    orders = [an_order((sku, 1)), an_order((sku, 1)), an_order((fresh("no"), 1))]

    answer = post(shop, *orders, Prefer="wait=20")

    assert (answer.status_code, answer.headers["preference-applied"]) == (200, "wait=20")
    views = answer.json()["orders"]
    assert [view["status"] for view in views] == ["confirmed", "rejected", "rejected"]
    placed, short, unknown = views
    assert placed["order"] == shop.order(placed["id"])
    assert short["problem"] == {**shop.order(short["id"])["rejection"], "status": 409}
    assert unknown["problem"]["type"] == "/problems/unknown-sku"
    assert "problem" not in placed
    assert "order" not in short
    assert {view["links"]["self"] for view in views} == {f"/v1/orders/{v['id']}" for v in views}


def test_a_batch_that_is_not_decided_in_time_is_accepted(system: System, shop: Shop) -> None:
    sku = shop.product(2)
    with paused_workers(system):
        answer = post(shop, *[an_order((sku, 1))] * 2, Prefer="wait=0")

    assert (answer.status_code, answer.headers["preference-applied"]) == (202, "wait=0")
    views = answer.json()["orders"]
    assert [view["status"] for view in views] == ["pending", "pending"]
    assert all("order" not in view and "problem" not in view for view in views)
    all_decided(system, [view["id"] for view in views])


def test_the_largest_batch_can_be_waited_for(shop: Shop) -> None:
    sku = shop.product(300)

    views = post(shop, *[an_order((sku, 1))] * 500, Prefer="wait=30").json()["orders"]

    statuses = [view["status"] for view in views]
    assert (statuses.count("confirmed"), statuses.count("rejected")) == (300, 200)
