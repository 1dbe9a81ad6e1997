"""What the queues held, sampled, kept at the same resolutions as the actors' figures.

A coarser row has the most that was seen in its time, of consumers the fewest.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from models.database import array, execute, fetch, reading, text_array
from models.queries.stats import COARSER_S, FINEST_S, KEPT, WINDOWS, Window

RECORD = f"""
INSERT INTO queue_stats AS s
    (resolution_s, at, queue, ready, delayed, unacked, consumers, oldest_s)
SELECT resolution_s, date_bin(resolution_s * interval '1 s', now(), 'epoch'),
       queue, ready, delayed, unacked, consumers, oldest_s
FROM unnest(ARRAY[{FINEST_S}, {", ".join(map(str, COARSER_S))}]) AS resolution_s,
     unnest(%s::text[], %s::bigint[], %s::bigint[], %s::bigint[], %s::int[], %s::float8[])
        AS given (queue, ready, delayed, unacked, consumers, oldest_s)
ORDER BY resolution_s, queue COLLATE "C"
ON CONFLICT (resolution_s, at, queue) DO UPDATE
SET ready = greatest(s.ready, excluded.ready), delayed = greatest(s.delayed, excluded.delayed),
    unacked = greatest(s.unacked, excluded.unacked),
    consumers = least(s.consumers, excluded.consumers),
    oldest_s = greatest(s.oldest_s, excluded.oldest_s)
"""

SERIES = """
SELECT at, queue, ready, delayed, unacked, consumers, oldest_s
FROM queue_stats
WHERE resolution_s = %s AND at > now() - %s * interval '1 s'
ORDER BY at, queue
"""

FORGET = "DELETE FROM queue_stats WHERE resolution_s = %s AND at < now() - %s::interval"


@dataclass(frozen=True, slots=True)
class QueueSample:
    """A queue's messages at one time. oldest_s: the age of the oldest, None where unknown."""

    queue: str
    ready: int
    delayed: int
    unacked: int
    consumers: int
    oldest_s: float | None


@dataclass(frozen=True, slots=True)
class QueuePoint:
    """The most of each in the step of a chart that begins at `at`; the fewest consumers."""

    at: datetime
    queue: str
    ready: int
    delayed: int
    unacked: int
    consumers: int
    oldest_s: float | None


@reading()
def record(samples: Sequence[QueueSample]) -> None:
    """Keep samples of now, one per queue."""
    if not samples:
        return
    execute(
        RECORD,
        (
            text_array([s.queue for s in samples]),
            array([str(s.ready) for s in samples]),
            array([str(s.delayed) for s in samples]),
            array([str(s.unacked) for s in samples]),
            array([str(s.consumers) for s in samples]),
            array(["NULL" if s.oldest_s is None else str(s.oldest_s) for s in samples]),
        ),
    )


@reading()
def series(window: Window) -> list[QueuePoint]:
    """What the queues held over a window, step by step."""
    length_s, step_s = WINDOWS[window]
    return [QueuePoint(*row) for row in fetch(SERIES, (step_s, length_s))]


def forget_old() -> int:
    """Remove samples that are older than their resolution is kept; returns how many rows."""
    return sum(execute(FORGET, (resolution_s, kept)) for resolution_s, kept in KEPT.items())
