"""Lists of orders: filters, and pages that neither skip nor repeat."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from tests.conftest import System, eventually
from tests.e2e.shop import NOW, Shop, all_decided, fresh, problem


def ids_of(items: Iterable[dict[str, Any]]) -> list[str]:
    return [item["id"] for item in items]


def test_a_list_shows_the_newest_orders_first_as_they_are_shown_alone(shop: Shop) -> None:
    customer, sku = fresh("customer"), shop.product(10)
    placed = [shop.confirmed((sku, 1), customer_id=customer)["id"] for _ in range(3)]

    page = shop.page("/v1/orders", customer_id=customer)

    assert set(page) == {"items", "next_cursor"}
    assert ids_of(page["items"]) == placed[::-1]
    assert page["next_cursor"] is None
    assert page["items"] == [shop.order(id_) for id_ in placed[::-1]]


def test_filters_narrow_the_list_and_go_together(shop: Shop) -> None:
    # Given
    customer, mug, tea = fresh("customer"), shop.product(10), shop.product(10)
    of_mug = shop.confirmed((mug, 1), customer_id=customer)
    of_both = shop.confirmed((mug, 1), (tea, 1), (mug, 1), customer_id=customer)
    of_tea = shop.confirmed((tea, 1), customer_id=customer)
    of_another = shop.confirmed((tea, 1), customer_id=fresh("customer"))
    refused = problem(shop.place((tea, 99), customer_id=customer), 409)["id"]
    shop.move(of_tea["id"], "cancelled")

    def listed(**query: Any) -> list[str]:
        return ids_of(shop.page("/v1/orders", **query)["items"])

    # Then
    assert listed(sku=mug) == [of_both["id"], of_mug["id"]]
    assert listed(sku=tea) == [refused, of_another["id"], of_tea["id"], of_both["id"]]
    assert listed(sku=tea, customer_id=customer, status="confirmed") == [of_both["id"]]
    assert listed(customer_id=customer, status="cancelled") == [of_tea["id"]]
    assert listed(customer_id=customer, status="rejected") == [refused]
    assert listed(customer_id=customer, status="shipped") == []
    assert listed(customer_id=fresh("nobody")) == []
    assert listed(sku=fresh("nothing")) == []

    # And times are limits, whatever offset they come in
    times = {"placed_after": of_mug["placed_at"], "placed_before": of_tea["placed_at"]}
    assert listed(customer_id=customer, **times) == [of_both["id"], of_mug["id"]]
    zone = datetime.fromisoformat(of_both["placed_at"]).astimezone(UTC) - timedelta(milliseconds=1)
    early = zone.isoformat().replace("+00:00", "-00:00")
    assert of_mug["id"] not in listed(customer_id=customer, placed_after=early)
    assert of_both["id"] in listed(customer_id=customer, placed_after=early)


def test_a_customer_is_found_exactly_spaces_at_the_ends_included(shop: Shop) -> None:
    name, sku = fresh("customer"), shop.product(9)
    names = (name, f" {name}", f"{name} ", f"  {name}  ")
    placed = {exact: shop.confirmed((sku, 1), customer_id=exact)["id"] for exact in names}

    for exact, order_id in placed.items():
        (found,) = shop.page("/v1/orders", customer_id=exact)["items"]
        assert (found["id"], found["customer_id"]) == (order_id, exact)


def test_changes_can_be_pulled_again_and_again_without_a_gap(shop: Shop) -> None:
    # Given a client that pulls what changed, the oldest change first, in small pages
    customer, sku = fresh("customer"), shop.product(50)
    known: dict[str, int] = {}
    since = datetime.now(UTC) - timedelta(minutes=5)

    def pull() -> list[str]:
        nonlocal since
        items = list(shop.pages("/v1/orders", customer_id=customer, limit=3,
                                updated_after=since.isoformat()))  # fmt: skip
        times = [datetime.fromisoformat(order["updated_at"]) for order in items]
        assert times == sorted(times)
        fresh_ones = [order for order in items if known.get(order["id"]) != order["version"]]
        known.update({order["id"]: order["version"] for order in fresh_ones})
        since = max(times, default=since) - timedelta(minutes=5)
        return ids_of(fresh_ones)

    # Then each pull finds what was placed or moved since the one before, and nothing else
    first = [shop.confirmed((sku, 1), customer_id=customer)["id"] for _ in range(5)]
    assert pull() == first
    assert pull() == []
    shop.move(first[1], "shipped")
    late = shop.confirmed((sku, 1), customer_id=customer)["id"]
    assert pull() == [first[1], late]


def test_pages_have_the_size_asked_for_and_50_without(shop: Shop) -> None:
    customer, sku = fresh("customer"), shop.product()
    orders = [{"customer_id": customer, "lines": [{"sku": sku, "quantity": 1}]} for _ in range(55)]
    accepted = shop.client.post("/v1/order-batches", json={"orders": orders}).json()["orders"]
    for order in accepted:
        shop.decided(order["id"])

    assert len(shop.page("/v1/orders", customer_id=customer)["items"]) == 50
    assert len(shop.page("/v1/orders", customer_id=customer, limit=200)["items"]) == 55
    assert len(shop.page("/v1/orders", customer_id=customer, limit=1)["items"]) == 1
    last = shop.page("/v1/orders", customer_id=customer, limit=55)
    assert (len(last["items"]), last["next_cursor"]) == (55, None)


@pytest.mark.parametrize("limit", [1, 3, 7])
def test_paging_neither_skips_nor_repeats_while_new_orders_arrive(shop: Shop, limit: int) -> None:
    # Given orders, some of them accepted in the same moment
    customer, sku = fresh("customer"), shop.product(1000)
    order = {"customer_id": customer, "lines": [{"sku": sku, "quantity": 1}]}
    batch = shop.client.post("/v1/order-batches", json={"orders": [order] * 8}).json()["orders"]
    before = [found["id"] for found in batch]
    before += [shop.place((sku, 1), customer_id=customer).json()["id"] for _ in range(4)]
    for order_id in before:
        shop.decided(order_id)

    # When one reads all pages while others come in and some change
    newcomers: list[str] = []

    def meanwhile() -> None:
        newcomers.append(shop.confirmed((sku, 1), customer_id=customer)["id"])
        shop.move(before[len(newcomers) % len(before)], "shipped", headers=NOW)

    seen = ids_of(shop.pages("/v1/orders", meanwhile, customer_id=customer, limit=limit))

    # Then
    assert newcomers
    assert len(seen) == len(set(seen))
    assert sorted(id_ for id_ in seen if id_ not in newcomers) == sorted(before)


@pytest.mark.parametrize(
    "query",
    [
        {"status": "nonsense"}, {"status": ""}, {"limit": 0}, {"limit": 201}, {"limit": -1},
        {"limit": "ten"}, {"limit": ""}, {"limit": "1e2"}, {"limit": "9" * 400},
        {"cursor": "nonsense"}, {"cursor": ""}, {"cursor": "!"}, {"cursor": "W10"},
        {"cursor": "WzEsMl0"}, {"placed_after": "yesterday"}, {"placed_before": "2026-13-01"},
        {"placed_after": "2026-01-01T00:00:00"}, {"nonsense": "1"}, {"customer_id": "a\0b"},
        {"sku": "\0"}, {"limit": ["1", "2"]},
    ],
    ids=str,
)  # fmt: skip
def test_a_query_that_breaks_a_rule_is_refused_and_says_where(
    client: httpx.Client, query: dict[str, Any]
) -> None:
    document = problem(client.get("/v1/orders", params=query), 422, "invalid-request")

    assert next(iter(query)) in str(document["errors"])


@pytest.mark.parametrize("path", ["/v1/inventory", "/v1/inventory/{sku}/movements"])
def test_a_cursor_of_another_list_is_refused(shop: Shop, path: str) -> None:
    sku = shop.product(1)
    shop.adjust(sku, 1)
    shop.place((sku, 1))
    shop.place((sku, 1))
    cursor = shop.page("/v1/orders", limit=1)["next_cursor"]

    answer = shop.client.get(path.format(sku=sku), params={"cursor": cursor})

    assert "cursor" in str(problem(answer, 422, "invalid-request")["errors"])


def test_lists_survive_odd_bytes(client: httpx.Client) -> None:
    for query in ("customer_id=%EF%BF%BD", "customer_id=%27%3b--", "customer_id=%25"):
        assert client.get(f"/v1/orders?{query}").json()["items"] == []


#: Orders of one customer fail whenever they are tried.
CURSE = """
CREATE FUNCTION cursed_customer() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN RAISE EXCEPTION 'cursed'; END $$;
CREATE TRIGGER cursed_customer BEFORE INSERT ON orders FOR EACH ROW
WHEN (NEW.customer_id = '{}') EXECUTE FUNCTION cursed_customer()
"""
LIFT = "DROP FUNCTION cursed_customer CASCADE"


def test_an_order_that_a_worker_can_not_decide_is_listed_as_pending(
    system: System, shop: Shop
) -> None:
    customer, sku = fresh("cursed"), shop.product(5)
    system.sql(CURSE.format(customer))
    try:
        order_id = shop.place(
            (sku, 2), headers=NOW, customer_id=customer, metadata={"note": "✓"}
        ).json()["id"]

        (listed,) = eventually(lambda: shop.page("/v1/orders", customer_id=customer)["items"])
        assert (listed["id"], listed["status"]) == (order_id, "pending")
        assert (listed["customer_id"], listed["metadata"]) == (customer, {"note": "✓"})
        assert listed["lines"] == [
            {"sku": sku, "quantity": 2, "unit_price": None, "location": None}
        ]
        assert listed == shop.order(order_id)
        assert order_id in ids_of(shop.page("/v1/orders", status="pending", sku=sku)["items"])
    finally:
        system.sql(LIFT)

    shop.decided(order_id)
    (decided,) = shop.page("/v1/orders", customer_id=customer)["items"]
    assert (decided["status"], decided["placed_at"]) == ("confirmed", listed["placed_at"])
    assert shop.page("/v1/orders", status="pending", sku=sku)["items"] == []


def test_accepted_orders_are_listed_once_decided(system: System, shop: Shop) -> None:
    customer, sku = fresh("customer"), shop.product(5)
    ids = [shop.place((sku, 1), headers=NOW, customer_id=customer).json()["id"] for _ in range(9)]

    all_decided(system, ids)

    assert sorted(ids_of(shop.page("/v1/orders", customer_id=customer)["items"])) == sorted(ids)
