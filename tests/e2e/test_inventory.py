"""Products, stock, its ledger, and the commands that change them."""

from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from actors.commands import ON_HAND_MAX
from tests.conftest import System, eventually
from tests.e2e.raw import request, say
from tests.e2e.shop import (
    NOW,
    WAIT,
    Shop,
    an_order,
    fresh,
    paused_workers,
    pointers,
    problem,
)
from web.types import ADDRESSABLE_RULE


def test_a_new_product_starts_with_no_stock(shop: Shop) -> None:
    sku = fresh()

    answer = shop.put_product(sku, name="Tee „grün“", unit_price=399, currency="CHF")

    assert answer.status_code == 200
    assert answer.headers["preference-applied"] == "wait=20"
    found = shop.client.get(f"/v1/inventory/{sku}").json()
    assert answer.json() == found
    when = datetime.fromisoformat(found.pop("updated_at"))
    assert abs(datetime.now(UTC) - when) < timedelta(minutes=1)
    assert found == {
        "sku": sku, "name": "Tee „grün“", "unit_price": 399, "currency": "CHF",
        "on_hand": 0, "allocated": 0, "available": 0,
    }  # fmt: skip


def test_replacing_a_product_leaves_its_stock(shop: Shop) -> None:
    sku = shop.product(10)
    shop.confirmed((sku, 4))

    shop.put_product(sku, name="Cup", unit_price=0).raise_for_status()

    found = shop.client.get(f"/v1/inventory/{sku}").json()
    assert (found["name"], found["unit_price"]) == ("Cup", 0)
    assert shop.stock(sku) == (10, 4, 6)


def test_an_unknown_product_has_no_stock_and_no_movements(shop: Shop) -> None:
    for sku in (fresh(), "%00", "a%2fb", "x" * 65, "%ff"):
        problem(shop.client.get(f"/v1/inventory/{sku}"), 404, "not-found")
        problem(shop.client.get(f"/v1/inventory/{sku}/movements"), 404, "not-found")


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"name": ""}, "/name"), ({"name": None}, "/name"), ({"name": "a\0b"}, "/name"),
        ({"name": "x" * 201}, "/name"), ({"unit_price": -1}, "/unit_price"),
        ({"unit_price": 1.5}, "/unit_price"), ({"unit_price": "5"}, "/unit_price"),
        ({"unit_price": True}, "/unit_price"), ({"unit_price": 10**30}, "/unit_price"),
        ({"currency": "eur"}, "/currency"), ({"currency": "EURO"}, "/currency"),
        ({"currency": ""}, "/currency"), ({"currency": "EUR\n"}, "/currency"),
        ({"currency": None}, "/currency"), ({"sku": "MUG"}, "/sku"), ({"stock": 5}, "/stock"),
    ],
    ids=str,
)  # fmt: skip
def test_a_product_that_breaks_a_rule_is_refused(
    shop: Shop, change: dict[str, Any], pointer: str
) -> None:
    sku = fresh()

    body = {"name": "Mug", "unit_price": 1250, "currency": "EUR", **change}

    answer = shop.client.put(f"/v1/products/{sku}", json=body, headers=WAIT)

    assert pointers(problem(answer, 422, "invalid-request")) == [pointer]
    problem(shop.client.get(f"/v1/inventory/{sku}"), 404)


@pytest.mark.parametrize("dots", [".", "..", "%2e", "%2E.", "%2e%2E"])
def test_bare_dots_are_no_sku_for_clients_take_them_out_of_addresses(
    system: System, shop: Shop, dots: str
) -> None:
    product = b'{"name": "Mug", "unit_price": 1, "currency": "EUR"}'
    length = b"Content-Length: %d" % len(product)
    ask = request(
        f"/v1/products/{dots}", b"Content-Type: application/json", length, b"Connection: close",
        method="PUT", body=product,
    )  # fmt: skip

    assert say(system, ask).statuses == [422]
    for order in (an_order((".", 1)), an_order(("MUG-01", 1), ("..", 1))):
        last = f"/lines/{len(order['lines']) - 1}/sku"
        alone = shop.client.post("/v1/orders", json=order)
        batch = shop.client.post("/v1/order-batches", json={"orders": [order]})
        assert pointers(problem(alone, 422)) == [last]
        assert pointers(problem(batch, 422)) == [f"/orders/0{last}"]


@pytest.mark.parametrize("currency", ["ABC", "XXX", "XTS", "XAU", "XDR", "HRK", "DEM"])
def test_what_is_no_active_currency_of_iso_4217_is_no_price(shop: Shop, currency: str) -> None:
    answer = shop.put_product(fresh(), currency=currency)

    assert pointers(problem(answer, 422, "invalid-request")) == ["/currency"]


@pytest.mark.parametrize("sku", ["a%20b", "%C3%A9", "x" * 65, "a%00", "a%0a", "a%2Fb"])
def test_a_sku_that_breaks_a_rule_is_refused(shop: Shop, sku: str) -> None:
    for answer in (shop.put_product(sku), shop.adjust(sku, 1), shop.reduce(sku, 1)):
        assert answer.status_code in (404, 422)
        document = problem(answer, answer.status_code)
        if answer.status_code == 422:
            # In the words of a body that has such a SKU
            assert document["errors"] == [
                {"parameter": "sku", "detail": f"must be {ADDRESSABLE_RULE}"}
            ]


ADDING = ["received", "returned", "found", "correction"]
TAKING = ["damaged", "lost", "correction"]


@pytest.mark.parametrize("reason", sorted({*ADDING, *TAKING}))
def test_stock_goes_up_and_down_for_the_reasons_that_fit(shop: Shop, reason: str) -> None:
    sku = shop.product(10)

    up, down, off = (
        shop.adjust(sku, 5, reason), shop.adjust(sku, -2, reason), shop.reduce(sku, 3, reason),
    )  # fmt: skip

    assert up.status_code == (200 if reason in ADDING else 422)
    assert [down.status_code, off.status_code] == [200 if reason in TAKING else 422] * 2
    on_hand = 10 + 5 * (reason in ADDING) - 5 * (reason in TAKING)
    assert shop.stock(sku) == (on_hand, 0, on_hand)
    assert {movement["reason"] for movement in shop.movements(sku)} == {"received", reason}


def test_a_reason_of_the_other_direction_is_told_which_ones_fit(shop: Shop) -> None:
    sku = shop.product(10)

    for answer, fit in (
        (shop.reduce(sku, 1, "received"), TAKING), (shop.adjust(sku, -1, "found"), TAKING),
        (shop.adjust(sku, 1, "lost"), ADDING),
    ):  # fmt: skip
        (error,) = problem(answer, 422, "invalid-request")["errors"]
        assert error["pointer"] == "/reason"
        assert f"one of {', '.join(fit)} to" in error["detail"]


#: As much as a million deliveries of the largest size.
FILL = """
WITH delivery AS (
    INSERT INTO stock_movements
        (at, sku, location, on_hand_delta, allocated_delta, reason, command_id)
    VALUES (now(), %s, 'main', %s, 0, 'received', gen_random_uuid()) RETURNING *
)
UPDATE stock SET on_hand = on_hand + on_hand_delta FROM delivery WHERE stock.sku = delivery.sku
"""


def test_more_units_than_can_be_counted_are_a_problem_of_their_own(
    system: System, shop: Shop
) -> None:
    sku = shop.product(1)
    system.sql(FILL, sku, ON_HAND_MAX - 1)

    refusal = problem(shop.adjust(sku, 1), 409, "stock-limit")

    assert (refusal["on_hand"], refusal["on_hand_max"]) == (ON_HAND_MAX, ON_HAND_MAX)
    assert shop.reduce(sku, 2).status_code == 200
    assert shop.adjust(sku, 2).status_code == 200


def test_stock_is_never_taken_below_what_is_allocated(shop: Shop) -> None:
    # Given ten on hand, six of them sold
    sku = shop.product(10)
    order = shop.confirmed((sku, 6))

    # Then four can go and no more
    problem(shop.reduce(sku, 5), 409, "insufficient-stock")
    problem(shop.adjust(sku, -5, "lost"), 409, "insufficient-stock")
    assert shop.stock(sku) == (10, 6, 4)
    assert shop.reduce(sku, 4).status_code == 200
    assert shop.stock(sku) == (6, 6, 0)

    # Until the order lets go of them
    shop.move(order["id"], "cancelled")
    assert shop.adjust(sku, -6, "lost").status_code == 200
    assert shop.stock(sku) == (0, 0, 0)
    problem(shop.reduce(sku, 1), 409, "insufficient-stock")


def test_the_stock_of_an_unknown_product_cannot_change(shop: Shop) -> None:
    sku = fresh()

    problem(shop.adjust(sku, 5), 409, "unknown-sku")
    problem(shop.reduce(sku, 5), 409, "unknown-sku")


@pytest.mark.parametrize(
    ("path", "body", "pointer"),
    [
        ("adjustments", {"delta": 0, "reason": "found"}, "/delta"),
        ("adjustments", {"delta": 1.5, "reason": "found"}, "/delta"),
        ("adjustments", {"delta": True, "reason": "found"}, "/delta"),
        ("adjustments", {"delta": "1", "reason": "found"}, "/delta"),
        ("adjustments", {"delta": 10**30, "reason": "found"}, "/delta"),
        ("adjustments", {"delta": -(10**30), "reason": "found"}, "/delta"),
        ("adjustments", {"delta": 1, "reason": "stolen"}, "/reason"),
        ("adjustments", {"delta": 1, "reason": ""}, "/reason"),
        ("adjustments", {"delta": 1, "reason": None}, "/reason"),
        ("adjustments", {"delta": 1, "reason": "found", "quantity": 1}, "/quantity"),
        ("adjustments", {"delta": 1, "reason": "found", "location": "x"}, "/location"),
        ("reductions", {"quantity": 0, "reason": "lost"}, "/quantity"),
        ("reductions", {"quantity": -1, "reason": "lost"}, "/quantity"),
        ("reductions", {"quantity": False, "reason": "lost"}, "/quantity"),
        ("reductions", {"quantity": 1.0, "reason": "lost"}, "/quantity"),
        ("reductions", {"quantity": 1_000_001, "reason": "lost"}, "/quantity"),
        ("reductions", {"quantity": 1, "reason": "sold"}, "/reason"),
        ("reductions", {"quantity": 1, "reason": "lost", "delta": 1}, "/delta"),
    ],
    ids=str,
)
def test_a_change_of_stock_that_breaks_a_rule_is_refused(
    shop: Shop, path: str, body: dict[str, Any], pointer: str
) -> None:
    sku = shop.product(5)

    answer = shop.client.post(f"/v1/inventory/{sku}/{path}", json=body, headers=WAIT)

    assert pointers(problem(answer, 422, "invalid-request")) == [pointer]
    assert shop.stock(sku) == (5, 0, 5)


@pytest.mark.parametrize("missing", ["delta", "reason"])
def test_a_member_that_is_missing_is_named(shop: Shop, missing: str) -> None:
    body = {"delta": 1, "reason": "found"}
    del body[missing]

    answer = shop.client.post("/v1/inventory/MUG/adjustments", json=body)

    assert missing in str(problem(answer, 422)["errors"])


def test_the_ledger_tells_every_movement_newest_first(shop: Shop) -> None:
    # Given
    sku = shop.product(10)
    order_id = shop.confirmed((sku, 1), (sku, 2))["id"]
    shipped = shop.move(order_id, "shipped", headers=NOW).json()["id"]
    eventually(lambda: shop.command(shipped)["status"] == "applied")
    shop.reduce(sku, 4, "lost")

    # Then
    ledger = shop.movements(sku)
    told = [(m["reason"], m["on_hand_delta"], m["allocated_delta"], m["order_id"]) for m in ledger]
    assert told == [
        ("lost", -4, 0, None), ("shipped", -3, -3, order_id), ("placed", 0, 3, order_id),
        ("received", 10, 0, None),
    ]  # fmt: skip
    assert ledger[1]["command_id"] == shipped
    assert {movement["location"] for movement in ledger} == {"main"}
    assert sum(m["on_hand_delta"] for m in ledger) == shop.stock(sku)[0]
    assert sum(m["allocated_delta"] for m in ledger) == shop.stock(sku)[1]


@pytest.mark.parametrize("limit", [1, 4])
def test_the_ledger_can_be_paged_while_it_grows(shop: Shop, limit: int) -> None:
    sku = shop.product()
    for delta in range(1, 10):
        shop.adjust(sku, delta)

    def meanwhile() -> None:
        shop.adjust(sku, 1000)

    path = f"/v1/inventory/{sku}/movements"
    seen = [movement["on_hand_delta"] for movement in shop.pages(path, meanwhile, limit=limit)]

    assert seen == list(range(9, 0, -1))


def test_products_are_listed_by_prefix_newest_first(shop: Shop) -> None:
    prefix = fresh("LIST") + "."
    skus = [shop.product(sku=f"{prefix}{index}") for index in range(5)]
    shop.product(sku=prefix[:-1] + "x")
    shop.product(sku=prefix.lower() + "x")

    page = shop.page("/v1/inventory", prefix=prefix)

    assert [item["sku"] for item in page["items"]] == skus[::-1]
    assert page["next_cursor"] is None
    assert page["items"][0] == shop.client.get(f"/v1/inventory/{skus[-1]}").json()


@pytest.mark.parametrize("tail", ["_", ".", "-", "z", "9", "%5f"])
def test_a_prefix_is_taken_as_it_is_written(shop: Shop, tail: str) -> None:
    prefix = fresh("EXACT")
    for last in ("_", ".", "-", "z", "9", "a"):
        shop.product(sku=f"{prefix}{last}1")

    items = shop.client.get(f"/v1/inventory?prefix={prefix}{tail}").json()["items"]

    assert [item["sku"] for item in items] == [f"{prefix}{tail.replace('%5f', '_')}1"]


def test_what_runs_low_is_found_by_what_is_available(shop: Shop) -> None:
    prefix = fresh("LOW") + "."
    plenty, low, sold = (shop.product(n, sku=f"{prefix}{n}") for n in (50, 3, 10))
    shop.confirmed((sold, 9))

    def below(units: int) -> set[str]:
        found = shop.page("/v1/inventory", prefix=prefix, available_below=units)["items"]
        return {item["sku"] for item in found}

    assert below(1) == set()
    assert below(2) == {sold}
    assert below(4) == {sold, low}
    assert below(51) == {sold, low, plenty}


def test_products_can_be_paged_while_new_ones_are_made(shop: Shop) -> None:
    prefix = fresh("PAGED") + "."
    before = [shop.product(sku=f"{prefix}{index}") for index in range(7)]

    seen = [
        item["sku"]
        for item in shop.pages(
            "/v1/inventory",
            lambda: shop.product(1, sku=f"{prefix}{fresh('new')}"),
            prefix=prefix,
            limit=2,
        )
    ]

    assert seen == before[::-1]


@pytest.mark.parametrize(
    "query",
    ["prefix=%20", "available_below=x", "available_below=-1", "limit=0", "limit=201", "cursor=x",
     "sku=x", f"prefix={'x' * 65}", "available_below=" + "9" * 30],
)  # fmt: skip
def test_a_query_of_products_that_breaks_a_rule_is_refused(
    client: httpx.Client, query: str
) -> None:
    problem(client.get(f"/v1/inventory?{query}"), 422, "invalid-request")


@pytest.mark.parametrize("kind", ["put_product", "adjust", "reduce", "move"])
def test_a_change_can_be_followed_by_its_command(shop: Shop, kind: str) -> None:
    # Given a change that is not waited for
    sku = shop.product(5)
    answer = {
        "put_product": lambda: shop.put_product(sku, headers=NOW),
        "adjust": lambda: shop.adjust(sku, 1, headers=NOW),
        "reduce": lambda: shop.reduce(sku, 1, headers=NOW),
        "move": lambda: shop.move(shop.confirmed((sku, 1))["id"], "shipped", headers=NOW),
    }[kind]()
    accepted = answer.json()
    assert answer.status_code == 202
    assert accepted["links"]["self"] == answer.headers["location"]
    assert accepted["status"] == "pending"

    # Then its address tells when it is applied
    address = answer.headers["location"]
    eventually(lambda: shop.client.get(address).json()["status"] == "applied")
    command = shop.client.get(address).json()
    assert set(command) == {"id", "kind", "status", "problem", "links"}
    assert (command["id"], command["problem"]) == (accepted["id"], None)
    assert command["kind"]
    assert command["links"]["self"] == address


def test_a_change_that_waits_is_pending_and_its_kind_not_known(system: System, shop: Shop) -> None:
    sku = shop.product(5)
    with paused_workers(system):
        command_id = shop.reduce(sku, 1, headers=NOW).json()["id"]

        command = shop.command(command_id)

    assert (command["status"], command["kind"], command["problem"]) == ("pending", None, None)
    eventually(lambda: shop.command(command_id)["status"] == "applied")
    assert shop.command(command_id)["kind"] == "adjust_stock"


def test_a_refused_change_tells_why(shop: Shop) -> None:
    sku = shop.product(5)
    command_id = shop.reduce(sku, 6, headers=NOW).json()["id"]

    eventually(lambda: shop.command(command_id)["status"] == "rejected")

    refused = shop.command(command_id)["problem"]
    assert refused["type"] == "/problems/insufficient-stock"
    assert refused["status"] == 409
    assert refused["title"]
    assert refused["detail"]
