"""The inbox: a command id takes effect once, however often its message is delivered."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import NamedTuple, Protocol, TypeVar

import msgspec

from models.database import (
    BundledTransaction,
    Statement,
    array,
    fetch,
    run_together,
    text_array,
)
from models.queries import slots
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
def _claim_text(where: str) -> str:
    return f"""
INSERT INTO commands AS c (id, kind, status, target, placed_at, decided_at)
SELECT id, %s, 'applied', target, {CREDIBLE}, now()
FROM unnest(%s::uuid[], %s::text[], %s::timestamptz[]) AS given (id, target, placed_at)
{where}ORDER BY id
ON CONFLICT (id) DO UPDATE
    SET status = 'applied', decided_at = excluded.decided_at, problem = NULL
    WHERE c.status = 'pending'
RETURNING id::text, placed_at, xmax <> 0 AS again
"""


CLAIM = _claim_text("")

#: Without a slot nothing is claimed. Always a row at least, which says whether there was one.
CLAIM_IN_SLOT = f"""
WITH slot AS MATERIALIZED ({slots.TRY}), claimed AS (
{_claim_text("WHERE EXISTS (SELECT FROM slot) ")})
SELECT granted.slots, claimed.*
FROM (SELECT count(*) AS slots FROM slot) AS granted LEFT JOIN claimed ON true
"""

UNCLAIM = """
WITH gone AS (DELETE FROM commands WHERE id = ANY (%s::uuid[]))
UPDATE commands SET status = 'pending' WHERE id = ANY (%s::uuid[])
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
    rows = fetch(CLAIM, _claim_params(kind, received))
    return {id_: Claim(at, again) for id_, at, again in rows}


def claim_in_slot(
    work: BundledTransaction, kind: str, received: Iterable[Received], slots_max: int
) -> dict[str, Claim] | None:
    """As `claim`, by a transaction that takes a slot with the same statement.

    None: no slot was free, and nothing is claimed.
    """
    params = (*slots.params_to_try(slots_max), *_claim_params(kind, received))
    rows = work.fetch(Statement(CLAIM_IN_SLOT, params))
    if not rows[0][0]:
        return None
    return {id_: Claim(at, again) for _, id_, at, again in rows if id_ is not None}


def _claim_params(kind: str, received: Iterable[Received]) -> tuple[str, ...]:
    unique = {command.id: command for command in received}
    return (
        kind,
        array(list(unique)),
        text_array([command.target for command in unique.values()]),
        array([known_time(command.at).isoformat() for command in unique.values()]),
    )


def unclaimed(claims: Mapping[str, Claim]) -> list[Statement]:
    """Give back claims of this transaction, by id: another message will decide these commands."""
    if not claims:
        return []
    new = [id_ for id_, claim in claims.items() if not claim.again]
    again = [id_ for id_, claim in claims.items() if claim.again]
    return [Statement(UNCLAIM, (array(new), array(again)))]


def claimed(commands: Sequence[Identified], claims: Mapping[str, object]) -> list[Identified]:
    """The commands that are ours to decide, each once, in arrival order."""
    first: dict[str, Identified] = {}
    for command in commands:
        if command.id in claims:
            first.setdefault(command.id, command)
    return list(first.values())


def record_refusals(refusals: Sequence[tuple[str, Refusal]]) -> None:
    """Turn claimed commands into rejected ones; (command id, refusal) pairs."""
    run_together(*refusals_written(refusals))


def refusals_written(refusals: Sequence[tuple[str, Refusal]]) -> list[Statement]:
    """What `record_refusals` runs; nothing where there are none."""
    if not refusals:
        return []
    ids = array([id_ for id_, _ in refusals])
    problems = text_array([json_text(refusal.document()) for _, refusal in refusals])
    return [Statement(RECORD_REFUSALS, (ids, problems))]


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
