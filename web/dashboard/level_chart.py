"""A product's level over time as a drawing: steps, since stock does not change in between."""

import math
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple

from models.queries.lookup import Level

#: Points of a chart, or so: more than these nobody can tell apart.
STEPS: Final = 240
WIDTH: Final = 720
HEIGHT: Final = 200


class Tick(NamedTuple):
    """A line across the chart; y: its height in the drawing."""

    y: float
    units: int


class Drawing(NamedTuple):
    """on_hand, available: `points` of polylines."""

    on_hand: str
    available: str
    ticks: list[Tick]
    start: datetime
    end: datetime


def draw(levels: Sequence[Level]) -> Drawing:
    """Levels as lines in a box of WIDTH x HEIGHT; at least a first and a last one are needed."""
    start, end = levels[0].at, levels[-1].at
    ticks = _ticks(max(max(level.on_hand, level.available) for level in levels))
    top = ticks[-1] or 1
    length = (end - start).total_seconds() or 1.0

    def x(at: datetime) -> float:
        return max(0.0, (at - start).total_seconds() / length * WIDTH)

    def y(units: int) -> float:
        return HEIGHT - units / top * (HEIGHT - 8)

    on_hand = _steps([(x(level.at), y(level.on_hand)) for level in levels])
    available = _steps([(x(level.at), y(level.available)) for level in levels])
    return Drawing(
        on_hand, available, [Tick(y(units), units) for units in ticks], start, end,
    )  # fmt: skip


def _steps(points: Sequence[tuple[float, float]]) -> str:
    found = []
    before = points[0][1]
    for x, y in points:
        if y != before:
            found.append(f"{x:.1f},{before:.1f}")
        found.append(f"{x:.1f},{y:.1f}")
        before = y
    return " ".join(found)


def _ticks(highest: int) -> list[int]:
    """Round numbers from 0 to at least the highest, four or five of them."""
    if highest <= 0:
        return [0]
    rough = highest / 4
    magnitude = 10 ** math.floor(math.log10(rough)) if rough >= 1 else 1
    step = next(int(f * magnitude) for f in (1, 2, 2.5, 5, 10) if f * magnitude >= rough)
    step = max(step, 1)
    return list(range(0, highest + step, step))


def plotted(levels: Sequence[Level]) -> dict[str, Any]:
    """Levels as the charts of app.js take them: times (seconds since 1970), on hand, available."""
    return {
        "unit": "units",
        "lines": [
            {"label": "on hand", "colour": 3, "steps": True},
            {"label": "available", "colour": 1, "steps": True},
        ],
        "data": [
            [level.at.timestamp() for level in levels],
            [level.on_hand for level in levels],
            [level.available for level in levels],
        ],
    }
