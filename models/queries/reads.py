"""What the front door reads: many ids in one statement, pages by keyset, never by offset."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

from models.database import Row, array, fetch, reading, text_array
from models.queries.inbox import Placed, placed, span
from models.queries.order_filter import OrderFilter, Position, ids_statement
from models.queries.orders import LineRow, OrderRow
from models.queries.pending_orders import AskedOrder, asked_orders
from models.rules.order_status import FAILED, PENDING

ORDERS = """
SELECT o.id::text, o.updated_at, o.placed_at, o.customer_id, o.status, o.currency, o.total,
       o.version, o.metadata, o.rejection,
       (SELECT json_agg(json_build_array(l.sku, l.quantity, l.unit_price, l.location)
                        ORDER BY l.line_no)
        FROM order_lines AS l
        WHERE l.placed_at = o.placed_at AND l.order_id = o.id AND l.placed_at BETWEEN %s AND %s)
FROM unnest(%s::uuid[], %s::timestamptz[]) AS wanted (id, placed_at)
JOIN orders AS o ON o.placed_at = wanted.placed_at AND o.id = wanted.id
WHERE o.placed_at BETWEEN %s AND %s
"""

COMMANDS_BY_ID = """
SELECT id::text, kind, status, target, problem FROM commands WHERE id = ANY (%s::uuid[])
"""

INVENTORY_BY_SKU = """
SELECT p.sku, p.name, p.unit_price, p.currency, s.on_hand, s.allocated, s.updated_at, p.created_at
FROM products AS p
JOIN LATERAL (
    SELECT sum(on_hand)::bigint AS on_hand, sum(allocated)::bigint AS allocated,
           greatest(max(updated_at), p.updated_at) AS updated_at
    FROM stock WHERE stock.sku = p.sku
) AS s ON true
"""

EVENTS = """
SELECT sequence, type, at, data FROM order_events
WHERE placed_at = %s AND order_id = %s ORDER BY sequence
"""

MOVEMENTS = """
SELECT at, location, on_hand_delta, allocated_delta, reason, order_id::text, command_id::text
FROM stock_movements
WHERE sku = %s AND at <= %s AND (at, command_id, location) < (%s, %s::uuid, %s)
ORDER BY at DESC, command_id DESC, location DESC LIMIT %s
"""

#: Later than any movement.
LATEST = ("infinity", "ffffffff-ffff-ffff-ffff-ffffffffffff", "")


class FoundOrder(NamedTuple):
    """An order. order: its row, None where only its failure is known, it is gone, or not decided;
    asked: what is known of one that is not decided and has no row.
    """

    order: OrderRow | None
    updated_at: datetime | None
    outcome: str
    asked: AskedOrder | None = None

    @property
    def gone(self) -> bool:
        """Whether it is of a month that is no longer kept: what was decided had a row."""
        return self.order is None and self.outcome not in (FAILED, PENDING)


class FoundCommand(NamedTuple):
    """The outcome of a command; problem: the document of a refusal or failure."""

    kind: str
    status: str
    target: str | None
    problem: dict[str, Any] | None


class InventoryRow(NamedTuple):
    """Stock of a product over all locations, in units; unit_price in minor units."""

    sku: str
    name: str
    unit_price: int
    currency: str
    on_hand: int
    allocated: int
    updated_at: datetime
    created_at: datetime


def orders_by_id(ids: Sequence[str]) -> list[FoundOrder | None]:
    """Orders in the order of their ids; None for one of which nothing is known (or there) yet."""
    with reading():
        known = placed(ids)
        rows = _orders({id_: each.at for id_, each in known.items()}) if known else []
        found = {row[0]: row for row in rows}
        asked = asked_orders([id_ for id_ in ids if _may_wait(known.get(id_), found.get(id_))])
    return [_found_order(known.get(id_), found.get(id_), asked.get(id_)) for id_ in ids]


def _may_wait(known: Placed | None, row: Row | None) -> bool:
    """Whether an order is not decided and has no row: put back, one that failed has."""
    return row is None and (known is None or known.outcome == PENDING)


def _orders(placed_at: dict[str, datetime]) -> list[Row]:
    times = placed_at.values()
    within = span(times)
    wanted = (array(list(placed_at)), array([at.isoformat() for at in times]))
    return fetch(ORDERS, (*within, *wanted, *within))


def _found_order(
    known: Placed | None, row: Row | None, asked: AskedOrder | None
) -> FoundOrder | None:
    if known is None:
        return None if asked is None else FoundOrder(None, None, PENDING, asked)
    if row is None:
        return FoundOrder(None, None, known.outcome, asked)
    id_, updated_at, placed_at, customer, status, *rest, lines = row
    currency, total, version, metadata, rejection = rest
    order = OrderRow(
        id_, placed_at, customer, status, currency, total, version, metadata, rejection,
        [LineRow(*line) for line in lines or []],
    )  # fmt: skip
    return FoundOrder(order, updated_at, known.outcome)


def commands_by_id(ids: Sequence[str]) -> list[FoundCommand | None]:
    """Outcomes in the order of the ids; None for a command that is not decided yet."""
    with reading():
        found = {row[0]: FoundCommand(*row[1:]) for row in fetch(COMMANDS_BY_ID, (array(ids),))}
    return [found.get(id_) for id_ in ids]


def inventory_by_sku(skus: Sequence[str]) -> list[InventoryRow | None]:
    """Stock in the order of the SKUs; None for an unknown one."""
    with reading():
        rows = fetch(INVENTORY_BY_SKU + "WHERE p.sku = ANY (%s::text[])", (text_array(skus),))
    found = {row[0]: InventoryRow(*row) for row in rows}
    return [found.get(sku) for sku in skus]


def inventory_page(
    prefix: str, available_below: int | None, after: tuple[datetime, str] | None, limit: int
) -> list[InventoryRow]:
    """Products, newest first, whose SKU begins with prefix and whose available is below."""
    conditions: list[str] = []
    params: list[object] = []
    if prefix:
        conditions.append("p.sku >= %s AND p.sku < %s")
        params += [prefix, prefix[:-1] + chr(ord(prefix[-1]) + 1)]
    if available_below is not None:
        conditions.append("s.on_hand - s.allocated < %s")
        params.append(available_below)
    if after is not None:
        conditions.append("(p.created_at, p.sku) < (%s, %s)")
        params += after
    where = f"WHERE {' AND '.join(conditions)} " if conditions else ""
    with reading():
        rows = fetch(
            f"{INVENTORY_BY_SKU}{where}ORDER BY p.created_at DESC, p.sku DESC LIMIT %s",
            (*params, limit),
        )
    return [InventoryRow(*row) for row in rows]


def order_ids_page(
    wanted: OrderFilter, after: Position | None, limit: int
) -> list[tuple[str, datetime]]:
    """(id, position) of orders, in the order of the list."""
    statement = ids_statement(wanted, after, limit)
    with reading():
        rows = fetch(*statement)
    return [(id_, at) for id_, at in rows]


def orders_page(
    wanted: OrderFilter, after: Position | None, limit: int
) -> tuple[list[tuple[str, FoundOrder | None]], Position | None]:
    """Orders by their ids, in the order of the list; after what the next page begins, or None.

    Whatever was taken out of the books meanwhile is left out.
    """
    rows = order_ids_page(wanted, after, limit + 1)
    ids = [id_ for id_, _ in rows[:limit]]
    pairs = zip(ids, orders_by_id(ids) if ids else [], strict=True)
    found = [(id_, order) for id_, order in pairs if order is None or not order.gone]
    return found, (rows[limit - 1][1], ids[-1]) if len(rows) > limit else None


def events(order_id: str) -> list[Row]:
    """(sequence, type, at, data) of an order's timeline, oldest first."""
    with reading():
        known = placed([order_id])
        return fetch(EVENTS, (known[order_id].at, order_id)) if known else []


def movements_page(sku: str, after: tuple[datetime, str, str] | None, limit: int) -> list[Row]:
    """(at, location, on hand, allocated, reason, order id, command id), newest first."""
    at, command_id, location = after or LATEST
    with reading():
        return fetch(MOVEMENTS, (sku, at, at, command_id, location, limit))
