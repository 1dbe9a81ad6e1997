"""Whose trace a request belongs to: W3C Trace Context, as strict as it is."""

import re
from types import SimpleNamespace
from typing import Any

import pytest

from web.tracing import parse_traceparent, trace_id, traceparent

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
GOOD = f"00-{TRACE}-00f067aa0ba902b7-01"
COMMAND = "018f0000-0000-8000-8000-000000000001"


def request(header: str | None = None, **context: Any) -> Any:
    return SimpleNamespace(
        context=SimpleNamespace(**context),
        get_header=lambda name: header if name.lower() == "traceparent" else None,
    )


def test_a_good_one_is_taken_as_it_is() -> None:
    assert parse_traceparent(GOOD) == GOOD


def test_of_a_later_version_what_this_one_knows_is_taken() -> None:
    assert parse_traceparent(f"cc{GOOD[2:]}-what-the-future-brings") == GOOD
    assert parse_traceparent(f"cc{GOOD[2:]}") == GOOD


@pytest.mark.parametrize(
    "header",
    [
        "", "nonsense", GOOD[:-1], GOOD + "0", GOOD + "-00", GOOD + "\n", " " + GOOD, GOOD.upper(),
        f"ff{GOOD[2:]}", f"cc{GOOD[2:]}x", f"0{GOOD}", GOOD.replace(TRACE, "0" * 32),
        GOOD.replace("00f067aa0ba902b7", "0" * 16), GOOD.replace("-", "_"), GOOD.replace("b", "g"),
        f"{GOOD},{GOOD}", "00-" + "٣" * 32 + "-00f067aa0ba902b7-01", "x" * 10_000,
    ],
)  # fmt: skip
def test_a_malformed_one_is_as_good_as_none(header: str) -> None:
    assert parse_traceparent(header) is None
    assert trace_id(request(header), COMMAND) == COMMAND.replace("-", "")


def test_the_clients_trace_comes_first_then_the_commands_then_a_fresh_one() -> None:
    assert trace_id(request(GOOD), COMMAND) == TRACE
    assert trace_id(request(GOOD, command_id=COMMAND)) == TRACE
    assert trace_id(request(command_id=COMMAND)) == COMMAND.replace("-", "")
    assert re.fullmatch(r"[0-9a-f]{32}", trace_id(request()))


def test_a_fresh_one_stays_the_same_for_the_request() -> None:
    ours = request()

    assert trace_id(ours) == trace_id(ours)
    assert trace_id(ours) != trace_id(request())


def test_where_spans_are_recorded_the_span_stands_for_the_request() -> None:
    span = GOOD.replace("00f067aa0ba902b7", "0000000000000001")

    assert traceparent(request(GOOD, traceparent=span)) == span
