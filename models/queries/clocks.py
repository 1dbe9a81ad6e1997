"""What the clocks last said of themselves: what only their processes know."""

from collections import Counter
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final, NamedTuple

from models.database import execute, fetch, reading, text_array
from models.queries.inbox import json_text

#: A clock reports every 10 s, and no later than its longest job allows.
SEEN_S: Final = 60

REPORT = """
INSERT INTO clocks (id, seen_at, held, conflicts) VALUES (%s, now(), %s::jsonb, %s::text[])
ON CONFLICT (id) DO UPDATE
SET seen_at = excluded.seen_at, held = excluded.held, conflicts = excluded.conflicts
"""

LATELY = f"""
SELECT held, conflicts FROM clocks WHERE seen_at > now() - interval '{SEEN_S} s' ORDER BY id
"""


class ClockReports(NamedTuple):
    """All clocks together. held: dropped messages that can't be recorded, by queue; conflicts:
    what policies of RabbitMQ do to the queues that they must not, in words."""

    held: Mapping[str, int] = MappingProxyType({})
    conflicts: Sequence[str] = ()


@reading()
def report(clock: str, held: Mapping[str, int], conflicts: Sequence[str]) -> None:
    """Write down what a clock says of itself. clock: its id."""
    execute(REPORT, (clock, json_text(dict(held)), text_array(conflicts)))


@reading()
def lately() -> ClockReports:
    """What the clocks that reported lately say."""
    reports = fetch(LATELY)
    held = sum((Counter(held) for held, _ in reports), Counter[str]())
    return ClockReports(held, [text for _, conflicts in reports for text in conflicts])


@reading()
def remove(clock: str) -> None:
    """Remove a clock that has stopped: what it held is in the queues again."""
    execute("DELETE FROM clocks WHERE id = %s", (clock,))


def forget_unseen() -> int:
    """Remove clocks that died without a word a day ago; returns how many."""
    return execute("DELETE FROM clocks WHERE seen_at < now() - interval '1 day'")
