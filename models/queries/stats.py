"""What the actors did, kept at four resolutions: each chart reads a few hundred rows."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Literal, NamedTuple

from models.database import Row, array, execute, fetch, reading, text_array
from models.rules.figures import COUNTERS, HISTOGRAMS, ActorFigures, total
from models.rules.rejections import Rejections

Window = Literal["5m", "1h", "24h", "7d"]
#: Per window of a chart: how long it is, and the resolution it is drawn at, in seconds.
WINDOWS: Final[dict[Window, tuple[int, int]]] = {
    "5m": (300, 10),
    "1h": (3_600, 60),
    "24h": (86_400, 300),
    "7d": (604_800, 3_600),
}
#: The finest rows are per worker; the others are of all workers together.
FINEST_S: Final = 10
COARSER_S: Final = (60, 300, 3_600)
#: Longer than a worker waits before it asks a rate limit again (a minute), and reports that it did.
SIGNS_S: Final = 120
#: How long rows are kept, by resolution.
KEPT: Final = {10: "3 hours", 60: "6 hours", 300: "3 days", 3_600: "40 days"}

_COLUMNS = ", ".join((*COUNTERS, *HISTOGRAMS))
_ADD_COUNTERS = ", ".join(f"{name} = s.{name} + excluded.{name}" for name in COUNTERS)
_ADD_HISTOGRAMS = ", ".join(
    f"""{name} = (
        SELECT coalesce(array_agg(coalesce(a, 0) + coalesce(b, 0) ORDER BY place), '{{}}')
        FROM unnest(s.{name}, excluded.{name}) WITH ORDINALITY AS counts (a, b, place)
    )"""
    for name in HISTOGRAMS
)

#: In the order of the primary key, so that workers who write the same rows take turns.
RECORD = f"""
INSERT INTO actor_stats AS s (resolution_s, at, actor, worker, {_COLUMNS})
SELECT resolution_s, at, actor, worker, {", ".join(COUNTERS)},
       {", ".join(f"{name}::bigint[]" for name in HISTOGRAMS)}
FROM unnest(
    %s::int[], %s::timestamptz[], %s::text[], %s::text[],
    {", ".join("%s::bigint[]" for _ in COUNTERS)}, {", ".join("%s::text[]" for _ in HISTOGRAMS)}
) AS given (resolution_s, at, actor, worker, {_COLUMNS})
ORDER BY resolution_s, at, actor COLLATE "C", worker COLLATE "C"
ON CONFLICT (resolution_s, at, actor, worker) DO UPDATE
SET {_ADD_COUNTERS}, {_ADD_HISTOGRAMS}
"""

RECENT = f"""
SELECT date_part('epoch', now() - date_bin(
           '{FINEST_S} s', now() - (%s - {FINEST_S}) * interval '1 s', 'epoch')),
       actor, {_COLUMNS}
FROM actor_stats
WHERE resolution_s = {FINEST_S} AND at > now() - %s * interval '1 s'
ORDER BY actor
"""

# What is decided behind other changes counts with all orders, for `place_orders`.
SIGNS = f"""
SELECT actor, max(at) FILTER (WHERE decided > 0 OR handled > 0) + interval '{FINEST_S} s',
       sum(limited)::bigint
FROM actor_stats
WHERE resolution_s = {FINEST_S} AND at > now() - interval '{SIGNS_S} s'
GROUP BY actor
"""

REJECTIONS = """
SELECT coalesce(sum(decided), 0)::bigint, coalesce(sum(refused), 0)::bigint
FROM actor_stats
WHERE resolution_s = 60 AND actor = %s
  AND at > now() - interval '1 hour' AND at < now() - interval '2 minutes'
"""

SERIES = f"""
SELECT at, actor, {_COLUMNS}
FROM actor_stats
WHERE resolution_s = %s AND at > now() - %s * interval '1 s'
ORDER BY at, actor
"""

FORGET = "DELETE FROM actor_stats WHERE resolution_s = %s AND at < now() - %s::interval"


@dataclass(frozen=True, slots=True)
class Counted:
    """Figures and the time they are of."""

    at: datetime
    figures: ActorFigures


class Signs(NamedTuple):
    """What an actor did lately. decided_at: not long after it decided something, or was done with a
    message, None where it did neither; limited: how often a limit sent it to wait."""

    decided_at: datetime | None
    limited: int


@dataclass(slots=True, kw_only=True)
class ActorPoint(ActorFigures):
    """One actor's figures in the step of a chart that begins at `at`."""

    at: datetime


def record(worker: str, counted: Sequence[Counted]) -> None:
    """Add a worker's figures to what is kept, in one statement."""
    if not counted:
        return
    keys, figures = zip(*_at_all_resolutions(worker, counted), strict=True)
    resolutions, times, actors, workers = zip(*keys, strict=True)
    execute(
        RECORD,
        (
            array([str(one) for one in resolutions]),
            array([at.isoformat() for at in times]),
            text_array(actors),
            text_array(workers),
            *(array([str(getattr(f, name)) for f in figures]) for name in COUNTERS),
            *(
                text_array([array([str(count) for count in getattr(f, name)]) for f in figures])
                for name in HISTOGRAMS
            ),
        ),
    )


@reading()
def recent(seconds: float) -> list[ActorFigures]:
    """What each actor did over the last seconds, to divide by the `seconds` that this covers.

    Those are up to 10 fewer than asked for: only whole steps count, and the one that runs.
    """
    rows = fetch(RECENT, (seconds, seconds))
    by_actor: dict[str, list[ActorFigures]] = {}
    for covered, actor, *figures in rows:
        by_actor.setdefault(actor, []).append(_figures(actor, figures, float(covered)))
    return [total(actor, figures) for actor, figures in by_actor.items()]


@reading()
def signs() -> dict[str, Signs]:
    """What each actor did in the last two minutes."""
    return {actor: Signs(*row) for actor, *row in fetch(SIGNS)}


@reading()
def rejections(actor: str) -> Rejections:
    """What an actor decided in the last hour, without its last two minutes."""
    (row,) = fetch(REJECTIONS, (actor,))
    return Rejections(*row)


@reading()
def series(window: Window) -> list[ActorPoint]:
    """What each actor did over a window, step by step; a step without work has no point."""
    length_s, step_s = WINDOWS[window]
    rows = fetch(SERIES, (step_s, length_s))
    by_point: dict[tuple[datetime, str], list[ActorFigures]] = {}
    for at, actor, *figures in rows:
        by_point.setdefault((at, actor), []).append(_figures(actor, figures, step_s))
    return [_point(at, total(actor, given)) for (at, actor), given in by_point.items()]


def forget_old() -> int:
    """Remove figures that are older than their resolution is kept; returns how many rows."""
    return sum(execute(FORGET, (resolution_s, kept)) for resolution_s, kept in KEPT.items())


def step_of(at: datetime, resolution_s: int) -> datetime:
    """When the step that holds a time began."""
    seconds = int(at.timestamp())
    return datetime.fromtimestamp(seconds - seconds % resolution_s, UTC)


Key = tuple[int, datetime, str, str]


def _at_all_resolutions(worker: str, counted: Sequence[Counted]) -> list[tuple[Key, ActorFigures]]:
    """One entry per row: an upsert can't touch the same row twice."""
    by_row: dict[Key, list[ActorFigures]] = {}
    for one in counted:
        actor = one.figures.actor
        for resolution_s in (FINEST_S, *COARSER_S):
            of = worker if resolution_s == FINEST_S else ""
            key = (resolution_s, step_of(one.at, resolution_s), actor, of)
            by_row.setdefault(key, []).append(one.figures)
    return [(key, total(key[2], figures)) for key, figures in by_row.items()]


def _figures(actor: str, values: Row | list[object], seconds: float) -> ActorFigures:
    names = (*COUNTERS, *HISTOGRAMS)
    return ActorFigures(actor, **dict(zip(names, values, strict=True)), seconds=seconds)


def _point(at: datetime, figures: ActorFigures) -> ActorPoint:
    values = {name: getattr(figures, name) for name in (*COUNTERS, *HISTOGRAMS)}
    return ActorPoint(figures.actor, **values, seconds=figures.seconds, at=at)
