"""The same request twice is one change; and waiting for decisions."""

import time
from collections import Counter
from collections.abc import Callable

import httpx
import pytest

from tests.conftest import System, eventually
from tests.e2e.shop import (
    NOW,
    WAIT,
    Ask,
    Shop,
    all_decided,
    an_order,
    burst,
    fresh,
    paused_workers,
    problem,
)

Send = Callable[[dict[str, str]], httpx.Response]


def keyed(key: str = "", *, wait: bool = True) -> dict[str, str]:
    return {**(WAIT if wait else NOW), "Idempotency-Key": key or fresh("key")}


def test_the_same_key_and_body_is_the_same_order(shop: Shop) -> None:
    sku, headers = shop.product(10), keyed()

    first, second = (shop.place((sku, 1), headers=headers) for _ in range(2))

    assert (first.status_code, second.status_code) == (201, 201)
    assert first.json() == second.json()
    assert "idempotent-replayed" not in first.headers
    assert second.headers["idempotent-replayed"] == "true"
    assert second.headers["location"] == first.headers["location"]
    assert shop.stock(sku) == (10, 1, 9)


def test_a_replay_that_does_not_wait_has_the_same_id(shop: Shop) -> None:
    sku, headers = shop.product(10), keyed(wait=False)
    first = shop.place((sku, 1), headers=headers)
    shop.decided(first.json()["id"])

    second = shop.place((sku, 1), headers=headers)

    assert second.json()["id"] == first.json()["id"]
    assert second.headers["idempotent-replayed"] == "true"
    assert shop.stock(sku) == (10, 1, 9)


def test_a_refused_order_stays_refused_under_its_key(shop: Shop) -> None:
    # Given an order that was refused for want of stock
    sku, headers = shop.product(), keyed()
    refused = problem(shop.place((sku, 1), headers=headers), 409, "insufficient-stock")

    # When stock arrives and the client tries the same again
    shop.adjust(sku, 10)
    again = shop.place((sku, 1), headers=headers)

    # Then the decision stands
    assert problem(again, 409, "insufficient-stock")["id"] == refused["id"]
    assert again.headers["idempotent-replayed"] == "true"
    assert shop.stock(sku) == (10, 0, 10)


def test_the_order_of_members_is_no_other_body(shop: Shop) -> None:
    sku, headers = shop.product(10), {**keyed(), "Content-Type": "application/json"}
    one = f'{{"customer_id":"c","lines":[{{"sku":"{sku}","quantity":1}}]}}'
    same = f'{{ "lines": [{{"quantity": 1, "sku": "{sku}"}}], "customer_id": "c" }}'

    first, second = (
        shop.client.post("/v1/orders", content=body, headers=headers) for body in (one, same)
    )

    assert first.json()["id"] == second.json()["id"]


@pytest.mark.parametrize("undecided", [False, True], ids=["decided", "still undecided"])
def test_the_same_key_with_another_body_is_refused(
    system: System, shop: Shop, undecided: bool
) -> None:
    # Given
    sku, headers = shop.product(10), keyed(wait=False)

    def send_another() -> None:
        document = problem(shop.place((sku, 2), headers=headers), 422, "idempotency-key-reused")
        assert document["detail"]

    # When
    if undecided:
        with paused_workers(system):
            order_id = shop.place((sku, 1), headers=headers).json()["id"]
            send_another()
            assert shop.order(order_id)["status"] == "pending"
    else:
        order_id = shop.place((sku, 1), headers=headers).json()["id"]
        shop.decided(order_id)
        send_another()

    # Then the first stands
    assert shop.decided(order_id)["status"] == "confirmed"
    assert shop.stock(sku) == (10, 1, 9)


def test_twenty_at_once_with_one_key_are_one_order(system: System, shop: Shop) -> None:
    sku = shop.product(100)
    ask = Ask("POST", "/v1/orders", an_order((sku, 1)), keyed())

    answers = burst(system, [ask] * 20, connections=20)

    assert {answer.status for answer in answers} == {201}
    assert len({answer.body["id"] for answer in answers}) == 1
    all_decided(system, [answers[0].body["id"]])
    assert shop.stock(sku) == (100, 1, 99)


def test_twenty_bodies_at_once_with_one_key_are_one_order(system: System, shop: Shop) -> None:
    sku, headers = shop.product(1000), keyed()
    asks = [Ask("POST", "/v1/orders", an_order((sku, n + 1)), headers) for n in range(20)]

    answers = burst(system, asks, connections=20)

    assert Counter(answer.status for answer in answers) == {201: 1, 422: 19}
    placed = next(answer.body for answer in answers if answer.status == 201)
    assert shop.stock(sku)[1] == placed["lines"][0]["quantity"]


def test_a_key_belongs_to_its_client(shop: Shop, other_client: httpx.Client) -> None:
    sku, headers = shop.product(10), keyed()

    mine = shop.place((sku, 1), headers=headers)
    theirs = Shop(other_client).place((sku, 2), headers=headers)

    assert theirs.status_code == 201
    assert theirs.json()["id"] != mine.json()["id"]
    assert shop.stock(sku) == (10, 3, 7)


def test_other_keys_are_other_orders(shop: Shop) -> None:
    sku = shop.product(10)
    keys = ["k", "K", "k  k", "k k", "~" * 255, "~" * 254, '"k"']

    ids = {shop.place((sku, 1), headers=keyed(f"{fresh()}{key}"[-255:])).json()["id"]
           for key in keys}  # fmt: skip

    assert len(ids) == len(keys)


@pytest.mark.parametrize("key", ["", "x" * 256, "ö", "a\tb", "\x7f"], ids=repr)
def test_a_key_that_is_none_is_refused(shop: Shop, key: str) -> None:
    headers = [(b"Idempotency-Key", key.encode("latin-1"))]

    answer = shop.client.post("/v1/orders", json=an_order((fresh(), 1)), headers=headers)

    # What may not even be in a header is no HTTP.
    problem(answer, 400 if key == "\x7f" else 422)


CHANGES = ["move", "put_product", "adjust", "reduce"]


def a_change(shop: Shop, kind: str, sku: str) -> tuple[Send, Send]:
    """A change that can be sent twice, and another of the same kind."""
    if kind == "move":
        order_id = shop.confirmed((sku, 1))["id"]
        return (
            lambda headers: shop.move(order_id, "shipped", headers=headers),
            lambda headers: shop.move(order_id, "delivered", headers=headers),
        )
    if kind == "put_product":
        return (
            lambda headers: shop.put_product(sku, headers, unit_price=1),
            lambda headers: shop.put_product(sku, headers, unit_price=2),
        )
    take = shop.reduce if kind == "reduce" else shop.adjust
    return (
        lambda headers: take(sku, 2, "correction", headers),
        lambda headers: take(sku, 3, "correction", headers),
    )


@pytest.mark.parametrize("kind", CHANGES)
def test_every_change_takes_a_key(shop: Shop, kind: str) -> None:
    sku, headers = shop.product(10), keyed()
    send, send_another = a_change(shop, kind, sku)

    first = send(headers)
    stock = shop.stock(sku)
    second = send(headers)

    assert (first.status_code, second.status_code) == (200, 200)
    assert second.headers["idempotent-replayed"] == "true"
    assert second.headers["location"] == first.headers["location"]
    assert shop.stock(sku) == stock
    problem(send_another(headers), 422, "idempotency-key-reused")
    assert shop.stock(sku) == stock


def test_a_replayed_move_is_no_new_move_though_the_etag_is_stale_by_then(shop: Shop) -> None:
    order_id = shop.confirmed((shop.product(1), 1))["id"]
    tag = shop.client.get(f"/v1/orders/{order_id}").headers["etag"]
    headers = {**keyed(), "If-Match": tag}

    first, second = (shop.move(order_id, "shipped", headers=headers) for _ in range(2))

    assert (first.status_code, second.status_code) == (200, 200)
    assert second.headers["idempotent-replayed"] == "true"


@pytest.mark.parametrize("kind", CHANGES)
def test_a_key_used_for_an_order_is_none_for_another_change(shop: Shop, kind: str) -> None:
    sku, headers = shop.product(10), keyed()
    shop.place((sku, 1), headers=headers)
    send, _ = a_change(shop, kind, sku)
    stock = shop.stock(sku)

    problem(send(headers), 422, "idempotency-key-reused")

    assert shop.stock(sku) == stock


def test_a_key_used_for_one_product_is_none_for_another(shop: Shop) -> None:
    mug, tea, headers = shop.product(), shop.product(), keyed()
    shop.adjust(mug, 5, headers=headers)

    problem(shop.adjust(tea, 5, headers=headers), 422, "idempotency-key-reused")

    assert shop.stock(tea) == (0, 0, 0)


# --- Prefer: wait ---


def test_who_waits_in_vain_gets_the_plain_202_in_time(system: System, shop: Shop) -> None:
    sku = shop.product(1)
    with paused_workers(system):
        began = time.monotonic()
        answer = shop.place((sku, 1), headers={"Prefer": "wait=1"})
        took_s = time.monotonic() - began

    assert answer.status_code == 202
    assert answer.json()["status"] == "pending"
    assert 0.9 < took_s < 10
    assert shop.decided(answer.json()["id"])["status"] == "confirmed"


@pytest.mark.parametrize("kind", CHANGES)
def test_every_change_can_be_waited_for_in_vain(system: System, shop: Shop, kind: str) -> None:
    send, _ = a_change(shop, kind, shop.product(5))
    with paused_workers(system):
        answer = send({"Prefer": "wait=1"})
    assert answer.status_code == 202
    address = answer.headers["location"]
    eventually(lambda: shop.client.get(address).json()["status"] == "applied")


def test_a_wait_above_30_seconds_is_30(shop: Shop) -> None:
    answer = shop.place((shop.product(1), 1), headers={"Prefer": "wait=3600"})

    assert answer.status_code == 201
    assert answer.headers["preference-applied"] == "wait=30"


@pytest.mark.parametrize("prefer", ["wait=20", "respond-async, wait=20", "WAIT=20", "wait = 20"])
def test_a_wait_is_read_as_the_standard_writes_it(shop: Shop, prefer: str) -> None:
    answer = shop.place((shop.product(1), 1), headers={"Prefer": prefer})

    assert answer.status_code == 201
    assert answer.headers["preference-applied"] == "wait=20"


@pytest.mark.parametrize(
    "prefer", ["wait=x", "wait=-1", "wait", "wait=", "wait=1.5", "nonsense", "", "wait=" + "9" * 99]
)
def test_a_preference_that_makes_no_sense_is_left_aside(shop: Shop, prefer: str) -> None:
    sku = shop.product(1)

    answer = shop.place((sku, 1), headers={"Prefer": prefer})

    assert answer.status_code in (201, 202)
    assert shop.decided(answer.json()["id"])["status"] == "confirmed"


def test_waiting_no_time_at_all_answers_at_once(system: System, shop: Shop) -> None:
    sku = shop.product(1)
    with paused_workers(system):
        assert shop.place((sku, 1), headers={"Prefer": "wait=0"}).status_code == 202


@pytest.mark.parametrize("moved_on", [False, True], ids=["as decided", "moved since"])
def test_a_replay_that_does_not_wait_says_what_became_of_the_order(
    shop: Shop, moved_on: bool
) -> None:
    sku, headers = shop.product(1), keyed()
    placed = shop.place((sku, 1), headers=headers).json()
    if moved_on:
        shop.move(placed["id"], "shipped")

    again = shop.place((sku, 1), headers={**headers, **{"Prefer": "respond-async"}})

    assert again.status_code == 202
    assert again.json()["status"] == ("shipped" if moved_on else "confirmed")
    assert again.json()["id"] == placed["id"]


def test_a_replay_of_what_was_refused_says_so_without_waiting(shop: Shop) -> None:
    sku, headers, of_order = shop.product(), keyed(), keyed()
    problem(shop.reduce(sku, 1, headers=headers), 409)
    problem(shop.place((sku, 1), headers=of_order), 409)
    batch = {"orders": [an_order((sku, 1), idempotency_key=of_order["Idempotency-Key"])]}
    del headers["Prefer"], of_order["Prefer"]

    assert shop.reduce(sku, 1, headers=headers).json()["status"] == "rejected"
    assert shop.place((sku, 1), headers=of_order).json()["status"] == "rejected"
    (again,) = shop.client.post("/v1/order-batches", json=batch).json()["orders"]
    assert again["status"] == "rejected"


def test_a_key_stands_for_its_if_match_too_and_for_no_number_written_otherwise(shop: Shop) -> None:
    order = shop.confirmed((shop.product(1), 1))
    headers = keyed()
    shop.move(order["id"], "shipped", headers={**headers, "If-Match": '"1"'}).raise_for_status()

    for other in ({}, {"If-Match": '"2"'}):
        again = shop.move(order["id"], "shipped", headers={**headers, **other})
        problem(again, 422, "idempotency-key-reused")
    float_headers = {**keyed(), "Content-Type": "application/json"}
    body = '{"customer_id": "c", "lines": [{"sku": "A", "quantity": 2.0}]}'
    answer = shop.client.post("/v1/orders", content=body, headers=float_headers)
    problem(answer, 422, "invalid-request")


def test_what_breaks_a_rule_leaves_its_key_unused(shop: Shop) -> None:
    sku, headers = shop.product(10), {**keyed(), "Content-Type": "application/json"}
    for body, status in (
        ("{", 400), ('{"customer_id": ""}', 422), ("x" * 300_000, 413),
    ):  # fmt: skip
        answer = shop.client.post("/v1/orders", content=body, headers=headers)
        problem(answer, status)

    assert shop.place((sku, 1), headers=headers).status_code == 201
