"""One Dramatiq actor on stock Dramatiq: one order, one transaction, plain psycopg2."""

import os
import threading
from collections import Counter
from typing import Any

import dramatiq
import psycopg2
from dramatiq.brokers.rabbitmq import RabbitmqBroker
from psycopg2.extensions import connection
from psycopg2.extras import execute_values

broker = RabbitmqBroker(url=os.environ["RABBITMQ_URL"], confirm_delivery=True)
dramatiq.set_broker(broker)

CLAIM = "INSERT INTO idempotency_keys (key) VALUES (%s) ON CONFLICT DO NOTHING RETURNING key"
LOCK = """
SELECT s.sku, s.on_hand - s.allocated, p.unit_price, p.currency
FROM stock AS s JOIN products AS p USING (sku)
WHERE s.sku = ANY (%s) ORDER BY s.sku FOR NO KEY UPDATE OF s
"""
INSERT_ORDER = """
INSERT INTO orders (id, customer_id, status, currency, total) VALUES (%s, %s, %s, %s, %s)
"""
INSERT_LINES = "INSERT INTO order_lines (order_id, line_no, sku, quantity, unit_price) VALUES %s"
INSERT_EVENT = """
INSERT INTO order_events (order_id, sequence, type, data) VALUES (%s, 1, %s, '{}')
"""
INSERT_MOVEMENTS = """
INSERT INTO stock_movements (sku, on_hand_delta, allocated_delta, reason, order_id) VALUES %s
"""
ALLOCATE = """
UPDATE stock AS s SET allocated = s.allocated + wanted.units, updated_at = now()
FROM unnest(%s::text[], %s::bigint[]) AS wanted (sku, units) WHERE s.sku = wanted.sku
"""

_of_thread = threading.local()


@dramatiq.actor(queue_name="orders")
def place_order(order_id: str, customer_id: str, lines: list[dict[str, Any]]) -> None:
    """Confirm an order if there is stock for all of it, reject it otherwise."""
    database = this_threads_connection()
    with database, database.cursor() as cursor:
        cursor.execute(CLAIM, (order_id,))
        if cursor.fetchone():
            decide(cursor, order_id, customer_id, lines)


def this_threads_connection() -> connection:
    """One connection per thread; a broken one is replaced."""
    if getattr(_of_thread, "database", None) is None or _of_thread.database.closed:
        _of_thread.database = psycopg2.connect(os.environ["DATABASE_URL"])
    return _of_thread.database


def decide(cursor: Any, order_id: str, customer_id: str, lines: list[dict[str, Any]]) -> None:
    """Lock the stock in SKU order, allocate all lines or none, write what became of it."""
    wanted = Counter[str]()
    for line in lines:
        wanted[line["sku"]] += line["quantity"]
    cursor.execute(LOCK, (list(wanted),))
    locked = {sku: rest for sku, *rest in cursor.fetchall()}
    enough = all(sku in locked and locked[sku][0] >= units for sku, units in wanted.items())
    status, currency, total = "rejected", None, None
    if enough:
        status, currency = "confirmed", next(iter(locked.values()))[2]
        total = sum(locked[line["sku"]][1] * line["quantity"] for line in lines)
        execute_values(
            cursor,
            INSERT_MOVEMENTS,
            [(sku, 0, units, "placed", order_id) for sku, units in wanted.items()],
        )
        cursor.execute(ALLOCATE, (list(wanted), list(wanted.values())))
    cursor.execute(INSERT_ORDER, (order_id, customer_id, status, currency, total))
    rows = [(order_id, number, line["sku"], line["quantity"],
             locked[line["sku"]][1] if line["sku"] in locked else None)
            for number, line in enumerate(lines, start=1)]  # fmt: skip
    execute_values(cursor, INSERT_LINES, rows)
    cursor.execute(INSERT_EVENT, (order_id, f"order.{status}"))
