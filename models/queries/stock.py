"""Stock, its ledger and the products, set-based."""

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from typing import NamedTuple

from models.database import (
    Statement,
    array,
    execute,
    fetch,
    run_together,
    server_error,
    text_array,
)
from models.rules.allocation import Level
from models.rules.replacement import Replacement

#: Until warehouses are told apart, all stock is in one place; the tables are ready for more.
DEFAULT_LOCATION = "main"

READ_LEVELS = """
SELECT s.sku, s.location, s.on_hand, s.allocated, p.unit_price, p.currency, p.accepted_at
FROM stock AS s JOIN products AS p USING (sku)
WHERE s.sku = ANY (%s::text[]) AND s.location = %s
"""

LOCK_LEVELS = f"""{READ_LEVELS}
ORDER BY s.sku
FOR NO KEY UPDATE OF s
"""

WRITE_LEDGER = """
INSERT INTO stock_movements
    (at, sku, location, on_hand_delta, allocated_delta, reason, order_id, command_id)
SELECT now(), sku, location, on_hand_delta, allocated_delta, reason, order_id, command_id
FROM unnest(
    %s::text[], %s::text[], %s::bigint[], %s::bigint[], %s::text[], %s::uuid[], %s::uuid[]
) AS m (sku, location, on_hand_delta, allocated_delta, reason, order_id, command_id)
"""

# All who hold several rows of stock take them in this order. An UPDATE takes them as it finds them.
LOCK = """
SELECT count(*) FROM (
    SELECT FROM stock WHERE sku = ANY (%s::text[]) ORDER BY sku, location FOR NO KEY UPDATE
) AS held
"""

CHANGE = """
UPDATE stock AS s
SET on_hand = s.on_hand + change.on_hand, allocated = s.allocated + change.allocated,
    updated_at = now()
FROM unnest(%s::text[], %s::text[], %s::bigint[], %s::bigint[])
    AS change (sku, location, on_hand, allocated)
WHERE s.sku = change.sku AND s.location = change.location
"""

#: The SQLSTATE of a row that would break a CHECK.
CHECK_VIOLATION = "23514"

LATEST_PUTS = """
SELECT writer::text, sku, accepted_at FROM products
WHERE sku = ANY (%s::text[]) AND writer IS NOT NULL
ORDER BY sku
FOR NO KEY UPDATE
"""

# A clock that is ahead must not refuse the PUTs of others until they catch up with it: to have come
# by now, a change was accepted by now.
# A new product has no row to lock: one that was accepted later may be there by now, and stays.
PUT_PRODUCTS = """
WITH put AS (
    INSERT INTO products AS p
        (sku, name, unit_price, currency, created_at, updated_at, accepted_at, writer)
    SELECT sku, name, unit_price, currency, now(), now(), least(accepted_at, now()), writer
    FROM unnest(%s::text[], %s::text[], %s::bigint[], %s::text[], %s::timestamptz[], %s::uuid[])
        AS given (sku, name, unit_price, currency, accepted_at, writer)
    ORDER BY sku
    ON CONFLICT (sku) DO UPDATE SET name = excluded.name, unit_price = excluded.unit_price,
        currency = excluded.currency, updated_at = excluded.updated_at,
        accepted_at = excluded.accepted_at, writer = excluded.writer
        WHERE p.accepted_at IS NULL OR p.accepted_at <= excluded.accepted_at
    RETURNING sku
)
INSERT INTO stock (sku, location, on_hand, allocated, updated_at)
SELECT sku, %s, 0, 0, now() FROM put
ON CONFLICT (sku, location) DO NOTHING
"""


class Movement(NamedTuple):
    """A line of the ledger; deltas in units."""

    sku: str
    location: str
    on_hand_delta: int
    allocated_delta: int
    reason: str
    order_id: str | None
    command_id: str


class Product(NamedTuple):
    """unit_price: minor units of currency; accepted_at, writer: of the command that puts it."""

    sku: str
    name: str
    unit_price: int
    currency: str
    accepted_at: datetime
    writer: str


def read_levels(skus: Iterable[str]) -> dict[str, Level]:
    """The stock of these SKUs as it is now; it may be another the moment after.

    Returns the levels by SKU; a SKU that is missing is an unknown product.
    """
    return _levels(READ_LEVELS, skus)


def lock_levels(skus: Iterable[str]) -> dict[str, Level]:
    """As `read_levels`, locked in SKU order until the transaction ends."""
    return _levels(LOCK_LEVELS, skus)


def _levels(sql: str, skus: Iterable[str]) -> dict[str, Level]:
    wanted = sorted(set(skus))
    rows = fetch(sql, (text_array(wanted), DEFAULT_LOCATION)) if wanted else []
    return {row[0]: Level(*row) for row in rows}


def write_movements(movements: Sequence[Movement]) -> None:
    """Append to the ledger and move the stock by the same amounts.

    Raises peewee.IntegrityError where stock would go wrong.
    """
    run_together(*changes(movements))


def changes(movements: Sequence[Movement]) -> list[Statement]:
    """What `write_movements` runs; nothing where there are none.

    The stock comes last, and is locked right before it changes: with COMMIT in the same message
    the rows are never held while the server waits for a client.
    """
    if not movements:
        return []
    skus, locations, on_hand, allocated, reasons, orders, commands = zip(*movements, strict=True)
    ledger = (
        text_array(skus),
        text_array(locations),
        array([str(delta) for delta in on_hand]),
        array([str(delta) for delta in allocated]),
        text_array(reasons),
        text_array(orders),
        array(commands),
    )
    return [Statement(WRITE_LEDGER, ledger), *_stock_changed(movements)]


def _stock_changed(movements: Sequence[Movement]) -> list[Statement]:
    on_hand, allocated = Counter[tuple[str, str]](), Counter[tuple[str, str]]()
    for movement in movements:
        place = movement.sku, movement.location
        on_hand[place] += movement.on_hand_delta
        allocated[place] += movement.allocated_delta
    skus, locations = zip(*on_hand, strict=True)
    change = (
        text_array(skus),
        text_array(locations),
        array([str(delta) for delta in on_hand.values()]),
        array([str(delta) for delta in allocated.values()]),
    )
    return [Statement(LOCK, (text_array(skus),)), Statement(CHANGE, change)]


def is_short(error: BaseException) -> bool:
    """Whether an error says that there is not as much stock as a transaction would take."""
    said = server_error(error)
    return said is not None and said.pgcode == CHECK_VIOLATION and said.diag.table_name == "stock"


def lock_latest_puts(skus: Iterable[str]) -> dict[str, Replacement]:
    """Lock products, in SKU order; returns by SKU what put them, where that is known."""
    rows = fetch(LATEST_PUTS, (text_array(sorted(set(skus))),))
    return {row[1]: Replacement(*row) for row in rows}


def put_products(products: Collection[Product]) -> None:
    """Create or replace products, one row per SKU; a new one gets a stock row of nothing."""
    if not products:
        return
    skus, names, prices, currencies, accepted, writers = zip(*products, strict=True)
    execute(
        PUT_PRODUCTS,
        (
            text_array(skus),
            text_array(names),
            array([str(price) for price in prices]),
            text_array(currencies),
            array([at.isoformat() for at in accepted]),
            array(writers),
            DEFAULT_LOCATION,
        ),
    )
