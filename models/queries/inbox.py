"""The inbox: a command id takes effect once, however often its message is delivered."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import NamedTuple

import msgspec

from models.database import array, execute, fetch, text_array
from models.rules.refusals import Refusal


class Received(NamedTuple):
    """A command as the inbox sees it. target: an order id or a SKU, None where it is the id."""

    id: str
    target: str | None
    at: datetime


class Claim(NamedTuple):
    """A command that is ours to decide.

    at: when it was first accepted; again: it had failed before, and an operator put it back.
    """

    at: datetime
    again: bool


CLAIM = """
INSERT INTO commands AS c (id, kind, status, target, placed_at, decided_at)
SELECT id, %s, 'applied', target, placed_at, now()
FROM unnest(%s::uuid[], %s::text[], %s::timestamptz[]) AS given (id, target, placed_at)
ORDER BY id
ON CONFLICT (id) DO UPDATE
    SET status = 'applied', decided_at = excluded.decided_at, problem = NULL
    WHERE c.status = 'pending'
RETURNING id::text, CASE WHEN xmax <> 0 THEN placed_at END
"""

RECORD_REFUSALS = """
UPDATE commands SET status = 'rejected', problem = given.problem::jsonb
FROM unnest(%s::uuid[], %s::text[]) AS given (id, problem)
WHERE commands.id = given.id
"""


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
            array([command.at.isoformat() for command in unique.values()]),
        ),
    )
    return {
        id_: Claim(unique[id_].at, again=False) if before is None else Claim(before, again=True)
        for id_, before in rows
    }


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


def json_text(value: object) -> str:
    """A value as JSON text for a jsonb column."""
    return msgspec.json.encode(value).decode()
