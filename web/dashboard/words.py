"""Figures in words: short, of steady width, the same everywhere."""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from models.rules.currencies import format_amount
from models.rules.formatting import (
    NOTHING,
    ago,
    duration,
    enumerated,
    first_line,
    number,
    percent,
    plural,
)

#: Rarer than this per second, "0.0 /s" would be all there is to say.
RARE: Final = 0.1


def rate(value: float | None) -> str:
    """A figure per second, always with one decimal below a hundred, so that it stays in place;
    what is rarer than one in ten seconds by the minute: `per` says which."""
    if value is None:
        return NOTHING
    if per(value) == "/min":
        return f"{max(1, round(value * 60))}"
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}"


def per(value: float | None) -> str:
    """What `rate` counts by."""
    return "/min" if value is not None and 0 < value < RARE else "/s"


def exact(moment: datetime | None) -> str:
    """2026-11-23 17:05:09.123 UTC"""
    if moment is None:
        return NOTHING
    utc = moment.astimezone(UTC)
    return f"{utc:%Y-%m-%d %H:%M:%S}.{utc.microsecond // 1000:03d} UTC"


def to_the_second(moment: datetime, now: datetime | None = None) -> str:
    """23 Nov 17:05:09 UTC, with the year where it is another one. A line breaks before the time."""
    utc = moment.astimezone(UTC)
    year = "" if utc.year == (now or datetime.now(UTC)).year else f"\N{NO-BREAK SPACE}{utc.year}"
    return f"{utc.day}\N{NO-BREAK SPACE}{utc:%b}{year} {utc:%H:%M:%S}\N{NO-BREAK SPACE}UTC"


def iso(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def size(count: float | None) -> str:
    """Bytes as 512 B, 48 KiB, 45.2 MiB, 1.3 GiB."""
    if count is None:
        return NOTHING
    for unit in ("B", "KiB"):
        if abs(count) < 1024:
            return f"{count:.0f} {unit}"
        count /= 1024
    return f"{count:.1f} MiB" if abs(count) < 1024 else f"{count / 1024:.1f} GiB"


def money(amount: int | None, currency: str | None) -> str:
    """Minor units as 12.50 EUR, 1,250 JPY, 1.250 KWD."""
    return NOTHING if amount is None else format_amount(amount, currency)


def pretty(value: Any) -> str:
    """JSON to be read."""
    return msgspec.json.format(msgspec.json.encode(value), indent=2).decode()


#: Refusals that speak to programs, in words for who sits before a page.
REFUSALS: Final[Mapping[str, tuple[str, str]]] = {
    "precondition-failed": (
        "Someone else changed this order. This is its current state",
        "It was no longer as the page showed it, so nothing was done.",
    ),
}


def refusal(problem: Mapping[str, Any]) -> tuple[str, str]:
    """Title and detail of a problem document, for people."""
    given = str(problem.get("title", "")), str(problem.get("detail", ""))
    return REFUSALS.get(str(problem.get("type", "")).rpartition("/")[2], given)


def points(
    values: Sequence[float | None], width: float, height: float, highest: float | None = None
) -> list[str]:
    """Polylines through values scaled to a box, broken where a value is missing.

    highest: the value at the top, the highest of these without one.
    """
    highest = highest or max((value for value in values if value is not None), default=0) or 1
    step = width / max(1, len(values) - 1)
    lines: list[list[str]] = [[]]
    for index, value in enumerate(values):
        if value is None:
            lines.append([])
        else:
            y = height - 1 - value / highest * (height - 2)
            lines[-1].append(f"{index * step:.1f},{y:.1f}")
    return [" ".join(line) for line in lines if len(line) > 1]


FILTERS: Final[Mapping[str, Callable[..., Any]]] = {
    "number": number, "rate": rate, "per": per, "duration": duration, "ago": ago, "exact": exact,
    "to_the_second": to_the_second, "iso": iso, "size": size, "percent": percent, "plural": plural,
    "pretty": pretty, "points": points, "money": money, "refusal": refusal,
    "first_line": first_line, "enumerated": enumerated,
}  # fmt: skip
