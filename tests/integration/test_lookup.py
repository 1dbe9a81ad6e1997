"""What operators look up: an order's moves and movements, stock by level, levels over time."""

from datetime import UTC, datetime, timedelta

import pytest

from actors.commands import AdjustStock, MoveOrder, Origin
from actors.inventory import adjust_stock, put_products
from actors.moves import move_orders
from actors.placing import place_behind, place_orders
from models import database as db
from models.queries import lookup
from tests.integration.workshop import (
    adjustment,
    apply,
    move,
    new_id,
    now,
    order,
    product,
    stocked,
)

pytestmark = pytest.mark.usefixtures("database")


def taken(sku: str, units: int) -> AdjustStock:
    return AdjustStock(new_id(), now(), sku, -units, "damaged")


def test_the_moves_of_an_order_are_shown_with_their_outcomes() -> None:
    stocked("A", 5)
    placed = order(("A", 2))
    shipped, again = move(placed.id, "shipped"), move(placed.id, "shipped")
    apply(place_orders, placed, order(("A", 1)))
    apply(move_orders, shipped)
    apply(move_orders, again)

    asked = lookup.moves_asked(placed.id)

    assert [(a.command_id, a.outcome) for a in asked] == [
        (shipped.id, "applied"), (again.id, "rejected"),
    ]  # fmt: skip
    assert asked[0].problem is None
    assert asked[1].problem is not None
    assert "it can become" in asked[1].problem["detail"]
    assert asked[0].by is None


def test_the_movements_of_an_order_are_its_own_and_no_others() -> None:
    stocked("A", 9)
    stocked("B", 9)
    placed = order(("B", 1), ("A", 2), ("A", 1))
    # Both in one transaction: their movements share the instant and a SKU.
    apply(place_orders, placed, order(("A", 4)))
    moves = [move(placed.id, "shipped"), move(placed.id, "returned")]
    apply(move_orders, *moves)

    found = lookup.movements_of(placed.id)

    assert [(m.sku, m.on_hand_delta, m.allocated_delta, m.reason) for m in found[:2]] == [
        ("A", 0, 3, "placed"), ("B", 0, 1, "placed"),
    ]  # fmt: skip
    assert sorted((m.sku, m.on_hand_delta, m.allocated_delta, m.reason) for m in found[2:]) == [
        ("A", -3, -3, "shipped"), ("A", 3, 0, "returned"),
        ("B", -1, -1, "shipped"), ("B", 1, 0, "returned"),
    ]  # fmt: skip
    assert {m.command_id for m in found} == {placed.id, *(m.id for m in moves)}


def test_an_order_that_did_nothing_to_stock_has_no_movements() -> None:
    rejected = order(("A", 1))
    apply(place_behind, rejected)

    assert lookup.movements_of(rejected.id) == []
    assert lookup.movements_of(new_id()) == []


def test_stock_is_listed_by_sku_page_by_page() -> None:
    for sku in ("b-1", "a-2", "a.9", "a-10", "a-1"):
        stocked(sku, 1)

    first = lookup.stock_by_sku("a", None, 3)
    second = lookup.stock_by_sku("a", first[-1].sku, 3)

    assert [row.sku for row in first + second] == ["a-1", "a-10", "a-2", "a.9"]
    assert [row.sku for row in lookup.stock_by_sku("", "a.9", 9)] == ["b-1"]
    assert lookup.stock_by_sku("zz", None, 9) == []


def test_low_stock_is_listed_the_scarcest_first() -> None:
    for sku, units in (("A", 3), ("B", 1), ("C", 9), ("D", 1), ("E", 0), ("X", 2)):
        stocked(sku, units)
    apply(place_orders, order(("A", 3)))

    first = lookup.low_stock("", 3, None, 3)
    last = first[-1]
    second = lookup.low_stock("", 3, (last.on_hand - last.allocated, last.sku), 3)

    assert [row.sku for row in first + second] == ["A", "E", "B", "D", "X"]
    assert (first[0].on_hand, first[0].allocated) == (3, 3)
    assert [row.sku for row in lookup.low_stock("D", 3, None, 9)] == ["D"]


def test_levels_are_counted_back_from_the_present_one() -> None:
    stocked("A", 10)
    apply(place_orders, order(("A", 4)))
    apply(adjust_stock, taken("A", 3))

    found = lookup.levels("A", None, 1_000)

    assert [(level.on_hand, level.available) for level in found.levels] == [
        (0, 0), (10, 10), (10, 6), (7, 3), (7, 3),
    ]  # fmt: skip
    assert [level.at for level in found.levels] == sorted(level.at for level in found.levels)
    assert found.complete


def test_levels_of_a_time_start_where_the_time_starts() -> None:
    stocked("A", 10)
    since = datetime.now(UTC) - timedelta(hours=1)
    db.execute("UPDATE stock_movements SET at = now() - interval '2 hours'")
    apply(adjust_stock, taken("A", 3))

    found = lookup.levels("A", since, 100)

    assert found.levels[0] == lookup.Level(since, 10, 10)
    assert [level.on_hand for level in found.levels] == [10, 7, 7]


def test_levels_of_many_movements_are_gathered_and_still_end_right() -> None:
    apply(put_products, product("A"))
    for _ in range(30):
        apply(adjust_stock, adjustment("A", 2))

    gathered = lookup.levels("A", None, 5)
    latest = lookup.levels("A", None, 1_000, rows_max=10)

    assert len(gathered.levels) <= 5 + 3
    assert (gathered.levels[0].on_hand, gathered.levels[-1].on_hand) == (0, 60)
    assert not latest.complete
    assert (latest.levels[0].on_hand, latest.levels[-1].on_hand) == (40, 60)


def test_a_product_that_never_moved_has_a_level_all_the_same() -> None:
    apply(put_products, product("A"))

    assert [level.on_hand for level in lookup.levels("A", None, 10).levels] == [0, 0]


def test_a_word_is_a_sku_where_something_has_it() -> None:
    apply(put_products, product("A"))

    assert lookup.is_known_sku("A")
    assert not lookup.is_known_sku("timeout")


def test_who_moved_an_order_by_hand_is_shown() -> None:
    stocked("A", 5)
    placed = order(("A", 2))
    apply(place_orders, placed)
    by = Origin("key_1", "Ada", "203.0.113.9", "a browser")
    apply(move_orders, MoveOrder(new_id(), now(), placed.id, "shipped", origin=by))

    (asked,) = lookup.moves_asked(placed.id)

    assert asked.by == "Ada"
