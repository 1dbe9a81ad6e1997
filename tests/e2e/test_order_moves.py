"""An order's life after its decision: the moves, the ones that are refused, and their stock."""

from typing import Any

import pytest

from tests.conftest import System, eventually
from tests.e2e.shop import NOW, Shop, fresh, paused_workers, problem

#: How an order gets to a status.
WAY = {
    "confirmed": [],
    "shipped": ["shipped"],
    "cancelled": ["cancelled"],
    "delivered": ["shipped", "delivered"],
    "returned": ["shipped", "returned"],
}
LEGAL = [
    ("confirmed", "shipped"), ("confirmed", "cancelled"), ("shipped", "delivered"),
    ("shipped", "returned"), ("delivered", "returned"),
]  # fmt: skip
TO = ["shipped", "delivered", "cancelled", "returned"]
ILLEGAL = [(at, to) for at in WAY for to in TO if (at, to) not in LEGAL]


def an_order_that_is(shop: Shop, status: str, sku: str) -> str:
    order_id: str = shop.confirmed((sku, 2))["id"]
    for step in WAY[status]:
        assert shop.move(order_id, step).status_code == 200
    return order_id


@pytest.mark.parametrize(("at", "to"), LEGAL)
def test_a_legal_move_is_made_and_answered_with_the_order(shop: Shop, at: str, to: str) -> None:
    order_id = an_order_that_is(shop, at, shop.product(2))

    answer = shop.move(order_id, to)

    assert answer.status_code == 200
    assert answer.headers["preference-applied"] == "wait=20"
    assert answer.json()["status"] == to
    assert answer.json() == shop.order(order_id)
    assert answer.headers["etag"] == shop.client.get(f"/v1/orders/{order_id}").headers["etag"]


@pytest.mark.parametrize(("at", "to"), ILLEGAL)
def test_an_illegal_move_is_refused_and_changes_nothing(shop: Shop, at: str, to: str) -> None:
    sku = shop.product(2)
    order_id = an_order_that_is(shop, at, sku)
    order, stock = shop.order(order_id), shop.stock(sku)

    refused = shop.move(order_id, to)

    problem(refused, 409, "illegal-transition")
    assert shop.order(order_id) == order
    assert shop.stock(sku) == stock


@pytest.mark.parametrize("to", TO)
def test_a_rejected_order_cannot_move(shop: Shop, to: str) -> None:
    rejected = problem(shop.place((fresh(), 1)), 409)["id"]

    problem(shop.move(rejected, to), 409, "illegal-transition")

    assert shop.order(rejected)["status"] == "rejected"


@pytest.mark.parametrize(
    ("steps", "restock", "stock"),
    [
        (["shipped"], None, (3, 0, 3)),
        (["cancelled"], None, (5, 0, 5)),
        (["shipped", "delivered"], None, (3, 0, 3)),
        (["shipped", "returned"], None, (5, 0, 5)),
        (["shipped", "returned"], True, (5, 0, 5)),
        (["shipped", "returned"], False, (3, 0, 3)),
        (["shipped", "delivered", "returned"], True, (5, 0, 5)),
        (["shipped", "delivered", "returned"], False, (3, 0, 3)),
    ],
)
def test_a_move_does_to_stock_what_it_says(
    shop: Shop, steps: list[str], restock: bool | None, stock: tuple[int, int, int]
) -> None:
    sku = shop.product(5)
    order_id = shop.confirmed((sku, 2))["id"]
    assert shop.stock(sku) == (5, 2, 3)

    for step in steps:
        members: dict[str, Any] = {"restock": restock}
        if restock is None or step != "returned":
            members = {}
        assert shop.move(order_id, step, **members).status_code == 200

    assert shop.stock(sku) == stock


def test_a_move_not_waited_for_answers_with_a_command(shop: Shop) -> None:
    order_id = an_order_that_is(shop, "confirmed", shop.product(2))

    answer = shop.move(order_id, "shipped", headers=NOW)

    assert answer.status_code == 202
    accepted = answer.json()
    assert accepted["status"] == "pending"
    assert answer.headers["location"] == accepted["links"]["self"]
    assert answer.headers["location"] == f"/v1/commands/{accepted['id']}"


def test_a_fresh_etag_lets_a_move_through_and_a_stale_one_does_not(shop: Shop) -> None:
    # Given an order that has changed since it was read
    order_id = an_order_that_is(shop, "confirmed", shop.product(2))
    stale = shop.client.get(f"/v1/orders/{order_id}").headers["etag"]
    shop.move(order_id, "shipped")
    fresh_tag = shop.client.get(f"/v1/orders/{order_id}").headers["etag"]

    # Then the stale tag is refused, waiting or not, with a key or without
    wait = {"Prefer": "wait=20"}
    for headers in (NOW, wait, {"Idempotency-Key": fresh()}, {**wait, "Idempotency-Key": fresh()}):
        refused = shop.move(order_id, "delivered", headers={**headers, "If-Match": stale})
        problem(refused, 412)
    assert shop.order(order_id)["status"] == "shipped"

    # And one that never was, too; the fresh one is taken
    problem(shop.move(order_id, "delivered", headers={**wait, "If-Match": '"nonsense"'}), 412)
    assert shop.move(order_id, "delivered", headers={**wait, "If-Match": fresh_tag}).is_success
    assert shop.order(order_id)["status"] == "delivered"

    # And any version is as good as another for `*`
    assert shop.move(order_id, "returned", headers={**wait, "If-Match": "*"}).is_success


def test_of_two_moves_with_the_same_etag_one_is_made(system: System, shop: Shop) -> None:
    order_id = an_order_that_is(shop, "confirmed", shop.product(2))
    tag = shop.client.get(f"/v1/orders/{order_id}").headers["etag"]
    with paused_workers(system):
        first, second = (
            shop.move(order_id, to, headers={"If-Match": tag}).json()["id"]
            for to in ("shipped", "delivered")
        )

    for command in (first, second):
        _wait_decided(shop, command)

    # Shipped and then delivered would be legal without the tag.
    found = [shop.command(first), shop.command(second)]
    assert sorted(command["status"] for command in found) == ["applied", "rejected"]
    refused = next(command for command in found if command["status"] == "rejected")
    assert refused["problem"]["type"]
    assert len(shop.events(order_id)) == 2


def test_moves_asked_for_while_the_order_is_pending_wait_for_its_decision(
    system: System, shop: Shop
) -> None:
    # Given an order that nobody has decided yet, and a move that got ahead of it
    sku = shop.product(3)
    with paused_workers(system):
        kept = shop.place((sku, 2), headers=NOW).json()["id"]
        dropped = shop.place((sku, 2), headers=NOW).json()["id"]
        commands = [
            shop.move(order_id, "shipped", headers=NOW).json()["id"] for order_id in (kept, dropped)
        ]
        assert {shop.command(id_)["status"] for id_ in commands} == {"pending"}

    # Then the move applies once the order is decided, or is refused with it
    for command in commands:
        _wait_decided(shop, command)
    assert sorted(shop.order(id_)["status"] for id_ in (kept, dropped)) == ["rejected", "shipped"]
    assert sorted(shop.command(id_)["status"] for id_ in commands) == ["applied", "rejected"]
    assert shop.stock(sku) == (1, 0, 1)


def _wait_decided(shop: Shop, command_id: str) -> None:
    eventually(lambda: shop.command(command_id)["status"] != "pending", what="the move is decided")
