"""What the dashboard's pages are made of: queries, filters in words, drawings, timelines, cells."""

import asyncio
import csv
import io
import re
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config import settings
from models.queries.failures import FailureQuery, FailureRow
from models.queries.lookup import Level, MoveAsked
from models.queries.stats import ActorPoint
from models.rules.histograms import BUCKETS, bucket_of_time
from web.dashboard.charts import History, latency
from web.dashboard.export import as_csv
from web.dashboard.failure_query import as_filter, asked, failure_query, in_words
from web.dashboard.level_chart import HEIGHT, WIDTH, draw, plotted
from web.dashboard.query import Query, whole_number
from web.dashboard.static import StaticFiles
from web.dashboard.templating import Templates
from web.dashboard.timeline import timeline
from web.dashboard.words import money, refusal
from web.problems import Problem

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("5", 5), ("+5", 5), ("-5", -5), ("\N{MINUS SIGN}5", -5), ("1,000", 1000), ("0", 0),
        ("", None), ("x", None), ("1.5", None), ("--5", None), ("+-5", None), ("5 ", None),
        ("1,5", None), ("1,50", None), ("10,0000", None), (",100", None), ("1,000,", None),
        ("-1,234,567", -1_234_567), ("1,,000", None), ("1000,000", None),
        ("\N{SUPERSCRIPT TWO}", None), ("\N{ARABIC-INDIC DIGIT FIVE}", None), ("9" * 17, None),
    ],
)  # fmt: skip
def test_whole_numbers_are_read_as_people_write_them(text: str, number: int | None) -> None:
    assert whole_number(text) == number


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-11-23T12:00", NOON),
        ("2026-11-23T12:00:00Z", NOON),
        ("2026-11-23T13:00+01:00", NOON),
        ("2026-11-23T13:00 01:00", NOON),
        ("2026-11-23 12:00", NOON),
        ("2026-11-23", NOON.replace(hour=0)),
        ("yesterday", None),
        ("0001-01-01T00:00+14:00", None),
    ],
)
def test_times_are_in_utc_where_they_do_not_say(text: str, moment: datetime | None) -> None:
    query = Query({"after": text}, "after")

    assert query.moment("after") == moment
    assert ("after" in query.errors) == (moment is None)


def test_a_query_is_kept_in_its_links() -> None:
    query = Query({"q": " a&b ", "state": "", "other": "x", "cursor": "c"}, "q", "state")

    assert query.values == {"q": "a&b", "cursor": "c"}
    assert query.link("/p", cursor=None) == "/p?q=a%26b"
    assert query.link("/p", q=None, cursor=None) == "/p"
    assert query.link("/p", cursor=None, view="list") == "/p?q=a%26b&view=list"
    assert Query({"q": ["1", "2"]}, "q")["q"] == "1"
    assert Query({"q": "\0"}, "q").errors
    assert Query({"q": "x" * 301}, "q").errors


@pytest.mark.parametrize("customer", [" c-1", "c-1 ", "  ", "\tc-1\n", "\u00a0c"])
def test_a_key_is_taken_as_it_is_written(customer: str) -> None:
    query = Query({"customer": customer, "status": " failed ", "sku": " A "}, "customer", "status",
                  "sku")  # fmt: skip

    assert query.values == {"customer": customer, "status": "failed", "sku": "A"}
    assert f"customer={quote_plus(customer)}&" in query.link("/x")


@pytest.mark.parametrize(
    ("box", "subject"),
    [("customer: c-1 ", "customer: c-1 "), ("customer:c-1", "customer:c-1"),
     ("customer:  ", "customer:  "), (" sku: A ", "sku:A"), ("order:X ", "order:x")],
)  # fmt: skip
def test_the_box_of_failures_takes_a_customer_as_it_is_written(box: str, subject: str) -> None:
    found = asyncio.run(failure_query(None, asked({"q": box})))  # type: ignore[arg-type]

    assert found.subject == subject


def test_spaces_at_the_ends_of_a_key_can_be_seen() -> None:
    templates = Templates(settings(), StaticFiles())
    parts: Any = templates._environment.get_template("parts.html").module

    assert parts.exact("c-1") == "c-1"
    assert re.findall(r'title="(\d spaces?)">( +)<', parts.exact("  c 1 ")) == [
        ("2 spaces", "  "), ("1 space", " ")
    ]  # fmt: skip
    assert re.findall(r">( +)<", parts.exact("   ")) == ["   "]
    assert "&lt;b&gt;" in parts.exact("<b> ")


def test_a_filter_is_told_in_words_and_handed_on_as_it_is() -> None:
    wanted = FailureQuery(
        actor="place_orders", error_class="KeyError", subject="sku:A", failed_after=NOON
    )

    assert in_words(wanted) == [
        "of the actor place_orders", "with an error of class KeyError", "about the SKU A",
        "that failed after 2026-11-23 12:00:00.000 UTC",
    ]  # fmt: skip
    assert in_words(FailureQuery()) == []
    assert in_words(FailureQuery(actor="")) == ["that are no messages of ours"]
    assert in_words(FailureQuery(ids=[4, 5])) == ["the 2 chosen"]
    handed_on = as_filter(wanted, 17)
    assert handed_on.up_to_id == 17
    assert (handed_on.actor, handed_on.subject, handed_on.ids) == ("place_orders", "sku:A", None)
    assert as_filter(FailureQuery(actor="", ids=(4, 5)), 5).ids == [4, 5]
    with pytest.raises(Problem, match="actor"):
        as_filter(FailureQuery(actor="x" * 200), 1)


@given(st.lists(st.tuples(st.integers(0, 10**15), st.integers(0, 10**15)), min_size=2))
def test_a_drawing_stays_in_its_box(units: list[tuple[int, int]]) -> None:
    levels = [
        Level(NOON + timedelta(seconds=at), on_hand, min(on_hand, available))
        for at, (on_hand, available) in enumerate(units)
    ]

    drawing = draw(levels)

    for line in (drawing.on_hand, drawing.available):
        for x, y in (point.split(",") for point in line.split()):
            assert 0 <= float(x) <= WIDTH
            assert 0 <= float(y) <= HEIGHT
    assert drawing.ticks[0] == (HEIGHT, 0)
    assert len(drawing.ticks) <= 7
    assert [len(each) for each in plotted(levels)["data"]] == [len(levels)] * 3


def test_a_timeline_tells_moves_and_failures_with_who_asked() -> None:
    ids = {"moved": "m-1", "refused": "m-2"}
    asked = [
        MoveAsked(ids["moved"], "applied", NOON, NOON, None, "Ada", {"to": "shipped"}),
        MoveAsked(
            ids["refused"], "rejected", NOON + timedelta(seconds=9), NOON + timedelta(seconds=9),
            {"detail": "It is shipped."}, None, None,
        ),
    ]  # fmt: skip
    events = [
        (1, "order.confirmed", NOON - timedelta(seconds=5), {}),
        (2, "order.shipped", NOON + timedelta(seconds=1), {"command_id": ids["moved"]}),
    ]
    failed = FailureRow(
        7, NOON - timedelta(seconds=8), NOON - timedelta(seconds=9), "q", "place_orders", 6,
        "KeyError", "no price\nCONTEXT:  a function", 1, [], "", "retried", NOON, None, None,
    )  # fmt: skip

    told = timeline("o-1", NOON - timedelta(seconds=9), events, asked, [failed])

    assert [entry.title for entry in told] == [
        "Accepted by the front door",
        "KeyError in place_orders after 6 attempts",
        "Confirmed: stock was allocated to all its lines",
        "Shipped",
        "A move was refused",
    ]
    assert told[1].note == "no price Put back since."
    assert (told[3].by, told[3].asked_at) == ("Ada", NOON)
    assert told[4].note == "It is shipped."


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", "\n"])
def test_no_cell_is_a_formula(start: str) -> None:
    cell = f'{start}HYPERLINK("http://x")'

    assert as_csv([[cell, "a,b"]]) == f'"\'{cell.replace(chr(34), chr(34) * 2)}","a,b"\r\n'.encode()


@pytest.mark.parametrize(
    ("cell", "harmless"),
    [
        ("a;=b", "a;'=b"), ("a\t+b", "a\t'+b"), ("a\n-b", "a\n'-b"), ("a\r\n  @b", "a\r\n  '@b"),
        ('a;"=b', "a;\"'=b"), ("a; b=c", "a; b=c"), ("x = 1, y-2", "x = 1, y-2"),
        ("=a;=b", "'=a;'=b"), ("a;\N{FULLWIDTH EQUALS SIGN}b", "a;'\N{FULLWIDTH EQUALS SIGN}b"),
    ],
)  # fmt: skip
def test_nor_is_a_part_of_a_cell_that_is_torn(cell: str, harmless: str) -> None:
    ((read,),) = csv.reader(io.StringIO(as_csv([[cell]]).decode(), newline=""))

    assert read == harmless


@pytest.mark.parametrize(
    ("amount", "currency", "text"),
    [
        (1250, "EUR", "12.50 EUR"), (5, "EUR", "0.05 EUR"), (1250, "JPY", "1,250 JPY"),
        (1250, "KWD", "1.250 KWD"), (123456789, "USD", "1,234,567.89 USD"), (None, None, "–"),
        (-5, "EUR", "-0.05 EUR"), (0, "JPY", "0 JPY"), (12345, "CLF", "1.2345 CLF"),
        (5, "HRK", "0.05 HRK"),
    ],
)  # fmt: skip
def test_money_is_shown_in_the_digits_of_its_currency(
    amount: int | None, currency: str | None, text: str
) -> None:
    assert money(amount, currency) == text


@pytest.mark.parametrize(
    ("took_s", "unit", "shown"), [(0.05, "ms", (40, 60)), (120.0, "s", (100, 140))]
)
def test_long_latencies_are_charted_in_seconds(
    took_s: float, unit: str, shown: tuple[int, int]
) -> None:
    took = [0] * BUCKETS
    took[bucket_of_time(took_s)] = 9
    begin = int(NOON.timestamp())
    point = ActorPoint("place_orders", decided=9, took=took, at=NOON)
    history = History("5m", begin + 14.0, {begin: [point]}, {})

    chart = latency(history)

    low, high = shown
    assert chart.unit == unit
    assert low < (chart.lines[0].values[-1] or 0) < high


def test_a_stale_form_is_told_in_words_for_people() -> None:
    document = {
        "type": "/problems/precondition-failed", "title": "The order has changed",
        "detail": "The order is at version 2, and If-Match names 1. Read it again.",
    }  # fmt: skip

    title, detail = refusal(document)

    assert title == "Someone else changed this order. This is its current state"
    assert "nothing was done" in detail
    assert refusal({"type": "/problems/x", "title": "T", "detail": "D"}) == ("T", "D")
