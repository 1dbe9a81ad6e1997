"""Figures in words: short, of steady width, the same everywhere."""

import math
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

#: What stands where nothing is known.
NOTHING: Final = "–"

#: Rarer than this per second, "0.0 /s" would be all there is to say.
RARE: Final = 0.1

_STEPS = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))


def number(value: float | None) -> str:
    """12,345; small ones that are no whole number keep a decimal."""
    if value is None:
        return NOTHING
    if isinstance(value, int) or value.is_integer() or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 0.1 else f"{value:.2f}"


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


def exact(moment: datetime | None) -> str:
    """2026-11-23 17:05:09.123 UTC"""
    if moment is None:
        return NOTHING
    utc = moment.astimezone(UTC)
    return f"{utc:%Y-%m-%d %H:%M:%S}.{utc.microsecond // 1000:03d} UTC"


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


def percent(share: float | None) -> str:
    """A share of 1 as 12 %; what is little but not nothing as < 0.1 %."""
    if share is None:
        return NOTHING
    if share == 0:
        return "0 %"
    if share < 0.001:
        return "< 0.1 %"
    return f"{share * 100:.1f} %" if share < 0.1 else f"{share * 100:.0f} %"


#: Digits of the minor unit where they are not two (ISO 4217).
MINOR_DIGITS: Final[Mapping[str, int]] = {
    "BIF": 0, "CLP": 0, "DJF": 0, "GNF": 0, "ISK": 0, "JPY": 0, "KMF": 0, "KRW": 0, "PYG": 0,
    "RWF": 0, "UGX": 0, "UYI": 0, "VND": 0, "VUV": 0, "XAF": 0, "XOF": 0, "XPF": 0,
    "BHD": 3, "IQD": 3, "JOD": 3, "KWD": 3, "LYD": 3, "OMR": 3, "TND": 3,
}  # fmt: skip


def money(amount: int | None, currency: str | None) -> str:
    """Minor units as 12.50 EUR, 1,250 JPY, 1.250 KWD."""
    if amount is None:
        return NOTHING
    digits = MINOR_DIGITS.get(currency or "", 2)
    whole, rest = divmod(abs(amount), 10**digits)
    fraction = f".{rest:0{digits}d}" if digits else ""
    sign = "-" if amount < 0 else ""
    return f"{sign}{whole:,}{fraction} {currency or ''}".rstrip()


def plural(count: int, one: str, many: str = "") -> str:
    """1 queue, 2 queues."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def pretty(value: Any) -> str:
    """JSON to be read."""
    return msgspec.json.format(msgspec.json.encode(value), indent=2).decode()


#: Refusals that speak to programs, in words for who sits before a page.
REFUSALS: Final[Mapping[str, tuple[str, str]]] = {
    "precondition-failed": (
        "Somebody moved it meanwhile; this is how it is now",
        "It was no longer as the page had shown it, so nothing was done.",
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
    "iso": iso, "size": size, "percent": percent, "plural": plural, "pretty": pretty,
    "points": points, "money": money, "refusal": refusal,
}  # fmt: skip
