"""Which orders get stock: nothing is sold twice, nothing vanishes, one decision per order."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from models.rules.allocation import (
    Allocation,
    Decision,
    Demand,
    Level,
    Shortage,
    StockChange,
    adjust,
    allocate,
)

SKUS = ("A", "B", "C", "D")
UNKNOWN = "NOWHERE"


def level(
    sku: str, on_hand: int, allocated: int = 0, price: int = 10, currency: str = "EUR"
) -> Level:
    return Level(sku, "main", on_hand, allocated, price, currency)


def stock_of(**on_hand: int) -> dict[str, Level]:
    return {sku: level(sku, units) for sku, units in on_hand.items()}


def refusal_of(decision: Decision) -> str:
    assert isinstance(decision, Shortage)
    return decision.refusal.slug


@st.composite
def levels(draw: st.DrawFn) -> dict[str, Level]:
    drawn = {}
    for sku in SKUS:
        on_hand = draw(st.integers(0, 30))
        allocated = draw(st.integers(0, on_hand))
        drawn[sku] = level(sku, on_hand, allocated, draw(st.integers(0, 500)))
    return drawn


lines = st.lists(
    st.tuples(st.sampled_from([*SKUS, UNKNOWN]), st.integers(1, 12)), min_size=1, max_size=5
)
demands = st.lists(lines, max_size=25).map(
    lambda drawn: [Demand(f"order-{n}", each) for n, each in enumerate(drawn)]
)


def test_an_order_gets_all_its_lines_and_its_total_is_what_they_cost() -> None:
    stock = {"A": level("A", 5, price=250), "B": level("B", 5, price=1)}

    (decision,) = allocate(stock, [Demand("o", [("A", 2), ("B", 3)])])

    assert decision == Allocation("o", "EUR", 503, {"A": 2, "B": 3})


def test_an_order_that_lacks_one_line_gets_nothing_and_leaves_the_stock_to_the_next() -> None:
    first, second = allocate(
        stock_of(A=5, B=1), [Demand("greedy", [("A", 5), ("B", 2)]), Demand("modest", [("A", 5)])]
    )

    assert refusal_of(first) == "insufficient-stock"
    assert isinstance(second, Allocation)


def test_who_comes_first_is_served_first() -> None:
    decisions = allocate(stock_of(A=3), [Demand(str(n), [("A", 2)]) for n in range(3)])

    assert [isinstance(d, Allocation) for d in decisions] == [True, False, False]


def test_lines_of_the_same_sku_are_summed_before_they_are_compared_with_stock() -> None:
    enough, too_much = (
        allocate(stock_of(A=units), [Demand("o", [("A", 2), ("A", 2)])])[0] for units in (4, 3)
    )

    assert isinstance(enough, Allocation)
    assert enough.units == {"A": 4}
    assert refusal_of(too_much) == "insufficient-stock"


def test_a_refusal_names_each_short_line_with_what_there_is() -> None:
    (decision,) = allocate(
        {"A": level("A", 10, allocated=8), "B": level("B", 9)}, [Demand("o", [("A", 3), ("B", 1)])]
    )

    assert isinstance(decision, Shortage)
    assert decision.refusal.extra["lines"] == [{"sku": "A", "requested": 3, "available": 2}]


def test_an_unknown_sku_is_refused_before_a_short_one() -> None:
    (decision,) = allocate(stock_of(A=0), [Demand("o", [("A", 1), (UNKNOWN, 1)])])

    assert refusal_of(decision) == "unknown-sku"


def test_an_order_in_two_currencies_is_refused_and_takes_no_stock() -> None:
    stock = {"A": level("A", 1), "B": level("B", 1, currency="USD")}

    mixed, after = allocate(stock, [Demand("o", [("A", 1), ("B", 1)]), Demand("p", [("A", 1)])])

    assert refusal_of(mixed) == "mixed-currencies"
    assert isinstance(after, Allocation)


@given(levels(), demands)
def test_stock_is_never_oversold_and_every_unit_is_accounted_for(
    stock: dict[str, Level], orders: list[Demand]
) -> None:
    decisions = allocate(stock, orders)

    taken: Counter[str] = Counter()
    for order, decision in zip(orders, decisions, strict=True):
        if isinstance(decision, Allocation):
            asked: Counter[str] = Counter()
            for sku, quantity in order.lines:
                asked[sku] += quantity
            assert decision.units == asked
            assert decision.total == sum(stock[sku].unit_price * n for sku, n in asked.items())
            taken += asked
    assert all(units <= stock[sku].available for sku, units in taken.items())


@given(levels(), demands)
def test_an_order_is_only_refused_when_something_really_lacks(
    stock: dict[str, Level], orders: list[Demand]
) -> None:
    left = {sku: each.available for sku, each in stock.items()}
    for order, decision in zip(orders, allocate(stock, orders), strict=True):
        asked: Counter[str] = Counter()
        for sku, quantity in order.lines:
            asked[sku] += quantity
        fits = all(left.get(sku, -1) >= units for sku, units in asked.items())
        assert fits == isinstance(decision, Allocation)
        if fits:
            left = {sku: units - asked[sku] for sku, units in left.items()}


@given(levels(), demands)
def test_each_order_has_one_decision_in_its_place(
    stock: dict[str, Level], orders: list[Demand]
) -> None:
    assert [d.order_id for d in allocate(stock, orders)] == [o.order_id for o in orders]


@given(levels(), demands, st.data())
def test_splitting_a_batch_in_order_changes_nothing(
    stock: dict[str, Level], orders: list[Demand], data: st.DataObject
) -> None:
    cut = data.draw(st.integers(0, len(orders)))
    whole = allocate(stock, orders)

    head = allocate(stock, orders[:cut])
    used: Counter[str] = Counter()
    for decision in head:
        if isinstance(decision, Allocation):
            used.update(decision.units)
    after_head = {
        sku: each._replace(allocated=each.allocated + used[sku]) for sku, each in stock.items()
    }

    assert head + allocate(after_head, orders[cut:]) == whole


@given(levels(), demands)
def test_the_levels_given_are_left_as_they_were(
    stock: dict[str, Level], orders: list[Demand]
) -> None:
    before = dict(stock)

    allocate(stock, orders)

    assert stock == before


def test_an_adjustment_may_not_take_what_is_allocated_to_orders() -> None:
    applies, refused = adjust(
        {"A": (10, 7)}, [StockChange("1", "A", -3), StockChange("2", "A", -1)], 100
    )

    assert applies is None
    assert refused is not None
    assert refused.slug == "insufficient-stock"


def test_an_adjustment_of_an_unknown_sku_or_beyond_the_maximum_is_refused() -> None:
    unknown, too_many, fits = adjust(
        {"A": (10, 0)},
        [StockChange("1", "B", 1), StockChange("2", "A", 91), StockChange("3", "A", 90)],
        100,
    )

    assert unknown is not None
    assert unknown.slug == "unknown-sku"
    assert too_many is not None
    assert too_many.slug == "stock-limit"
    assert fits is None


def test_what_is_beyond_the_maximum_by_returns_can_still_be_taken_off() -> None:
    refused, applies = adjust(
        {"A": (105, 0)}, [StockChange("1", "A", 1), StockChange("2", "A", -1)], 100
    )

    assert refused is not None
    assert refused.slug == "stock-limit"
    assert applies is None


@given(
    st.dictionaries(
        st.sampled_from(SKUS),
        st.tuples(st.integers(0, 20), st.integers(0, 20)).map(lambda p: (max(p), min(p))),
    ),
    st.lists(st.tuples(st.sampled_from(SKUS), st.integers(-25, 25)), max_size=20),
)
def test_adjustments_keep_stock_between_what_is_allocated_and_the_maximum(
    stock: dict[str, tuple[int, int]], wanted: list[tuple[str, int]]
) -> None:
    changes = [StockChange(str(n), sku, delta) for n, (sku, delta) in enumerate(wanted)]

    decisions = adjust(stock, changes, 40)

    on_hand = {sku: units for sku, (units, _) in stock.items()}
    for change, refusal in zip(changes, decisions, strict=True):
        if change.sku not in stock:
            assert refusal is not None
            continue
        after = on_hand[change.sku] + change.delta
        assert (refusal is None) == (stock[change.sku][1] <= after <= 40)
        if refusal is None:
            on_hand[change.sku] = after
