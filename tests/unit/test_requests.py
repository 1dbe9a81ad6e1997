"""Reading headers and queries: what is meant is understood, what is none is a 422."""

from collections.abc import Callable
from typing import Any

import falcon
import falcon.testing
import pytest
from hypothesis import given
from hypothesis import strategies as st

from web import requests
from web.problems import Problem


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
        ('W/"3"', 0),
        ('"abc"', 0),
        ('"-1"', 0),
        ('"03"', 0),
        ('"1", "2"', (1, 2)),
        ('"2" ,,"1", "2",', (1, 2)),
        ('W/"1", "2"', 2),
        ('W/"1", W/"2"', 0),
        ('"a,b", "2"', 2),
        ('"9999999999999"', 0),
    ],
)
def test_which_versions_if_match_names(header: str, version: int | tuple[int, ...] | None) -> None:
    assert requests.if_match_versions(asked(If_Match=header)) == version


@pytest.mark.parametrize(
    "header",
    ["", ",", "3", "abc", '"3', '"3" "4"', '"3"x', "w/'3'", "*, *", '*, "3"', '"1",' * 101,
     '"a, ""1"'],
)  # fmt: skip
def test_what_is_no_entity_tag_is_refused(header: str) -> None:
    refused(lambda: requests.if_match_versions(asked(If_Match=header)), "If-Match")
    refused(lambda: requests.none_matches(asked(If_None_Match=header), '"1"'), "If-None-Match")


@given(st.integers(0, 999_999_999))
def test_an_etag_is_understood_when_it_comes_back(version: int) -> None:
    tag = requests.etag(version)

    assert requests.if_match_versions(asked(If_Match=tag)) == version
    assert not requests.none_matches(asked(If_None_Match=tag), tag)


@pytest.mark.parametrize(
    ("header", "has_body"),
    [
        ('"2"', True),
        ('"1"', False),
        ('W/"1"', False),
        ('"3", "1"', False),
        ('"3","2"', True),
        ('"2", W/"1"', False),
        ('"11"', True),
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


def test_metadata_may_be_as_large_as_it_may_be_and_no_larger() -> None:
    fits = {"k": "v" * (4 * 1024 - 1)}

    assert requests.metadata_errors(fits) == []
    assert requests.metadata_errors({"k": fits["k"] + "v"}, "/orders/0/metadata") == [
        {"pointer": "/orders/0/metadata", "detail": "must be at most 4 KiB"}
    ]
