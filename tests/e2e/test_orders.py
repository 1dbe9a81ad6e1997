"""Orders: placed, refused, shown."""

import json
from datetime import UTC, datetime, timedelta

import httpx
import pytest

from tests.conftest import System, eventually
from tests.e2e import raw
from tests.e2e.shop import NOW, WAIT, Shop, an_order, fresh, paused_workers, problem


def test_an_order_is_accepted_at_once_with_its_own_address(shop: Shop) -> None:
    sku = shop.product(10)

    answer = shop.place((sku, 2), headers=NOW)

    assert answer.status_code == 202
    accepted = answer.json()
    address = f"/v1/orders/{accepted['id']}"
    assert accepted == {"id": accepted["id"], "status": "pending", "links": {"self": address}}
    assert answer.headers["location"] == address
    assert shop.decided(accepted["id"])["status"] == "confirmed"


def test_a_placed_order_shows_all_that_was_decided(shop: Shop) -> None:
    # Given
    mug, tea = shop.product(10, price=1250), shop.product(10, price=399)

    # When
    answer = shop.place((mug, 2), (tea, 3), customer_id="c-42", metadata={"channel": "web"})

    # Then
    assert answer.status_code == 201
    assert answer.headers["preference-applied"] == "wait=20"
    order = answer.json()
    assert order.pop("lines") == [
        {"sku": mug, "quantity": 2, "unit_price": 1250, "location": "main"},
        {"sku": tea, "quantity": 3, "unit_price": 399, "location": "main"},
    ]
    for when in (order.pop("placed_at"), order.pop("updated_at")):
        moment = datetime.fromisoformat(when)
        assert moment.utcoffset() == timedelta(0)
        assert abs(datetime.now(UTC) - moment) < timedelta(minutes=1)
    assert order == {
        "id": order["id"], "status": "confirmed", "customer_id": "c-42", "currency": "EUR",
        "total": 2 * 1250 + 3 * 399, "version": order["version"],
        "metadata": {"channel": "web"}, "rejection": None,
    }  # fmt: skip
    assert shop.order(order["id"]) == answer.json()
    assert shop.stock(mug) == (10, 2, 8)
    assert shop.stock(tea) == (10, 3, 7)


def test_an_order_short_of_stock_is_refused_with_what_there_is(shop: Shop) -> None:
    plenty, scarce = shop.product(10), shop.product(3)

    answer = shop.place((plenty, 1), (scarce, 4))

    refusal = problem(answer, 409, "insufficient-stock")
    order = shop.order(refusal["id"])
    assert order["status"] == "rejected"
    assert order["rejection"]["type"] == "/problems/insufficient-stock"
    assert order["rejection"]["title"]
    assert order["rejection"]["detail"]
    assert order["rejection"]["lines"] == [{"sku": scarce, "requested": 4, "available": 3}]
    assert shop.stock(plenty) == (10, 0, 10)
    assert shop.stock(scarce) == (3, 0, 3)


def test_lines_of_the_same_sku_are_summed_for_the_stock_check(shop: Shop) -> None:
    sku = shop.product(5)

    refused = shop.place((sku, 3), (sku, 3))
    placed = shop.place((sku, 3), (sku, 2))

    problem(refused, 409, "insufficient-stock")
    assert placed.status_code == 201
    assert [line["quantity"] for line in placed.json()["lines"]] == [3, 2]
    assert placed.json()["total"] == 5 * 1250
    assert shop.stock(sku) == (5, 5, 0)


def test_an_order_of_an_unknown_sku_is_refused(shop: Shop) -> None:
    known, unknown = shop.product(5), fresh()

    refusal = problem(shop.place((known, 1), (unknown, 1)), 409, "unknown-sku")

    assert shop.order(refusal["id"])["rejection"]["type"] == "/problems/unknown-sku"
    assert shop.stock(known) == (5, 0, 5)


def test_products_of_different_currencies_are_no_one_order(shop: Shop) -> None:
    euros, francs = shop.product(5, currency="EUR"), shop.product(5, currency="CHF")

    problem(shop.place((euros, 1), (francs, 1)), 409, "mixed-currencies")

    assert shop.stock(euros) == (5, 0, 5)


def test_a_price_is_that_of_the_decision_and_stays(shop: Shop) -> None:
    # Given an order at the old price
    sku = shop.product(10, price=100)
    old = shop.confirmed((sku, 1))

    # When the price changes
    shop.put_product(sku, unit_price=300).raise_for_status()

    # Then the next order pays it, and the first one does not
    assert shop.confirmed((sku, 1))["total"] == 300
    assert shop.order(old["id"])["total"] == 100


@pytest.mark.parametrize(
    ("lines", "quantity"), [(100, 1), (1, 1_000_000)], ids=["100 lines", "a million units"]
)
def test_the_largest_order_is_taken(shop: Shop, lines: int, quantity: int) -> None:
    sku = shop.product(1_000_000, price=1)

    order = shop.confirmed(*[(sku, quantity)] * lines)

    assert order["total"] == lines * quantity


def test_the_total_of_the_dearest_order_is_exact(shop: Shop) -> None:
    # Given more minor units than a double counts
    sku = shop.product(100_000_000, price=90_000_000_000 - 1)

    order = shop.confirmed(*[(sku, 1_000_000)] * 100)

    assert order["total"] == 100_000_000 * (90_000_000_000 - 1)
    assert f'"total":{order["total"]}' in shop.client.get(f"/v1/orders/{order['id']}").text
    assert int(float(order["total"])) != order["total"]


def test_the_longest_names_and_all_of_unicode_come_back_as_they_went_in(shop: Shop) -> None:
    sku = shop.product(1, sku=fresh("Az09._-").ljust(64, "x"))
    customer = "ö日🙂'\"\\%;--" + "x" * 53
    metadata = {"note": "x" * 2000, "emoji 🙂": "", "": "\n\t\x7f"}

    order = shop.confirmed((sku, 1), customer_id=customer[:64], metadata=metadata)

    assert shop.order(order["id"])["customer_id"] == customer[:64]
    assert shop.order(order["id"])["metadata"] == metadata


def test_metadata_may_have_four_kibibytes_of_strings(shop: Shop) -> None:
    metadata = {"k": "v" * 4095}

    order = shop.confirmed((shop.product(1), 1), metadata=metadata)

    assert shop.order(order["id"])["metadata"] == metadata


def test_metadata_is_empty_when_not_given(shop: Shop) -> None:
    assert shop.confirmed((shop.product(1), 1))["metadata"] == {}


def test_an_undecided_order_is_pending_and_null_where_nothing_is_known(
    system: System, shop: Shop
) -> None:
    sku = shop.product(1)
    with paused_workers(system):
        accepted = shop.place((sku, 1), headers=NOW).json()

        order = shop.order(accepted["id"])

        assert order["id"] == accepted["id"]
        assert order["status"] == "pending"
        known = {"id", "status", "customer_id", "currency", "total", "version", "placed_at",
                 "updated_at", "metadata", "lines", "rejection"}  # fmt: skip
        assert set(order) == known
        assert (order["total"], order["rejection"]) == (None, None)
        assert "etag" not in shop.client.get(f"/v1/orders/{order['id']}").headers
        assert shop.events(accepted["id"]) == []
    assert shop.decided(accepted["id"])["status"] == "confirmed"


@pytest.mark.parametrize(
    "made_up",
    ["6a327159-9eec-42ad-8f1f-c99122bf85c9", "nonsense", "0", "%00", "a" * 500, "..%2f.."],
)
@pytest.mark.parametrize("path", ["/v1/orders/{}", "/v1/orders/{}/events", "/v1/commands/{}"])
def test_an_id_that_was_never_given_out_is_not_found(
    client: httpx.Client, path: str, made_up: str
) -> None:
    problem(client.get(path.format(made_up)), 404, "not-found")


def test_an_id_with_one_digit_changed_is_not_found(shop: Shop) -> None:
    order_id = shop.place((shop.product(1), 1)).json()["id"]
    for at in (0, 10, 20, 35):
        other = f"{order_id[:at]}{'1' if order_id[at] != '1' else '2'}{order_id[at + 1 :]}"
        problem(shop.client.get(f"/v1/orders/{other}"), 404)
    problem(shop.move(f"{order_id[:35]}{(int(order_id[35], 16) + 1) % 16:x}", "shipped"), 404)


def test_an_etag_answers_304_until_the_order_changes(shop: Shop) -> None:
    # Given
    order = shop.confirmed((shop.product(1), 1))
    address = f"/v1/orders/{order['id']}"
    tag = shop.client.get(address).headers["etag"]

    # When nothing has changed
    for same in (tag, f'"other", {tag}', f"W/{tag}", "*"):
        unchanged = shop.client.get(address, headers={"If-None-Match": same})
        assert (unchanged.status_code, unchanged.content) == (304, b"")
        assert unchanged.headers["etag"] == tag

    # And when it has
    shop.move(order["id"], "shipped")
    changed = shop.client.get(address, headers={"If-None-Match": tag})
    assert changed.status_code == 200
    assert changed.headers["etag"] != tag
    assert changed.json()["version"] > order["version"]


def test_the_timeline_tells_what_happened_oldest_first(shop: Shop) -> None:
    order = shop.confirmed((shop.product(1), 1))
    for status in ("shipped", "delivered", "returned"):
        assert shop.move(order["id"], status).status_code == 200

    events = shop.events(order["id"])

    assert [event["type"] for event in events] == [
        "order.confirmed", "order.shipped", "order.delivered", "order.returned",
    ]  # fmt: skip
    sequence = [event["sequence"] for event in events]
    assert sequence == sorted(set(sequence))
    assert [event["at"] for event in events] == sorted(event["at"] for event in events)
    assert all(isinstance(event["data"], dict) for event in events)


def test_the_timeline_of_a_refused_order_says_so(shop: Shop) -> None:
    refusal = problem(shop.place((fresh(), 1)), 409)

    assert [event["type"] for event in shop.events(refusal["id"])] == ["order.rejected"]


def test_an_order_of_a_client_that_does_not_wait_is_decided_all_the_same(shop: Shop) -> None:
    sku = shop.product(3)

    ids = [shop.place((sku, 1), headers=NOW).json()["id"] for _ in range(5)]

    statuses = sorted(shop.decided(id_)["status"] for id_ in ids)
    assert statuses == ["confirmed"] * 3 + ["rejected"] * 2
    assert shop.stock(sku) == (3, 3, 0)


def test_a_pending_order_has_a_command_too(shop: Shop) -> None:
    placed = shop.confirmed((shop.product(1), 1))

    command = shop.command(placed["id"])

    assert command["status"] == "applied"
    assert command["id"] == placed["id"]
    assert command["kind"] == "place_order"


def test_a_client_that_hangs_up_at_once_does_not_lose_its_order(system: System, shop: Shop) -> None:
    sku = shop.product(1)
    key = fresh("hang-up")
    body = json.dumps(an_order((sku, 1))).encode()
    with raw.connect(system) as hasty:
        hasty.sendall(
            raw.request(
                "/v1/orders", b"Content-Type: application/json", b"Prefer: wait=30",
                b"Idempotency-Key: " + key.encode(), f"Content-Length: {len(body)}".encode(),
                body=body,
            )
        )  # fmt: skip

    # Whatever became of the first try, the second is the same order.
    answer = shop.place((sku, 1), headers={**WAIT, "Idempotency-Key": key})

    assert answer.status_code == 201
    eventually(lambda: shop.stock(sku) == (1, 1, 0))
