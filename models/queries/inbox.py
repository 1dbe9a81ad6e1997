"""The inbox: a command id takes effect once, however often its message is delivered."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import NamedTuple, Protocol, TypeVar

import msgspec

from models.database import array, execute, fetch, text_array
from models.rules.refusals import Refusal


class HasId(Protocol):
    """A command of any kind."""

    @property
    def id(self) -> str: ...


Identified = TypeVar("Identified", bound=HasId)


class Received(NamedTuple):
    """A command as the inbox sees it. target: an order id or a SKU, None where it is the id."""

    id: str
    target: str | None
    at: datetime


class Claim(NamedTuple):
    """A command that is ours to decide.

    at: when it was accepted, first and by a credible clock; again: it had failed before, and an
    operator put it back.
    """

    at: datetime
    again: bool


#: A month's partition has to be there: a web clock that is far off counts as now.
CREDIBLE = """
CASE WHEN placed_at BETWEEN now() - interval '20 days' AND now() + interval '1 day'
     THEN placed_at ELSE now() END
"""

# A row that is there already is locked, which goes to the log: so with synchronous replication the
# message is acknowledged only when a standby has what an earlier delivery did. DO NOTHING would not
# wait for that.
CLAIM = f"""
INSERT INTO commands AS c (id, kind, status, target, placed_at, decided_at)
SELECT id, %s, 'applied', target, {CREDIBLE}, now()
FROM unnest(%s::uuid[], %s::text[], %s::timestamptz[]) AS given (id, target, placed_at)
ORDER BY id
ON CONFLICT (id) DO UPDATE
    SET status = 'applied', decided_at = excluded.decided_at, problem = NULL
    WHERE c.status = 'pending'
RETURNING id::text, placed_at, xmax <> 0
"""

RECORD_REFUSALS = """
UPDATE commands SET status = 'rejected', problem = given.problem::jsonb
FROM unnest(%s::uuid[], %s::text[]) AS given (id, problem)
WHERE commands.id = given.id
"""


PLACED = """
SELECT id::text, placed_at, status FROM commands
WHERE id = ANY (%s::uuid[]) AND kind = 'place_order'
"""


DECIDED = "SELECT count(*) FROM commands WHERE id = ANY (%s::uuid[]) AND status <> 'pending'"


class Placed(NamedTuple):
    """A command that placed an order: when, and its outcome."""

    at: datetime
    outcome: str


def known_time(at: datetime) -> datetime:
    """A command's time as PostgreSQL knows it, too: in UTC, as the front door writes it.

    Python has offsets that PostgreSQL has not, and no UTC for them where its years begin and end.
    """
    if at.tzinfo is UTC:
        return at
    try:
        return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    except OverflowError:
        return at.replace(tzinfo=UTC)


def claim(kind: str, received: Iterable[Received]) -> dict[str, Claim]:
    """Claim commands; those that were decided before fall out here.

    Returns the claims by id. Two transactions that claim the same id take turns, in id order.
    """
    unique = {command.id: command for command in received}
    rows = fetch(
        CLAIM,
        (
            kind,
            array(list(unique)),
            text_array([command.target for command in unique.values()]),
            array([known_time(command.at).isoformat() for command in unique.values()]),
        ),
    )
    return {id_: Claim(at, again) for id_, at, again in rows}


def claimed(commands: Sequence[Identified], claims: Mapping[str, object]) -> list[Identified]:
    """The commands that are ours to decide, each once, in arrival order."""
    first: dict[str, Identified] = {}
    for command in commands:
        if command.id in claims:
            first.setdefault(command.id, command)
    return list(first.values())


def record_refusals(refusals: Sequence[tuple[str, Refusal]]) -> None:
    """Turn claimed commands into rejected ones; (command id, refusal) pairs."""
    if refusals:
        execute(
            RECORD_REFUSALS,
            (
                array([id_ for id_, _ in refusals]),
                text_array([json_text(refusal.document()) for _, refusal in refusals]),
            ),
        )


def count_decided(ids: Sequence[str]) -> int:
    """How many of these commands have an outcome."""
    ((count,),) = fetch(DECIDED, (array(ids),))
    return int(count)


def placed(ids: Sequence[str]) -> dict[str, Placed]:
    """When orders were placed, by id; one that is missing is not decided yet.

    Who asks for their rows with the time written into the statement has it planned for the
    partitions of those months alone. To plan it for those of two years takes longer than to run it.
    """
    return {id_: Placed(*rest) for id_, *rest in fetch(PLACED, (array(ids),))} if ids else {}


def span(times: Iterable[datetime]) -> tuple[datetime, datetime]:
    """The first and the last of some times."""
    known = sorted(times)
    return known[0], known[-1]


def json_text(value: object) -> str:
    """A value as JSON text for a jsonb column."""
    return msgspec.json.encode(value).decode()
