"""Figures in words: short, of steady width, the same on pages and in a terminal."""

import math
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

#: What stands where nothing is known.
NOTHING: Final = "–"

_STEPS = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))


def number(value: float | None) -> str:
    """12,345; small ones that are no whole number keep a decimal."""
    if value is None:
        return NOTHING
    if isinstance(value, int) or value.is_integer() or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 0.1 else f"{value:.2f}"


def duration(seconds: float | None) -> str:
    """0.8 ms, 45 ms, 1.2 s, 4 min, 3 h, 2 d."""
    if seconds is None:
        return NOTHING
    if seconds < 0.001:
        return f"{seconds * 1000:.1f} ms"
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    size, unit = next(step for step in _STEPS if seconds >= step[0])
    return f"{seconds / size:.0f} {unit}"


def ago(moment: datetime | None, now: datetime | None = None) -> str:
    """3 min ago, in 20 s."""
    if moment is None:
        return NOTHING
    seconds = ((now or datetime.now(UTC)) - moment).total_seconds()
    if abs(seconds) < 1:
        return "now"
    size, unit = next(step for step in _STEPS if abs(seconds) >= step[0])
    count = f"{math.floor(abs(seconds) / size)} {unit}"
    return f"{count} ago" if seconds > 0 else f"in {count}"


def percent(share: float | None) -> str:
    """A share of 1 as 12 %; what is little but not nothing as < 0.1 %."""
    if share is None:
        return NOTHING
    if share == 0:
        return "0 %"
    if share < 0.001:
        return "< 0.1 %"
    return f"{share * 100:.1f} %" if share < 0.1 else f"{share * 100:.0f} %"


def first_line(text: str) -> str:
    """The first line that is not empty: of PostgreSQL's errors the error, without its CONTEXT."""
    return next((line.strip() for line in text.splitlines() if line.strip()), "")


def plural(count: int, one: str, many: str = "") -> str:
    """1 queue, 2 queues."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def enumerated(names: Sequence[str]) -> str:
    """A, B and C."""
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1]))) if names else ""
