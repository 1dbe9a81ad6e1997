"""Moves of orders that are not decided: they wait with their order, in the order they came.

A row is written and committed, and then its writer looks whether the order is decided by now.
Whoever decides an order commits that, and then looks for its rows. So one of them sees the other.
"""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Final, NamedTuple

from models.database import Statement, array, execute, fetch, reading, text_array
from models.queries.inbox import CREDIBLE, known_time

#: An order that is not decided for so long is in no queue any more.
KEPT_DAYS: Final = 30
#: What a crash left behind is applied by the clock after this long: who decided the order is
#: likely at work on it until then.
LEFT_BEHIND_S: Final = 10
#: Of all that wait, so many are shown.
SHOWN_MAX: Final = 50
#: Orders that the clock looks after at a time.
ORDERS_MAX: Final = 500

# A row that is there already is written again: with synchronous replication the message is
# acknowledged only when a standby has what an earlier delivery wrote. DO NOTHING would not wait.
ADD = f"""
INSERT INTO waiting_moves AS w (order_id, command_id, accepted_at, since, moves_to, command)
SELECT order_id, command_id, {CREDIBLE}, now(), moves_to, command
FROM unnest(%s::uuid[], %s::uuid[], %s::timestamptz[], %s::text[], %s::text[]) WITH ORDINALITY
    AS given (order_id, command_id, placed_at, moves_to, command, number)
ORDER BY number
ON CONFLICT (command_id) DO UPDATE SET since = w.since
"""

#: Asked by each transaction that decides orders, of a table that is nearly empty.
ORDERS_OF = "SELECT DISTINCT order_id::text FROM waiting_moves WHERE order_id = ANY (%s::uuid[])"

TAKE = """
DELETE FROM waiting_moves WHERE position IN (
    SELECT position FROM waiting_moves
    WHERE order_id = ANY (%s::uuid[]) AND {which} ORDER BY position LIMIT %s
)
RETURNING position, accepted_at, command
"""
IS_EXPIRED: Final = f"since < now() - interval '{KEPT_DAYS} days'"

REMOVE = "DELETE FROM waiting_moves WHERE position = %s"

FIRST = """
SELECT position, accepted_at, command FROM waiting_moves
WHERE order_id = %s ORDER BY position LIMIT 1
"""

LEFT_BEHIND = """
SELECT DISTINCT w.order_id::text FROM waiting_moves AS w JOIN commands AS c ON c.id = w.order_id
WHERE c.kind = 'place_order' AND c.status <> 'pending'
  AND greatest(w.since, c.decided_at) < now() - %s * interval '1 s'
LIMIT %s
"""

EXPIRED = f"SELECT DISTINCT order_id::text FROM waiting_moves WHERE {IS_EXPIRED} LIMIT %s"

PAGE = """
SELECT command_id::text, order_id::text, moves_to, accepted_at, since FROM waiting_moves
"""

FIGURES = """
SELECT count(*), coalesce(extract(epoch FROM now() - min(since)), 0)::float8 FROM waiting_moves
"""


class Early(NamedTuple):
    """A move that comes before its order is decided. command: as JSON."""

    order_id: str
    command_id: str
    accepted_at: datetime
    moves_to: str
    command: str


class Taken(NamedTuple):
    """A move whose wait is over. command: as JSON."""

    position: int
    accepted_at: datetime
    command: str


class WaitingMove(NamedTuple):
    """A move that waits, for people. since: when it came to wait."""

    command_id: str
    order_id: str
    moves_to: str
    accepted_at: datetime
    since: datetime


class Figures(NamedTuple):
    """How many moves wait, for how long the oldest has, and the first of them."""

    moves: int = 0
    oldest_s: float = 0.0
    first: Sequence[WaitingMove] = ()


def add(moves: Sequence[Early]) -> None:
    """Let moves wait behind those that wait already; one that does stays where it is."""
    unique = {move.command_id: move for move in moves}.values()
    if not unique:
        return
    execute(
        ADD,
        (
            array([move.order_id for move in unique]),
            array([move.command_id for move in unique]),
            array([known_time(move.accepted_at).isoformat() for move in unique]),
            text_array([move.moves_to for move in unique]),
            text_array([move.command for move in unique]),
        ),
    )


def orders_of(order_ids: Collection[str]) -> set[str]:
    """Which of these orders have moves that wait."""
    if not order_ids:
        return set()
    with reading():
        return {id_ for (id_,) in fetch(*look_for(order_ids))}


def look_for(order_ids: Collection[str]) -> Statement:
    """The statement of `orders_of`: a row for each of these orders that has moves that wait."""
    return Statement(ORDERS_OF, (array(list(order_ids)),))


def take(order_ids: Collection[str], limit: int) -> list[Taken]:
    """Remove the first moves of these orders, whose locks the caller holds, and return them in the
    order they came."""
    return _take(TAKE.format(which="true"), order_ids, limit)


def take_expired(order_ids: Collection[str], limit: int) -> list[Taken]:
    """As `take`, of moves that have waited for KEPT_DAYS."""
    return _take(TAKE.format(which=IS_EXPIRED), order_ids, limit)


def _take(statement: str, order_ids: Collection[str], limit: int) -> list[Taken]:
    rows = fetch(statement, (array(list(order_ids)), limit)) if order_ids else []
    return [Taken(*row) for row in sorted(rows)]


def first(order_id: str) -> Taken | None:
    """The move of an order that comes next, left where it is."""
    rows = fetch(FIRST, (order_id,))
    return Taken(*rows[0]) if rows else None


def remove(position: int) -> None:
    """Remove one move, for it is on record elsewhere."""
    execute(REMOVE, (position,))


@reading()
def left_behind() -> list[str]:
    """Orders that are decided, and whose moves wait all the same: some process died."""
    return [id_ for (id_,) in fetch(LEFT_BEHIND, (LEFT_BEHIND_S, ORDERS_MAX))]


@reading()
def expired() -> list[str]:
    """Orders whose moves have waited for KEPT_DAYS."""
    return [id_ for (id_,) in fetch(EXPIRED, (ORDERS_MAX,))]


@reading()
def of_order(order_id: str, limit: int) -> list[WaitingMove]:
    """The moves that wait for an order, in the order they came."""
    rows = fetch(f"{PAGE} WHERE order_id = %s ORDER BY position LIMIT %s", (order_id, limit))
    return [WaitingMove(*row) for row in rows]


@reading()
def figures() -> Figures:
    """How things stand with all that wait."""
    ((moves, oldest_s),) = fetch(FIGURES)
    rows = fetch(f"{PAGE} ORDER BY position LIMIT %s", (SHOWN_MAX,)) if moves else []
    return Figures(moves, oldest_s, [WaitingMove(*row) for row in rows])
