"""Months that are no longer kept: why one has to stay, and how one leaves the books.

A month is retired in one transaction, which moves the sums of its movements to the opening
balances. From then on no check reckons with its rows; to take them away has no hurry.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final, NamedTuple

from models.database import execute, fetch, reading, transaction
from models.queries import locks
from models.queries.inbox import json_text
from models.rules.order_status import CONFIRMED, SHIPPED

#: What was placed and moved before is no longer reckoned with.
KEPT_FROM: Final = "(SELECT coalesce(max(ends_at), '-infinity') FROM retired_months)"

#: Orders that may still take or give stock. A delivered one is over: it is returned while it is
#: kept. What failed can be put back for as long as its dead letter is open.
HELD_BACK = f"""
WITH open AS (
    SELECT id AS order_id, placed_at, 'order', status FROM orders
    WHERE status IN ('{CONFIRMED}', '{SHIPPED}') AND placed_at < %s
    UNION ALL
    SELECT p.id, p.placed_at, CASE c.kind WHEN 'place_order' THEN 'order' ELSE 'move' END, c.status
    FROM commands AS c
    JOIN commands AS p ON p.kind = 'place_order' AND p.id = CASE
        WHEN c.kind = 'place_order' THEN c.id
        WHEN c.target ~* '^[0-9a-f]{{8}}(-[0-9a-f]{{4}}){{3}}-[0-9a-f]{{12}}$' THEN c.target::uuid
    END
    WHERE c.kind IN ('place_order', 'move_order') AND p.placed_at < %s AND (
        c.status = 'pending' OR c.status = 'failed' AND EXISTS (
            SELECT FROM dead_letters AS l
            WHERE l.command_ids @> ARRAY[c.id] AND l.state = 'failed'
        )
    )
)
SELECT date_trunc('month', placed_at), kind, status, count(*), min(order_id::text)
FROM open AS o (order_id, placed_at, kind, status)
GROUP BY 1, 2, 3 ORDER BY 1, 2 DESC, 3
"""

CARRY = f"""
INSERT INTO opening_balances AS b (sku, location, on_hand, allocated)
SELECT sku, location, sum(on_hand_delta), sum(allocated_delta) FROM stock_movements
WHERE at >= {KEPT_FROM} AND at < %s GROUP BY sku, location
ON CONFLICT (sku, location) DO UPDATE
    SET on_hand = b.on_hand + excluded.on_hand, allocated = b.allocated + excluded.allocated
"""

RETIRE = """
INSERT INTO retired_months (starts_at, ends_at, action, retired_at) VALUES (%s, %s, %s, now())
"""


class HeldBack(NamedTuple):
    """Why a month stays. kind: `order` or `move`; example: the id of one such order."""

    month: datetime
    kind: str
    status: str
    number: int
    example: str


class Retired(NamedTuple):
    """A month that is out of the books. finished_at: when its tables were done with."""

    starts_at: datetime
    ends_at: datetime
    action: str
    retired_at: datetime
    manifest: dict[str, Any] | None
    finished_at: datetime | None


def take_turn() -> bool:
    """Whether this connection has, or just got, the right to take months away."""
    return locks.try_lock(locks.RETENTION)


@reading()
def held_back(before: datetime) -> list[HeldBack]:
    """What is still open of the months before a time, by month."""
    return [HeldBack(*row) for row in fetch(HELD_BACK, (before, before))]


@reading()
def retired() -> list[Retired]:
    """All months that are out of the books, oldest first."""
    return [Retired(*row) for row in fetch("SELECT * FROM retired_months ORDER BY starts_at")]


def retire(starts_at: datetime, ends_at: datetime, action: str) -> bool:
    """Take a month, and all before it, out of the books; False where something is open after all.

    Nobody waits for it: it reads what nobody writes to any more.
    """
    with transaction():
        if held_back(ends_at):
            return False
        execute(CARRY, (ends_at,))
        execute(RETIRE, (starts_at, ends_at, action))
    return True


def note_export(starts_at: datetime, manifest: Mapping[str, Any]) -> None:
    """Note that a month's rows are in files."""
    execute(
        "UPDATE retired_months SET manifest = %s::jsonb WHERE starts_at = %s",
        (json_text(manifest), starts_at),
    )


def finish(starts_at: datetime, tables: list[str]) -> None:
    """Drop what is left of a month's tables, and note that it is done."""
    with transaction():
        if tables:
            execute(f"DROP TABLE {', '.join(tables)}")
        execute("UPDATE retired_months SET finished_at = now() WHERE starts_at = %s", (starts_at,))


def detach(table: str, name: str, *, again: bool) -> None:
    """Detach a partition while orders go on. again: finish what was begun and broken off.

    Raises peewee.OperationalError where someone read it for longer than the lock time-out.
    """
    how = "FINALIZE" if again else "CONCURRENTLY"
    execute(f"ALTER TABLE {table} DETACH PARTITION {name} {how}")
