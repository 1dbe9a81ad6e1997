"""What operators look up: an order's whole story, stock by level, a product's level over time."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from models.database import fetch, reading
from models.queries.inbox import placed
from models.queries.reads import InventoryRow

#: As much of a ledger as a chart counts back through: a product in demand has millions of rows.
MOVEMENTS_COUNTED_MAX = 20_000

MOVES_ASKED = """
SELECT c.id::text, c.status, c.placed_at, c.decided_at, c.problem, a.key_name, a.details
FROM commands AS c LEFT JOIN audit_log AS a ON a.command_id = c.id
WHERE c.target = %s AND c.kind = 'move_order'
ORDER BY c.placed_at DESC, c.id DESC LIMIT %s
"""

# What an order did to stock has the very instant of its events, so the ledger's key finds it.
MOVEMENTS_OF = """
WITH sku AS (
    SELECT DISTINCT sku FROM order_lines WHERE placed_at = %s AND order_id = %s
), moment AS (
    SELECT DISTINCT at FROM order_events WHERE placed_at = %s AND order_id = %s
)
SELECT m.at, m.sku, m.location, m.on_hand_delta, m.allocated_delta, m.reason, m.command_id::text
FROM moment CROSS JOIN sku
JOIN stock_movements AS m ON m.sku = sku.sku AND m.at = moment.at
WHERE m.order_id = %s AND m.at >= %s::timestamptz - interval '1 day'
ORDER BY m.at, m.sku, m.command_id, m.location
"""

STOCK = """
SELECT p.sku, p.name, p.unit_price, p.currency, s.on_hand, s.allocated,
       greatest(s.updated_at, p.updated_at), p.created_at
FROM (
    SELECT sku, sum(on_hand)::bigint AS on_hand, sum(allocated)::bigint AS allocated,
           max(updated_at) AS updated_at
    FROM stock WHERE sku >= %s AND (%s::text IS NULL OR sku < %s) GROUP BY sku
    HAVING %s::bigint IS NULL OR sum(on_hand) - sum(allocated) < %s
"""

BY_SKU = f"{STOCK} ORDER BY sku LIMIT %s) AS s JOIN products AS p USING (sku) ORDER BY p.sku"

BY_AVAILABLE = f"""{STOCK}
       AND (%s::bigint IS NULL OR (sum(on_hand) - sum(allocated), sku) > (%s, %s))
    ORDER BY sum(on_hand) - sum(allocated), sku LIMIT %s
) AS s JOIN products AS p USING (sku) ORDER BY s.on_hand - s.allocated, p.sku
"""

# One statement, so that the level and the ledger are of one moment.
CHANGES = """
WITH latest AS MATERIALIZED (
    SELECT at, on_hand_delta, allocated_delta FROM stock_movements
    WHERE sku = %s AND at >= coalesce(%s, '-infinity'::timestamptz)
    ORDER BY at DESC, command_id DESC, location DESC LIMIT %s
), span AS (
    SELECT min(at) AS start, count(*) AS rows,
           greatest((now() - min(at)) / %s, interval '1 millisecond') AS step
    FROM latest
), change AS (
    SELECT min(at) AS first_at, max(at) AS at, sum(on_hand_delta)::bigint AS on_hand,
           sum(allocated_delta)::bigint AS allocated
    FROM latest CROSS JOIN span GROUP BY date_bin(step, at, start)
), level AS (
    SELECT coalesce(sum(on_hand), 0)::bigint AS on_hand,
           coalesce(sum(allocated), 0)::bigint AS allocated
    FROM stock WHERE sku = %s
)
SELECT now(), level.on_hand, level.allocated, span.rows,
       change.first_at, change.at, change.on_hand, change.allocated
FROM level CROSS JOIN span LEFT JOIN change ON true ORDER BY change.at
"""

#: Of rejections without number the newest tell enough.
SHORT = """
SELECT line ->> 'sku', count(*), bool_or(rejection ->> 'type' = '/problems/unknown-sku')
FROM (
    SELECT rejection FROM orders
    WHERE status = 'rejected' AND placed_at > now() - interval '10 minutes'
      AND updated_at > now() - interval '70 seconds'
    ORDER BY placed_at DESC LIMIT 2000
) AS newest CROSS JOIN jsonb_array_elements(coalesce(rejection -> 'lines', '[]')) AS line
GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT 3
"""

IS_KNOWN_SKU = """
SELECT EXISTS (SELECT FROM products WHERE sku = %s)
    OR EXISTS (SELECT FROM dead_letters WHERE subjects @> ARRAY['sku:' || %s])
"""


class MoveAsked(NamedTuple):
    """A move that was asked for, and what became of it.

    by: name of the key, where it was done by hand; details: of the audit log.
    """

    command_id: str
    outcome: str
    at: datetime
    decided_at: datetime
    problem: Mapping[str, Any] | None
    by: str | None
    details: Mapping[str, Any] | None


class Shortage(NamedTuple):
    """What orders were rejected for. orders: how many; unknown: there is no such product."""

    sku: str
    orders: int
    unknown: bool


class OrderMovement(NamedTuple):
    """What an order did to the stock of a SKU; deltas in units."""

    at: datetime
    sku: str
    location: str
    on_hand_delta: int
    allocated_delta: int
    reason: str
    command_id: str


class Level(NamedTuple):
    """Units from an instant on."""

    at: datetime
    on_hand: int
    available: int


class History(NamedTuple):
    """A product's level, oldest first, up to now.

    complete: whether all movements of the time asked for were counted.
    """

    levels: list[Level]
    complete: bool


def moves_asked(order_id: str, limit: int = 100) -> list[MoveAsked]:
    """The moves asked for of an order, decided ones, oldest first (the latest, where many)."""
    with reading():
        return [MoveAsked(*row) for row in reversed(fetch(MOVES_ASKED, (order_id, limit)))]


def movements_of(order_id: str) -> list[OrderMovement]:
    """What an order did to stock, oldest first."""
    with reading():
        known = placed([order_id]).get(order_id)
        if known is None:
            return []
        params = (known.at, order_id, known.at, order_id, order_id, known.at)
        return [OrderMovement(*row) for row in fetch(MOVEMENTS_OF, params)]


@reading()
def shortages() -> list[Shortage]:
    """What the orders that were rejected in the last minute lacked, the most frequent first."""
    return [Shortage(*row) for row in fetch(SHORT)]


def stock_by_sku(prefix: str, after: str | None, limit: int) -> list[InventoryRow]:
    """Products whose SKU begins with prefix, in the order of their SKUs."""
    # The next SKU after one is that one and the least character.
    start = prefix if after is None else max(prefix, after + "\x01")
    end = _end_of(prefix)
    with reading():
        rows = fetch(BY_SKU, (start, end, end, None, None, limit))
    return [InventoryRow(*row) for row in rows]


def low_stock(
    prefix: str, below: int, after: tuple[int, str] | None, limit: int
) -> list[InventoryRow]:
    """Products of which fewer than `below` units are available, the fewest first."""
    available, sku = after or (None, None)
    end = _end_of(prefix)
    params = (prefix, end, end, below, below, available, available, sku, limit)
    with reading():
        return [InventoryRow(*row) for row in fetch(BY_AVAILABLE, params)]


def _end_of(prefix: str) -> str | None:
    return prefix[:-1] + chr(ord(prefix[-1]) + 1) if prefix else None


def levels(
    sku: str, since: datetime | None, steps: int, rows_max: int = MOVEMENTS_COUNTED_MAX
) -> History:
    """A product's level over time, counted back from the present one.

    since: None for as far back as rows_max movements go; steps: points at most, or so.
    """
    with reading():
        rows = fetch(CHANGES, (sku, since, rows_max, steps, sku))
    return _count_back(rows, since, rows_max)


def _count_back(rows: Sequence[tuple[Any, ...]], since: datetime | None, rows_max: int) -> History:
    now, on_hand, allocated, counted, first_at = rows[0][:5]
    found = [Level(now, on_hand, on_hand - allocated)]
    for *_, at, on_hand_delta, allocated_delta in reversed(rows):
        if at is None:
            break
        found.append(Level(at, on_hand, on_hand - allocated))
        on_hand -= on_hand_delta
        allocated -= allocated_delta
    complete = counted < rows_max
    start = since if since is not None and complete else first_at or now
    found.append(Level(start, on_hand, on_hand - allocated))
    return History(found[::-1], complete)


def is_known_sku(text: str) -> bool:
    """Whether there is a product of that SKU, or a failure that is about one."""
    with reading():
        ((known,),) = fetch(IS_KNOWN_SKU, (text, text))
    return bool(known)
