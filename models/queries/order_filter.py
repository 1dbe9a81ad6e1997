"""Which orders a list shows, and in what order: the statement that finds their ids.

Newest first by when they were placed, those that are not decided among them as far as a worker has
met them; or, for who asks what has changed, by when they changed last, the oldest change first.
"""

from datetime import datetime
from typing import NamedTuple

from models.queries.undecided import OPEN
from models.rules.ascii_text import to_ascii
from models.rules.order_status import FAILED, PENDING

#: In a list, what its order is by (`placed_at`, or `updated_at` of a list of changes), and the id.
Position = tuple[datetime, str]

#: Put back, an order is pending again; its row says failed until it is decided.
FAILED_OR_PUT_BACK = """
o.status = 'failed' AND %s = (SELECT c.status FROM commands AS c WHERE c.id = o.id)
"""

#: As it is pending, an order that was put back is no change, whatever its row says.
NOT_PUT_BACK = """
(o.status <> 'failed'
 OR (SELECT c.status FROM commands AS c WHERE c.id = o.id) IS DISTINCT FROM 'pending')
"""

#: Of the orders that are not decided, those without a row. One snapshot sees an order once.
UNDECIDED = f"""
u.kind = 'place_order' AND {OPEN} AND NOT EXISTS (
    SELECT FROM commands AS c JOIN orders AS o ON o.placed_at = c.placed_at AND o.id = c.id
    WHERE c.id = u.command_id)
"""


class OrderFilter(NamedTuple):
    """What a list of orders is narrowed to; None narrows nothing.

    placed_after, updated_after: then or later; placed_before: earlier.
    """

    status: str | None = None
    customer_id: str | None = None
    sku: str | None = None
    placed_after: datetime | None = None
    placed_before: datetime | None = None
    updated_after: datetime | None = None


class Statement(NamedTuple):
    """A statement that gives rows of (id, position), and its parameters."""

    text: str
    params: tuple[object, ...]


class _Where:
    """Conditions and their parameters, side by side."""

    def __init__(self) -> None:
        self.clauses: list[str] = []
        self.params: list[object] = []

    def add(self, clause: str, *params: object) -> None:
        self.clauses.append(clause)
        self.params += params

    def text(self) -> str:
        return f"WHERE {' AND '.join(self.clauses)} " if self.clauses else ""


def ids_statement(wanted: OrderFilter, after: Position | None, limit: int) -> Statement:
    """Orders by their ids. after: the position of the last one seen."""
    if wanted.updated_after is not None:
        return _changes(wanted, wanted.updated_after, after, limit)
    decided = _newest(wanted, after, limit)
    if wanted.status not in (None, PENDING):
        return decided
    undecided = _undecided(wanted, after, limit)
    return Statement(
        f"SELECT * FROM (({decided.text}) UNION ALL ({undecided.text})) AS found (id, at) "
        'ORDER BY at DESC, id COLLATE "C" DESC LIMIT %s',
        (*decided.params, *undecided.params, limit),
    )


def _newest(wanted: OrderFilter, after: Position | None, limit: int) -> Statement:
    """Orders that have a row, newest first."""
    where = _narrowed(wanted, after)
    if after is not None:
        where.add("(o.placed_at, o.id) < (%s, %s::uuid)", *after)
    return Statement(
        f"SELECT o.id::text, o.placed_at FROM orders AS o {where.text()}"
        "ORDER BY o.placed_at DESC, o.id DESC LIMIT %s",
        (*where.params, limit),
    )


def _changes(wanted: OrderFilter, since: datetime, after: Position | None, limit: int) -> Statement:
    """Orders that are decided, in the order of their last change."""
    where = _narrowed(wanted, None)
    if wanted.status in (None, PENDING):
        where.add(NOT_PUT_BACK)
    where.add("o.updated_at >= %s", since if after is None else max(since, after[0]))
    if after is not None:
        where.add("(o.updated_at, o.id) > (%s, %s::uuid)", *after)
    return Statement(
        f"SELECT o.id::text, o.updated_at FROM orders AS o {where.text()}"
        "ORDER BY o.updated_at, o.id LIMIT %s",
        (*where.params, limit),
    )


def _undecided(wanted: OrderFilter, after: Position | None, limit: int) -> Statement:
    """Orders that a worker has met and not decided, newest first."""
    where = _Where()
    where.add(UNDECIDED)
    if wanted.customer_id is not None:
        where.add("u.customer_id = %s", to_ascii(wanted.customer_id))
    if wanted.sku is not None:
        where.add("u.skus @> ARRAY[%s]", to_ascii(wanted.sku))
    for is_, at in _bounds(wanted, None):
        where.add(f"u.accepted_at {is_} %s", at)
    if after is not None:
        where.add("(u.accepted_at, u.command_id) < (%s, %s::uuid)", *after)
    return Statement(
        f"SELECT u.command_id::text, u.accepted_at FROM undecided AS u {where.text()}"
        "ORDER BY u.accepted_at DESC, u.command_id DESC LIMIT %s",
        (*where.params, limit),
    )


def _narrowed(wanted: OrderFilter, after: Position | None) -> _Where:
    """after: the last order seen, where the list is in the order of placement."""
    where = _Where()
    if wanted.status in (PENDING, FAILED):
        where.add(FAILED_OR_PUT_BACK, wanted.status)
    elif wanted.status is not None:
        where.add("o.status = %s", wanted.status)
    if wanted.customer_id is not None:
        where.add("o.customer_id = %s", wanted.customer_id)
    # These say which partitions need no look; a row of two columns does not.
    bounds = _bounds(wanted, after)
    for is_, at in bounds:
        where.add(f"o.placed_at {is_} %s", at)
    _with_sku(where, wanted.sku, bounds)
    return where


def _bounds(wanted: OrderFilter, after: Position | None) -> list[tuple[str, datetime]]:
    limits = (
        (">=", wanted.placed_after), ("<", wanted.placed_before), ("<=", after and after[0])
    )  # fmt: skip
    return [(is_, at) for is_, at in limits if at is not None]


def _with_sku(where: _Where, sku: str | None, bounds: list[tuple[str, datetime]]) -> None:
    """An order may have the SKU on several lines: the timeline of the SKU, each order once."""
    if sku is None:
        return
    within = "".join(f" AND l.placed_at {is_} %s" for is_, _ in bounds)
    where.add(
        "EXISTS (SELECT FROM order_lines AS l WHERE l.sku = %s"
        f" AND l.placed_at = o.placed_at AND l.order_id = o.id{within})",
        sku,
        *(at for _, at in bounds),
    )
