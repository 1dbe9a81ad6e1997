"""What a search box finds. Each look is bounded: by an index, or by how many rows it reads."""

from datetime import datetime
from typing import Final, NamedTuple

from models.database import execute, fetch, transaction

#: Of each kind, so many are shown; one more says that there are more.
SHOWN_MAX: Final = 20
#: What has no index is looked for in so many of the newest orders and products.
ORDERS_READ_MAX: Final = 50_000
PRODUCTS_READ_MAX: Final = 200_000
#: What each of its statements may take.
STATEMENT_MS_MAX: Final = 2_000
#: After whatever begins with a text, in the order of its bytes.
LAST: Final = "\U0010ffff"

# The newest first: ids begin with their time, but for those that come of an idempotency key.
BY_ID = """
SELECT id::text FROM (
    SELECT id, kind FROM commands WHERE id BETWEEN %s::uuid AND %s::uuid ORDER BY id DESC LIMIT %s
) AS command
WHERE kind = 'place_order' AND right(id::text, length(%s)) = %s ORDER BY id DESC LIMIT %s
"""

UNDECIDED_BY_ID = """
SELECT command_id::text FROM undecided
WHERE command_id BETWEEN %s::uuid AND %s::uuid AND kind = 'place_order'
  AND right(command_id::text, length(%s)) = %s ORDER BY command_id DESC LIMIT %s
"""

AMONG_THE_NEWEST = """
SELECT o.id::text, m.key || ': ' || m.value
FROM (
    SELECT id, placed_at, metadata FROM orders ORDER BY placed_at DESC, id DESC LIMIT %s
) AS o
LEFT JOIN LATERAL (
    SELECT key, value FROM jsonb_each_text(o.metadata) AS pair
    WHERE strpos(lower(value), lower(%s)) > 0 LIMIT 1
) AS m ON true
WHERE m.key IS NOT NULL OR strpos(o.id::text, %s) > 0
ORDER BY o.placed_at DESC, o.id DESC LIMIT %s
"""

OLDEST_READ = "SELECT placed_at FROM orders ORDER BY placed_at DESC OFFSET %s LIMIT 1"

# From one customer to the next by the index, not over all their orders.
CUSTOMERS = """
WITH RECURSIVE customer AS (
    (SELECT customer_id FROM orders WHERE customer_id >= %s AND customer_id < %s
     ORDER BY customer_id LIMIT 1)
    UNION ALL
    SELECT (SELECT o.customer_id FROM orders AS o
            WHERE o.customer_id > customer.customer_id AND o.customer_id < %s
            ORDER BY o.customer_id LIMIT 1)
    FROM customer WHERE customer.customer_id IS NOT NULL
)
SELECT customer_id FROM customer WHERE customer_id IS NOT NULL LIMIT %s
"""

PRODUCTS = """
SELECT sku, name FROM products
WHERE sku >= %s AND sku < %s OR sku >= upper(%s) AND sku < upper(%s) ORDER BY sku LIMIT %s
"""

PRODUCTS_AMONG_THE_NEWEST = """
SELECT sku, name FROM (
    SELECT sku, name FROM products ORDER BY created_at DESC, sku DESC LIMIT %s
) AS product
WHERE strpos(lower(name), lower(%s)) > 0 OR starts_with(lower(sku), lower(%s)) LIMIT %s
"""

OLDEST_PRODUCT_READ = """
SELECT created_at FROM products ORDER BY created_at DESC, sku DESC OFFSET %s LIMIT 1
"""


class IdPart(NamedTuple):
    """A part of an id, in lower case. start, end: of the whole; "" where any will do."""

    start: str
    end: str


class OrderHit(NamedTuple):
    """found_by: the member of its metadata, None where it is its id."""

    id: str
    found_by: str | None


class ProductHit(NamedTuple):
    sku: str
    name: str


class Hits(NamedTuple):
    """oldest_read, oldest_product: none before was looked at without an index; None: all were."""

    orders: list[OrderHit]
    customers: list[str]
    products: list[ProductHit]
    oldest_read: datetime | None
    oldest_product: datetime | None


def find(text: str, part: IdPart | None, written: str = "") -> Hits:
    """What a text finds: orders by id and metadata, customers, products.

    part: what it is of an order's id, None where it is none; written: the text with the spaces
    around it, with which a customer's id may begin. Raises peewee.OperationalError (57014) where a
    statement takes longer than STATEMENT_MS_MAX.
    """
    with transaction():
        execute("SELECT set_config('statement_timeout', %s, true)", (str(STATEMENT_MS_MAX),))
        orders = _by_id(part) if part and len(part.start) >= 4 else []
        known = {hit.id for hit in orders}
        orders += [hit for hit in _among_the_newest(text, part) if hit.id not in known]
        return Hits(
            orders[: SHOWN_MAX + 1],
            (_customers(written) if written[:1].isspace() else []) + _customers(text),
            _products(text),
            _oldest(OLDEST_READ, ORDERS_READ_MAX),
            _oldest(OLDEST_PRODUCT_READ, PRODUCTS_READ_MAX),
        )


def _oldest(sql: str, read_max: int) -> datetime | None:
    rows = fetch(sql, (read_max - 1,))
    return rows[0][0] if rows else None


def _by_id(part: IdPart) -> list[OrderHit]:
    digits = part.start.replace("-", "")
    span = (digits.ljust(32, "0"), digits.ljust(32, "f"))
    rest = (part.end, part.end, SHOWN_MAX + 1)
    rows = fetch(UNDECIDED_BY_ID, (*span, *rest)) + fetch(BY_ID, (*span, ORDERS_READ_MAX, *rest))
    return [OrderHit(id_, None) for id_ in dict.fromkeys(id_ for (id_,) in rows)]


def _among_the_newest(text: str, part: IdPart | None) -> list[OrderHit]:
    middle = part.start if part and not part.end else None
    rows = fetch(AMONG_THE_NEWEST, (ORDERS_READ_MAX, text, middle, SHOWN_MAX + 1))
    return [OrderHit(*row) for row in rows]


def _customers(start: str) -> list[str]:
    rows = fetch(CUSTOMERS, (start, start + LAST, start + LAST, SHOWN_MAX + 1))
    return [name for (name,) in rows]


def _products(text: str) -> list[ProductHit]:
    rows = fetch(PRODUCTS, (text, text + LAST, text, text + LAST, SHOWN_MAX + 1))
    rows += fetch(PRODUCTS_AMONG_THE_NEWEST, (PRODUCTS_READ_MAX, text, text, SHOWN_MAX + 1))
    return [ProductHit(*row) for row in dict.fromkeys(rows)][: SHOWN_MAX + 1]
