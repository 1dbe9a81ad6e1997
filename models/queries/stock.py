"""Stock, its ledger and the products, set-based."""

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from typing import NamedTuple

from models.database import array, execute, fetch, text_array
from models.rules.allocation import Level
from models.rules.replacement import Replacement

#: Until warehouses are told apart, all stock is in one place; the tables are ready for more.
DEFAULT_LOCATION = "main"

LOCK_LEVELS = """
SELECT s.sku, s.location, s.on_hand, s.allocated, p.unit_price, p.currency
FROM stock AS s JOIN products AS p USING (sku)
WHERE s.sku = ANY (%s::text[]) AND s.location = %s
ORDER BY s.sku
FOR NO KEY UPDATE OF s
"""

WRITE_MOVEMENTS = """
WITH moved AS (
    SELECT * FROM unnest(
        %s::text[], %s::text[], %s::bigint[], %s::bigint[], %s::text[], %s::uuid[], %s::uuid[]
    ) AS m (sku, location, on_hand_delta, allocated_delta, reason, order_id, command_id)
), ledger AS (
    INSERT INTO stock_movements
        (at, sku, location, on_hand_delta, allocated_delta, reason, order_id, command_id)
    SELECT now(), sku, location, on_hand_delta, allocated_delta, reason, order_id, command_id
    FROM moved
), change AS (
    SELECT sku, location, sum(on_hand_delta) AS on_hand, sum(allocated_delta) AS allocated
    FROM moved GROUP BY sku, location
)
UPDATE stock AS s
SET on_hand = s.on_hand + change.on_hand, allocated = s.allocated + change.allocated,
    updated_at = now()
FROM change WHERE s.sku = change.sku AND s.location = change.location
"""

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


def lock_levels(skus: Iterable[str]) -> dict[str, Level]:
    """Lock the stock of these SKUs, in SKU order, until the transaction ends.

    Returns the levels by SKU; a SKU that is missing is an unknown product.
    """
    wanted = sorted(set(skus))
    rows = fetch(LOCK_LEVELS, (text_array(wanted), DEFAULT_LOCATION))
    return {row[0]: Level(*row) for row in rows}


def write_movements(movements: Sequence[Movement]) -> None:
    """Append to the ledger and move the stock by the same amounts, in one statement.

    The caller holds the locks. Raises peewee.IntegrityError where stock would go wrong.
    """
    if not movements:
        return
    skus, locations, on_hand, allocated, reasons, orders, commands = zip(*movements, strict=True)
    execute(
        WRITE_MOVEMENTS,
        (
            text_array(skus),
            text_array(locations),
            array([str(delta) for delta in on_hand]),
            array([str(delta) for delta in allocated]),
            text_array(reasons),
            text_array(orders),
            array(commands),
        ),
    )


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
