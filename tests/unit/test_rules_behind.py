"""Which orders are decided behind the changes of their products."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from models.rules.allocation import Demand, Level, allocate
from models.rules.behind import SETTING_UP, orders_behind

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
MOMENT = timedelta(microseconds=1)


def level(sku: str, on_hand: int, put_at: datetime | None, currency: str = "EUR") -> Level:
    return Level(sku, "main", on_hand, 0, 100, currency, put_at)


def behind(levels: list[Level], *lines: tuple[str, int]) -> bool:
    """Whether one order of noon is."""
    by_sku = {each.sku: each for each in levels}
    decisions = allocate(by_sku, [Demand("o", list(lines))])
    return orders_behind(by_sku, decisions, {"o": NOON}) == {"o"}


def test_an_order_that_gets_its_stock_is_decided() -> None:
    assert not behind([level("A", 5, NOON)], ("A", 5))


def test_an_order_of_a_product_that_is_not_there_is() -> None:
    assert behind([level("A", 5, None)], ("A", 1), ("B", 1))


def test_an_order_short_of_a_new_product_is_until_a_minute_has_passed() -> None:
    assert behind([level("A", 0, NOON - SETTING_UP + MOMENT)], ("A", 1))
    assert not behind([level("A", 0, NOON - SETTING_UP)], ("A", 1))


def test_so_is_one_whose_product_was_put_by_a_clock_that_is_ahead() -> None:
    assert behind([level("A", 0, NOON + timedelta(seconds=5))], ("A", 1))


def test_a_product_put_before_times_were_kept_is_not_new() -> None:
    assert not behind([level("A", 0, None)], ("A", 1))


def test_a_new_product_with_enough_stock_is_no_reason() -> None:
    assert not behind([level("A", 0, None), level("B", 5, NOON)], ("A", 1), ("B", 1))


def test_currencies_that_differ_are_no_reason() -> None:
    assert not behind([level("A", 1, NOON), level("B", 1, NOON, "USD")], ("A", 1), ("B", 1))


@given(
    st.lists(st.integers(0, 5), min_size=3, max_size=3),
    st.lists(st.lists(st.tuples(st.sampled_from("ABCD"), st.integers(1, 4)), min_size=1)),
)
def test_without_them_all_others_are_decided_the_same(
    on_hand: list[int], wanted: list[list[tuple[str, int]]]
) -> None:
    levels = {s: level(s, n, NOON) for s, n in zip("ABC", on_hand, strict=True)}
    demands = [Demand(str(n), lines) for n, lines in enumerate(wanted)]
    decisions = allocate(levels, demands)
    left = orders_behind(levels, decisions, dict.fromkeys([d.order_id for d in demands], NOON))

    others = [demand for demand in demands if demand.order_id not in left]

    assert allocate(levels, others) == [d for d in decisions if d.order_id not in left]
