"""Reading headers and queries: what is meant is understood, what is none is a 422."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import falcon
import falcon.testing
import pytest
from hypothesis import given
from hypothesis import strategies as st

from web import requests
from web.problems import Problem

Position: Any = tuple[datetime, str]


def asked(query: str = "", **headers: str) -> Any:
    """A request; header names have underscores for hyphens."""
    return falcon.testing.create_asgi_req(
        query_string=query, headers={name.replace("_", "-"): v for name, v in headers.items()}
    )


def refused(read: Callable[[], object], parameter: str) -> Problem:
    """The problem that a reader raises: a 422 that names the parameter."""
    with pytest.raises(Problem) as caught:
        read()
    assert caught.value.status == 422
    (error,) = caught.value.document["errors"]  # type: ignore[misc]
    assert error["parameter"] == parameter  # type: ignore[has-type]
    return caught.value


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("wait=5", 5),
        ("wait=0", 0),
        ("WAIT=5", 5),
        ('wait="5"', 5),
        ("wait = 5", 5),
        ("respond-async, wait=10", 10),
        ("wait=10, respond-async", 10),
        ("respond-async; wait=7", 7),
        ("wait=31", 30),
        ("wait=999999", 30),
        ("respond-async", None),
        ("", None),
        ("wait", None),
        ("wait=", None),
        ("wait=-1", None),
        ("wait=1.5", None),
        ("wait=soon", None),
        ("await=5", None),
        ("wait=9999999", None),
        ("wait=5x", None),
    ],
)
def test_how_long_a_client_would_wait(header: str, seconds: int | None) -> None:
    assert requests.wait_s(asked(Prefer=header)) == seconds


def test_without_prefer_a_client_does_not_wait() -> None:
    assert requests.wait_s(asked()) is None


@pytest.mark.parametrize(
    ("header", "version"),
    [
        ('"3"', 3),
        (' "3" ', 3),
        ("*", None),
        ("", None),
        ('W/"3"', 0),
        ("3", 0),
        ('"abc"', 0),
        ('"-1"', 0),
        ('"1", "2"', 0),
        ('"9999999999999"', 0),
    ],
)
def test_which_version_if_match_names(header: str, version: int | None) -> None:
    assert requests.if_match_version(asked(If_Match=header)) == version


@given(st.integers(0, 999_999_999))
def test_an_etag_is_understood_when_it_comes_back(version: int) -> None:
    tag = requests.etag(version)

    assert requests.if_match_version(asked(If_Match=tag)) == version
    assert not requests.none_matches(asked(If_None_Match=tag), tag)


@pytest.mark.parametrize(
    ("header", "has_body"),
    [
        ("", True),
        ('"2"', True),
        ('"1"', False),
        ('W/"1"', False),
        ('"3", "1"', False),
        ('"3","2"', True),
        ("*", False),
    ],
)
def test_whether_an_answer_has_a_body(header: str, has_body: bool) -> None:
    assert requests.none_matches(asked(If_None_Match=header), '"1"') is has_body


@pytest.mark.parametrize("key", ["k", "a b~!", "x" * 255])
def test_an_idempotency_key_is_taken_as_it_is(key: str) -> None:
    assert requests.idempotency_key(asked(Idempotency_Key=key)) == key


@pytest.mark.parametrize("key", ["", "x" * 256, "a\tb", "\u00e4", "a\x7f"])
def test_what_is_no_idempotency_key_is_refused(key: str) -> None:
    refused(lambda: requests.idempotency_key(asked(Idempotency_Key=key)), "Idempotency-Key")


def test_there_may_be_no_idempotency_key() -> None:
    assert requests.idempotency_key(asked()) is None


def test_parameters_that_are_known_and_given_once_are_fine() -> None:
    requests.check_parameters(asked("status=shipped&limit=5"), "status", "limit")


@pytest.mark.parametrize(
    ("query", "name"),
    [("stauts=x", "stauts"), ("limit=1&limit=2", "limit"), ("status=a%00", "status")],
)
def test_parameters_that_are_unknown_twice_or_hold_nul_are_refused(query: str, name: str) -> None:
    refused(lambda: requests.check_parameters(asked(query), "status", "limit"), name)


@pytest.mark.parametrize(
    ("query", "size"), [("", requests.PAGE_DEFAULT), ("limit=1", 1), ("limit=200", 200)]
)
def test_how_many_items_a_page_has(query: str, size: int) -> None:
    assert requests.limit(asked(query)) == size


@pytest.mark.parametrize(
    "text", ["0", "201", "-1", "1.5", "ten", "%2B5", "1e2", "%D9%A1", "99999999999999999", "+5"]
)
def test_a_page_of_no_sensible_size_is_refused(text: str) -> None:
    refused(lambda: requests.limit(asked(f"limit={text}")), "limit")


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-11-23T14:00:00Z", datetime(2026, 11, 23, 14, tzinfo=UTC)),
        ("2026-11-23T14:00:00.5Z", datetime(2026, 11, 23, 14, 0, 0, 500_000, tzinfo=UTC)),
        ("2026-11-23T16:00:00%2B02:00", datetime(2026, 11, 23, 14, tzinfo=UTC)),
        ("2026-11-23T16:00:00+02:00", datetime(2026, 11, 23, 14, tzinfo=UTC)),
    ],
)
def test_a_time_is_read_with_its_offset(text: str, moment: datetime) -> None:
    assert requests.instant(asked(f"placed_after={text}"), "placed_after") == moment


@pytest.mark.parametrize(
    "text",
    [
        "2026-11-23T14:00:00",
        "2026-11-23",
        "yesterday",
        "2026-13-01T00:00:00Z",
        "1732370400",
        "0001-01-01T00:00:00%2B14:00",
        "9999-12-31T23:59:59-14:00",
    ],
)
def test_what_is_no_time_is_refused(text: str) -> None:
    refused(lambda: requests.instant(asked(f"placed_after={text}"), "placed_after"), "placed_after")


@given(
    st.datetimes(timezones=st.just(UTC)),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=64),
)
def test_a_cursor_is_understood_when_it_comes_back(at: datetime, name: str) -> None:
    cursor = requests.write_cursor((at, name))

    assert requests.read_cursor(asked(f"cursor={cursor}"), Position) == (at, name)


@pytest.mark.parametrize(
    "cursor",
    [
        "x",
        "!!!",
        "e30",
        "W10",
        "bnVsbA",
        "WzFd",
        "%00",
        "A" * 10_000,
        requests.write_cursor((1, 2)),
        # PostgreSQL knows no such offset.
        requests.write_cursor((datetime(2026, 1, 1, tzinfo=timezone(timedelta(hours=16))), "")),
        requests.write_cursor((datetime(2026, 1, 1), "")),  # noqa: DTZ001 - as it may be made up
    ],
)
def test_a_cursor_that_was_made_up_is_refused(cursor: str) -> None:
    refused(lambda: requests.read_cursor(asked(f"cursor={cursor}"), Position), "cursor")


@given(st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=1, max_size=40))
def test_any_word_for_a_cursor_is_read_or_refused(word: str) -> None:
    try:
        requests.read_cursor(asked(f"cursor={word}"), Position)
    except Problem as problem:
        assert problem.status == 422


def test_without_a_cursor_it_is_the_first_page() -> None:
    assert requests.read_cursor(asked(), Position) is None


def test_metadata_may_be_as_large_as_it_may_be_and_no_larger() -> None:
    fits = {"k": "v" * (4 * 1024 - 1)}

    requests.check_metadata(fits)
    with pytest.raises(Problem) as caught:
        requests.check_metadata({"k": fits["k"] + "v"}, "/orders/0/metadata")
    assert caught.value.document["errors"] == [
        {"pointer": "/orders/0/metadata", "detail": "may have 4 KiB at most"}
    ]
