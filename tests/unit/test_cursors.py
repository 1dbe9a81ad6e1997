"""Cursors: a list takes its own and no others."""

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from web.cursors import DIGEST_CHARACTERS, cursors_of
from web.dashboard.query import Query
from web.parameters import InventoryQuery, MovementQuery, OrderQuery, cursors
from web.problems import Problem

Position: Any = tuple[datetime, str]
LIST = cursors_of("/list", {})
NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
GOOD = LIST.write((NOON, "id"))


def refused(cursor: str, of: Any = LIST) -> None:
    """A list refuses a cursor by a 422 that names it."""
    with pytest.raises(Problem) as caught:
        of.read(cursor, Position)
    assert caught.value.status == 422
    (error,) = caught.value.document["errors"]  # type: ignore[misc]
    assert error["parameter"] == "cursor"  # type: ignore[has-type]


@given(
    st.datetimes(timezones=st.just(UTC)),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=64),
)
def test_a_cursor_is_understood_when_it_comes_back(at: datetime, name: str) -> None:
    cursor = LIST.write((at, name))

    assert LIST.read(cursor, Position) == (at, name)


@pytest.mark.parametrize(
    "cursor",
    [
        "",
        "x",
        LIST.digest,
        *(
            LIST.digest + text
            for text in ("!!!", "e30", "W10", "bnVsbA", "WzFd", "\0", "A" * 10_000)
        ),
        GOOD + "=",
        GOOD + "\n",
        GOOD[len(LIST.digest) :],
        LIST.write((1, 2)),
        # PostgreSQL knows no such offset.
        LIST.write((datetime(2026, 1, 1, tzinfo=timezone(timedelta(hours=16))), "")),
        LIST.write((datetime(2026, 1, 1), "")),  # noqa: DTZ001 - as it may be made up
    ],
)
def test_a_cursor_that_was_made_up_is_refused(cursor: str) -> None:
    refused(cursor)


@given(st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=1, max_size=40))
def test_any_word_for_a_cursor_is_read_or_refused(word: str) -> None:
    try:
        LIST.read(LIST.digest + word, Position)
    except Problem as problem:
        assert problem.status == 422


def test_without_a_cursor_it_is_the_first_page() -> None:
    assert LIST.read(None, Position) is None


ORDERS = cursors("/v1/orders", OrderQuery())


@pytest.mark.parametrize(
    "other",
    [
        cursors("/v1/orders", OrderQuery(updated_after=NOON)),
        cursors("/v1/orders", OrderQuery(placed_after=NOON)),
        cursors("/v1/orders", OrderQuery(status="shipped")),
        cursors("/v1/orders", OrderQuery(customer_id="t")),
        cursors("/v1/orders", OrderQuery(customer_id="kk")),
        cursors("/v1/orders", OrderQuery(sku="t")),
        cursors("/v1/inventory", InventoryQuery()),
        cursors("/v1/inventory/A/movements", MovementQuery()),
    ],
)
def test_a_list_refuses_the_cursor_of_another_or_of_other_filters(other: Any) -> None:
    refused(ORDERS.write((NOON, "id")), other)
    refused(other.write((NOON, "id")), ORDERS)


def test_a_product_refuses_the_cursor_of_another_products_movements() -> None:
    a, b = (cursors(f"/v1/inventory/{sku}/movements", MovementQuery()) for sku in "AB")

    refused(a.write((NOON, "id")), b)


def test_the_size_of_a_page_may_change_from_page_to_page() -> None:
    cursor = ORDERS.write((NOON, "id"))

    assert cursors("/v1/orders", OrderQuery(limit=3, cursor=cursor)) == ORDERS
    assert len(ORDERS.digest) == DIGEST_CHARACTERS


def test_a_page_refuses_the_cursor_of_another_or_of_other_filters() -> None:
    link = Query({"q": "a"}, "q").next_link("/p", (NOON, "id"))
    assert link is not None
    cursor = link.rpartition("=")[2]

    assert Query({"q": "a", "cursor": cursor}, "q").cursor("/p", Position) == (NOON, "id")
    for path, q in (("/p", "b"), ("/p", ""), ("/other", "a")):
        with pytest.raises(Problem):
            Query({"q": q, "cursor": cursor}, "q").cursor(path, Position)
    assert Query({}, "q").next_link("/p", None) is None
