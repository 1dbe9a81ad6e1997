"""Charts over time: as numbers for uPlot, and drawn by the server where no script runs."""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple, get_args

import msgspec

from models.queries import queue_stats, stats
from models.queries.queue_stats import QueuePoint
from models.queries.stats import WINDOWS, ActorPoint, Window
from models.rules.formatting import duration, number
from models.rules.histograms import add, quantile_s
from web.dashboard import words
from web.dashboard.page import Deps, Page
from web.problems import invalid_parameter, not_found
from web.reading import Lists

NAMES: Final = get_args(Window)
#: Charts are this old at most: a longer window moves more slowly.
KEPT_S: Final[Mapping[Window, float]] = {"5m": 4.0, "1h": 15.0, "24h": 60.0, "7d": 120.0}
#: Workers and clock report late by as much: a step is told from then on.
REPORTED_S: Final = 4
#: A long step is told before it ends, once so much of it is over.
STEP_SHARE_MIN: Final = 0.1
LONG_S: Final = 300

#: Where a latency is longer, the chart is in seconds: thousands of milliseconds are hard to read.
SECONDS_FROM_S: Final = 5.0

Values = list[float | None]


class Line(NamedTuple):
    """colour: 1 to 6, see style.css; values: one per step, None where nothing is known."""

    label: str
    colour: int
    values: Values


class Chart(NamedTuple):
    """times: when each step began, in seconds since 1970."""

    title: str
    unit: str
    times: list[int]
    lines: list[Line]


class History(NamedTuple):
    """What was read for all charts of a window."""

    window: Window
    now: float
    actors: Mapping[int, Sequence[ActorPoint]]
    queues: Mapping[int, Sequence[QueuePoint]]

    @property
    def step_s(self) -> int:
        return WINDOWS[self.window][1]

    def times(self) -> list[int]:
        """The beginnings of all steps that are long enough to tell."""
        length_s, step_s = WINDOWS[self.window]
        told = int(self.now) - REPORTED_S
        last = told // step_s * step_s
        if step_s < LONG_S or told - last < STEP_SHARE_MIN * step_s:
            last -= step_s
        return list(range(last - length_s + step_s, last + 1, step_s))

    def seconds(self, begin: int) -> float:
        """How long a step is, so far."""
        return max(1.0, min(self.step_s, self.now - REPORTED_S - begin))


def throughput(history: History) -> Chart:
    """Orders decided each second, of these rejected."""

    def rate(name: str) -> Values:
        return [_rate(history, begin, name, ("place_orders",)) for begin in history.times()]

    lines = [Line("decided", 1, rate("decided")), Line("of these rejected", 2, rate("refused"))]
    return Chart("Orders", "per second", history.times(), lines)


def latency(history: History) -> Chart:
    """From an order's acceptance to its commit."""
    took = [
        add(p.took for p in history.actors.get(begin, ()) if p.actor == "place_orders")
        for begin in history.times()
    ]
    lines = [
        Line(f"p{round(q * 100)}", colour, [quantile_s(one, q) for one in took])
        for q, colour in ((0.5, 1), (0.95, 3), (0.99, 2))
    ]
    longest = max((value for line in lines for value in line.values if value), default=0.0)
    unit, factor = ("s", 1) if longest > SECONDS_FROM_S else ("ms", 1000)
    scaled = [line._replace(values=_times(line.values, factor)) for line in lines]
    return Chart("Accepted to decided", unit, history.times(), scaled)


def waiting(history: History) -> Chart:
    """Messages in the queues, delayed ones too."""

    def count(begin: int, name: str) -> float | None:
        points = history.queues.get(begin)
        return None if points is None else float(sum(getattr(p, name) for p in points))

    lines = [
        Line(label, colour, [count(begin, name) for begin in history.times()])
        for label, colour, name in (
            ("ready", 1, "ready"), ("delayed", 3, "delayed"), ("with a worker", 6, "unacked")
        )
    ]  # fmt: skip
    return Chart("Waiting messages", "messages", history.times(), lines)


def trouble(history: History) -> Chart:
    """Attempts that failed, over all actors."""

    def counts(name: str) -> Values:
        return [
            None if (value := _rate(history, begin, name, None)) is None
            else round(value * history.seconds(begin), 1)
            for begin in history.times()
        ]  # fmt: skip

    lines = [
        Line("tried again", 3, counts("retried")),
        Line("given up", 2, counts("dead")),
        Line("held by a limit", 6, counts("limited")),
    ]
    return Chart("Failed attempts", f"per {duration(history.step_s)}", history.times(), lines)


CHARTS: Final[Mapping[str, Callable[[History], Chart]]] = {
    "throughput": throughput, "latency": latency, "waiting": waiting, "trouble": trouble,
}  # fmt: skip


def _rate(history: History, begin: int, name: str, actors: tuple[str, ...] | None) -> float | None:
    """Something counted per second; None where neither work nor a look at the queues is known."""
    points = history.actors.get(begin)
    if points is None:
        return 0.0 if begin in history.queues else None
    counted = sum(getattr(p, name) for p in points if actors is None or p.actor in actors)
    return float(counted / history.seconds(begin))


def _times(values: Values, factor: int) -> Values:
    return [None if value is None else round(value * factor, 2) for value in values]


def _read(window: Window) -> dict[str, Chart]:
    history = History(
        window, datetime.now(UTC).timestamp(), _by_step(stats.series(window)),
        _by_step(queue_stats.series(window)),
    )  # fmt: skip
    return {name: make(history) for name, make in CHARTS.items()}


def _by_step(points: Sequence[Any]) -> dict[int, list[Any]]:
    found: dict[int, list[Any]] = {}
    for point in points:
        found.setdefault(int(point.at.timestamp()), []).append(point)
    return found


class Charts:
    """Makes the charts of a window, once for all who look."""

    def __init__(self, lists: Lists) -> None:
        self._lists = lists
        self._known: dict[Window, tuple[float, asyncio.Future[dict[str, Chart]]]] = {}

    async def get(self, window: Window) -> Mapping[str, Chart]:
        """The charts by their names. Raises peewee's errors where the database is away."""
        known = self._known.get(window)
        if known is None or time.monotonic() - known[0] > KEPT_S[window] or _failed(known[1]):
            task = asyncio.ensure_future(self._lists.run(_read, window))
            known = self._known[window] = (time.monotonic(), task)
        return await asyncio.shield(known[1])


def _failed(task: asyncio.Future[dict[str, Chart]]) -> bool:
    return task.done() and (task.cancelled() or task.exception() is not None)


class DrawnLine(NamedTuple):
    """points: of polylines in a box of 600 by 160; last: the newest value, in words."""

    label: str
    colour: int
    points: list[str]
    last: str


class Drawn(NamedTuple):
    """A chart for the template. highest: its top, first and last: its times, in words."""

    name: str
    title: str
    unit: str
    lines: list[DrawnLine]
    highest: str
    first: str
    last: str


def draw(name: str, chart: Chart) -> Drawn:
    """A chart as SVG polylines; all lines on one scale."""
    values = [value for line in chart.lines for value in line.values if value is not None]
    highest = max(values, default=0.0)
    lines = [
        DrawnLine(
            line.label, line.colour, words.points(line.values, 600, 160, highest),
            number(next((v for v in reversed(line.values) if v is not None), None)),
        )
        for line in chart.lines
    ]  # fmt: skip
    first, last = (
        f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M} UTC"
        for at in (chart.times[0], chart.times[-1])
    )
    return Drawn(name, chart.title, chart.unit, lines, number(highest), first, last)


def window_of(req: Any) -> Window:
    """The window that a page or a script asks for. Raises Problem (422)."""
    asked = req.get_param("window") or "5m"
    for window in NAMES:
        if window == asked:
            return window  # type: ignore[no-any-return]
    raise invalid_parameter("window", f"one of {', '.join(NAMES)}")


class ChartData(Page):
    """GET gives a chart's numbers: times, then one row of values per line."""

    fields = ("window",)
    for_people = False

    def __init__(self, deps: Deps, charts: Charts) -> None:
        super().__init__(deps)
        self._charts = charts

    async def on_get(self, req: Any, resp: Any, name: str) -> None:
        if name not in CHARTS:
            raise not_found(f"There is no chart {name[:64]}.")
        chart = (await self._charts.get(window_of(req)))[name]
        resp.content_type = "application/json"
        resp.data = msgspec.json.encode(
            {
                "unit": chart.unit,
                "lines": [{"label": line.label, "colour": line.colour} for line in chart.lines],
                "data": [chart.times, *(line.values for line in chart.lines)],
            }
        )
