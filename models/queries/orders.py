"""Writes of orders, their lines and their timelines, set-based."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple, cast

from models.database import Statement, array, execute, fetch, run_together, text_array
from models.queries.inbox import json_text, placed, span
from models.rules.order_status import FAILED, OrderState

INSERT_ORDERS = """
WITH given AS (
    SELECT * FROM unnest(
        %s::uuid[], %s::timestamptz[], %s::text[], %s::text[], %s::text[], %s::bigint[],
        %s::integer[], %s::text[], %s::text[]
    ) AS o (id, placed_at, customer_id, status, currency, total, version, metadata, rejection)
), header AS (
    INSERT INTO orders (id, placed_at, customer_id, status, currency, total, version, updated_at,
                        metadata, rejection)
    SELECT id, placed_at, customer_id, status, currency, total, version, now(), metadata::jsonb,
           rejection::jsonb
    FROM given
), line AS (
    INSERT INTO order_lines (order_id, placed_at, line_no, sku, quantity, unit_price, location)
    SELECT * FROM unnest(
        %s::uuid[], %s::timestamptz[], %s::smallint[], %s::text[], %s::integer[], %s::bigint[],
        %s::text[])
)
INSERT INTO order_events (order_id, placed_at, sequence, type, at, data)
SELECT id, placed_at, version, 'order.' || status, now(),
       CASE WHEN rejection IS NULL THEN '{}'::jsonb
            ELSE jsonb_build_object('rejection', rejection::jsonb) END
FROM given
"""

#: Rows of orders that failed and are taken up again give way to the new decision.
FORGET_FAILED = """
WITH given AS (
    SELECT * FROM unnest(%s::uuid[], %s::timestamptz[]) AS g (id, placed_at)
), line AS (
    DELETE FROM order_lines AS l USING given
    WHERE l.order_id = given.id AND l.placed_at = given.placed_at AND l.placed_at BETWEEN %s AND %s
)
DELETE FROM orders AS o USING given
WHERE o.id = given.id AND o.placed_at = given.placed_at AND o.status = 'failed'
  AND o.placed_at BETWEEN %s AND %s
RETURNING o.id::text, o.version
"""

LOCK_ORDERS = """
SELECT o.id::text, o.placed_at, o.status, o.version, o.move_accepted_at, o.moved_by::text
FROM unnest(%s::uuid[]) AS wanted (id)
JOIN commands AS c ON c.id = wanted.id AND c.status <> 'pending'
JOIN orders AS o ON o.placed_at = c.placed_at AND o.id = c.id
WHERE o.placed_at BETWEEN %s AND %s
ORDER BY o.id
FOR NO KEY UPDATE OF o
"""

#: An order whose failure could not be shown as a row has an outcome all the same.
FAILED_WITHOUT_ROW = """
SELECT id::text, placed_at FROM commands
WHERE id = ANY (%s::uuid[]) AND status = 'failed' AND kind = 'place_order'
"""

#: Decided, and without a row: no longer kept.
GONE = """
SELECT c.id::text FROM commands AS c
WHERE c.id = ANY (%s::uuid[]) AND c.kind = 'place_order' AND c.status IN ('applied', 'rejected')
  AND NOT EXISTS (SELECT FROM orders AS o WHERE o.placed_at = c.placed_at AND o.id = c.id
                  AND o.placed_at BETWEEN %s AND %s)
"""

LINES_OF = """
SELECT l.order_id::text, l.sku, l.location, sum(l.quantity)::bigint
FROM unnest(%s::uuid[], %s::timestamptz[]) AS o (id, placed_at)
JOIN order_lines AS l ON l.placed_at = o.placed_at AND l.order_id = o.id
WHERE l.placed_at BETWEEN %s AND %s GROUP BY 1, 2, 3
"""

# A clock that is ahead must not refuse the moves of others until they catch up with it: to have
# come by now, a move was accepted by now.
WRITE_MOVES = """
WITH given AS (
    SELECT * FROM unnest(%s::uuid[], %s::timestamptz[], %s::integer[], %s::text[], %s::text[],
                         %s::timestamptz[], %s::uuid[])
        AS m (order_id, placed_at, version, status, data, accepted_at, command_id)
), final AS (
    SELECT DISTINCT ON (order_id) order_id, placed_at, version, status, accepted_at, command_id
    FROM given ORDER BY order_id, version DESC
), moved AS (
    UPDATE orders AS o
    SET status = final.status, version = final.version, updated_at = now(),
        move_accepted_at = least(final.accepted_at, now()), moved_by = final.command_id
    FROM final WHERE o.placed_at = final.placed_at AND o.id = final.order_id
      AND o.placed_at BETWEEN %s AND %s
)
INSERT INTO order_events (order_id, placed_at, sequence, type, at, data)
SELECT order_id, placed_at, version, 'order.' || status, now(), data::jsonb FROM given
"""


class LineRow(NamedTuple):
    """unit_price: minor units, None with the location where no stock was allocated."""

    sku: str
    quantity: int
    unit_price: int | None
    location: str | None


class OrderRow(NamedTuple):
    """A decided order. total: minor units of currency; rejection: the problem document."""

    id: str
    placed_at: datetime
    customer_id: str
    status: str
    currency: str | None
    total: int | None
    version: int
    metadata: Mapping[str, str]
    rejection: Mapping[str, object] | None
    lines: Sequence[LineRow]


class LockedOrder(NamedTuple):
    """An order whose row is locked until the transaction ends."""

    placed_at: datetime
    state: OrderState


class OrderUnits(NamedTuple):
    """Units of one SKU that an order holds at a location."""

    order_id: str
    sku: str
    location: str
    units: int


class MoveRow(NamedTuple):
    """A move that applied; its event has the order's new version for a sequence number."""

    order_id: str
    placed_at: datetime
    version: int
    status: str
    data: Mapping[str, object]
    accepted_at: datetime
    command_id: str


def insert(orders: Sequence[OrderRow]) -> None:
    """Write orders, their lines and the first event of each timeline, in one statement."""
    run_together(*insertions(orders))


def insertions(orders: Sequence[OrderRow]) -> list[Statement]:
    """What `insert` runs; nothing where there are none."""
    if not orders:
        return []
    ids = [order.id for order in orders]
    times = [order.placed_at.isoformat() for order in orders]
    lines = [
        (id_, at, number, line)
        for id_, at, order in zip(ids, times, orders, strict=True)
        for number, line in enumerate(order.lines, start=1)
    ]
    params = (
        array(ids),
        array(times),
        text_array([order.customer_id for order in orders]),
        text_array([order.status for order in orders]),
        text_array([order.currency for order in orders]),
        _numbers([order.total for order in orders]),
        _numbers([order.version for order in orders]),
        text_array([json_text(order.metadata) if order.metadata else "{}" for order in orders]),
        text_array([json_text(order.rejection) if order.rejection else None for order in orders]),
        array([line[0] for line in lines]),
        array([line[1] for line in lines]),
        _numbers([line[2] for line in lines]),
        text_array([line[3].sku for line in lines]),
        _numbers([line[3].quantity for line in lines]),
        _numbers([line[3].unit_price for line in lines]),
        text_array([line[3].location for line in lines]),
    )
    return [Statement(INSERT_ORDERS, params)]


def forget_failed(orders: Mapping[str, datetime]) -> dict[str, int]:
    """Remove the rows of failed orders that are decided anew; ids with their placed_at.

    Their timelines stay. Returns the versions they had reached, by id.
    """
    if not orders:
        return {}
    times = array([at.isoformat() for at in orders.values()])
    within = span(orders.values())
    rows = fetch(FORGET_FAILED, (array(list(orders)), times, *within, *within))
    return dict(cast(list[tuple[str, int]], rows))


def lock(ids: Iterable[str]) -> dict[str, LockedOrder]:
    """Lock decided orders, in id order; an id that is missing is not decided yet."""
    wanted = sorted(set(ids))
    known = placed(wanted)
    if not known:
        return {}
    within = span(each.at for each in known.values())
    locked = {
        id_: LockedOrder(placed_at, OrderState(*state))
        for id_, placed_at, *state in fetch(LOCK_ORDERS, (array(wanted), *within))
    }
    if missing := [id_ for id_ in wanted if id_ not in locked]:
        for id_, placed_at in fetch(FAILED_WITHOUT_ROW, (array(missing),)):
            locked[id_] = LockedOrder(placed_at, OrderState(FAILED, 1))
    return locked


def gone(ids: Collection[str]) -> set[str]:
    """Which of these are of a month that is no longer kept."""
    known = placed(list(ids))
    if not known:
        return set()
    within = span(each.at for each in known.values())
    return {id_ for (id_,) in fetch(GONE, (array(list(known)), *within))}


def units_of(orders: Mapping[str, LockedOrder]) -> list[OrderUnits]:
    """What these orders hold, summed per SKU and location."""
    if not orders:
        return []
    times = array([order.placed_at.isoformat() for order in orders.values()])
    within = span(order.placed_at for order in orders.values())
    return [OrderUnits(*row) for row in fetch(LINES_OF, (array(list(orders)), times, *within))]


def write_moves(moves: Collection[MoveRow]) -> None:
    """Append to the timelines and bring each order to its latest version."""
    if not moves:
        return
    execute(
        WRITE_MOVES,
        (
            array([move.order_id for move in moves]),
            array([move.placed_at.isoformat() for move in moves]),
            _numbers([move.version for move in moves]),
            text_array([move.status for move in moves]),
            text_array([json_text(move.data) for move in moves]),
            array([move.accepted_at.isoformat() for move in moves]),
            array([move.command_id for move in moves]),
            *span(move.placed_at for move in moves),
        ),
    )


def _numbers(values: Iterable[int | None]) -> str:
    return array(["NULL" if value is None else str(value) for value in values])
