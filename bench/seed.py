"""Millions of decided orders, set-based: as if Holdfast had run for half a year.

Ids are minted as the front door mints them, so that the orders can be read. Everything else is
INSERT .. SELECT into tables without indexes, which are made again afterwards.
"""

import io
import itertools
import random
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

from bench.contenders import SECRET_KEY
from bench.servers import connected
from bench.system import Site
from config import parse
from models.database import configure
from models.database import database as service_database
from models.queries import partitions
from web.ids import ORDER, IdMint

MONTHS = 6
#: Trade grows: of `count` orders, the first n came in the first (n / count) ** GROWTH of the time.
GROWTH = 0.75
#: A number, an id and a time.
LINE_BYTES_MAX = 100

STAGING = """
CREATE UNLOGGED TABLE seed (n bigint, id uuid, at timestamptz);
"""
#: One order in forty found no stock; the others have two lines of one to three units.
STAGED = """
CREATE UNLOGGED TABLE seed_lines AS
SELECT n, id, at, n % 40 = 0 AS rejected,
       'SKU-' || lpad((1 + a)::text, 4, '0') AS sku_1, 1 + n % 3 AS quantity_1,
       100 + (1 + a) % 900 AS price_1,
       'SKU-' || lpad((1 + b)::text, 4, '0') AS sku_2, 1 + n / 3 % 3 AS quantity_2,
       100 + (1 + b) % 900 AS price_2
FROM seed, LATERAL (SELECT n * 7919 % 1000 AS a) AS first,
     LATERAL (SELECT (a + 1 + n / 1000 % 999) % 1000 AS b) AS second;
DROP TABLE seed;
ANALYZE seed_lines;
"""
REJECTION = """
jsonb_build_object(
    'type', '/problems/insufficient-stock', 'title', 'Not enough stock',
    'detail', 'Not enough stock for 1 of its SKUs.', 'lines', jsonb_build_array(
        jsonb_build_object('sku', sku_1, 'requested', quantity_1, 'available', 0)))
"""
#: Two connections fill them at once: what is in one list goes after another.
FILL: list[list[str]] = [
    [
        f"""
        INSERT INTO commands (id, kind, status, placed_at, decided_at, problem)
        SELECT id, 'place_order', CASE WHEN rejected THEN 'rejected' ELSE 'applied' END, at,
               at + interval '20 ms', CASE WHEN rejected THEN {REJECTION} END
        FROM seed_lines""",
        f"""
        INSERT INTO orders (id, placed_at, customer_id, status, currency, total, version,
                            updated_at, metadata, rejection)
        SELECT id, at, 'c-' || 1 + n * 104729 % 100000,
               CASE WHEN rejected THEN 'rejected' ELSE 'confirmed' END,
               CASE WHEN NOT rejected THEN 'EUR' END,
               CASE WHEN NOT rejected THEN quantity_1 * price_1 + quantity_2 * price_2 END,
               1, at + interval '20 ms', '{{}}', CASE WHEN rejected THEN {REJECTION} END
        FROM seed_lines""",
        f"""
        INSERT INTO order_events (order_id, placed_at, sequence, type, at, data)
        SELECT id, at, 1, CASE WHEN rejected THEN 'order.rejected' ELSE 'order.confirmed' END,
               at + interval '20 ms',
               CASE WHEN rejected THEN jsonb_build_object('rejection', {REJECTION})
                    ELSE '{{}}' END
        FROM seed_lines""",
    ],
    [
        """
        INSERT INTO order_lines (order_id, placed_at, line_no, sku, quantity, unit_price, location)
        SELECT id, at, line_no, sku, quantity, CASE WHEN NOT rejected THEN price END,
               CASE WHEN NOT rejected THEN 'main' END
        FROM seed_lines, LATERAL (VALUES (1, sku_1, quantity_1, price_1),
                                         (2, sku_2, quantity_2, price_2))
            AS line (line_no, sku, quantity, price)""",
        """
        INSERT INTO stock_movements
            (at, sku, location, on_hand_delta, allocated_delta, reason, order_id, command_id)
        SELECT at + interval '20 ms', sku, 'main', 0, quantity, 'placed', id, id
        FROM seed_lines, LATERAL (VALUES (sku_1, quantity_1), (sku_2, quantity_2))
            AS line (sku, quantity)
        WHERE NOT rejected""",
    ],
]
BALANCE = """
UPDATE stock SET on_hand = m.on_hand, allocated = m.allocated, updated_at = now()
FROM (SELECT sku, sum(on_hand_delta) AS on_hand, sum(allocated_delta) AS allocated
      FROM stock_movements GROUP BY sku) AS m
WHERE m.sku = stock.sku;
DROP TABLE seed_lines;
"""
TABLES = ("commands", "orders", "order_events", "order_lines", "stock_movements")
KEYS = """
SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint
WHERE contype = 'p' AND conrelid = ANY (%s::regclass[]) ORDER BY 1
"""
INDEXES = """
SELECT indexrelid::regclass::text, indrelid::regclass::text,
       replace(pg_get_indexdef(indexrelid), ' ON ONLY ', ' ON ')
FROM pg_index WHERE indrelid = ANY (%s::regclass[]) AND NOT indisprimary ORDER BY 2
"""


def fill(site: Site, count: int, report: Callable[[str], None]) -> None:
    """Put `count` orders into the empty tables of a site."""
    began = time.monotonic()

    def done(step: str) -> None:
        report(f"{step} ({time.monotonic() - began:.0f} s)")

    make_partitions(site)
    with connected(site.database_url) as database, database.cursor() as cursor:
        cursor.execute(STAGING)
        cursor.copy_expert("COPY seed FROM STDIN", Rows(lines(count)))
        cursor.execute(STAGED)
        done("ids minted")
        again = drop_indexes(cursor)
        side_by_side(site, FILL)
        done("rows written")
        side_by_side(site, again)
        done("indexes made")
        cursor.execute(BALANCE)
        cursor.execute("VACUUM (ANALYZE)")
    site.servers.checkpoint()
    done("vacuumed and on disk")


def make_partitions(site: Site) -> None:
    """Months of the past, by the service's own means."""
    configure(parse(site.environment({})), application_name="bench")
    earliest = datetime.now(UTC).date() - timedelta(days=31 * (MONTHS - 1))
    try:
        partitions.ensure(MONTHS, today=earliest)
    finally:
        service_database.close()


def lines(count: int) -> Iterator[bytes]:
    """Number, id and time of each order, as COPY wants them, the oldest first."""
    mint, draw = IdMint(SECRET_KEY.encode()), random.Random(count)
    end = int(time.time() * 1000)
    span = MONTHS * 30 * 86_400_000
    for n in range(1, count + 1):
        millis = end - span + int(span * (n / count) ** GROWTH)
        # What a client's idempotency key would be hashed to: here the time, then random bits.
        digest = (millis << 80 | draw.getrandbits(42)).to_bytes(16)
        at = datetime.fromtimestamp(millis / 1000, UTC).isoformat()
        yield f"{n}\t{mint.from_key(ORDER, digest)}\t{at}\n".encode()


class Rows(io.RawIOBase):
    """An iterator of short lines as the file that COPY reads."""

    def __init__(self, source: Iterator[bytes]) -> None:
        self._source = source

    def read(self, size: int = -1) -> bytes:
        """Whole lines, as many as surely fit."""
        return b"".join(itertools.islice(self._source, max(1, size // LINE_BYTES_MAX)))


def drop_indexes(cursor: Any) -> list[list[str]]:
    """Drop keys and indexes; returns the statements that make them again, by two connections."""
    cursor.execute(KEYS, (list(TABLES),))
    keys = cursor.fetchall()
    cursor.execute(INDEXES, (list(TABLES),))
    indexes = cursor.fetchall()
    for table, name, _ in keys:
        cursor.execute(f"ALTER TABLE {table} DROP CONSTRAINT {name}")
    for name, _, _ in indexes:
        cursor.execute(f"DROP INDEX {name}")
    again: list[list[str]] = [["SET maintenance_work_mem = '512MB'"] for _ in range(2)]
    for table, name, definition in keys:
        again[_connection_of(table)].append(
            f"ALTER TABLE {table} ADD CONSTRAINT {name} {definition}"
        )
    for _, table, definition in indexes:
        again[_connection_of(table)].append(definition)
    return again


def _connection_of(table: str) -> int:
    """Each table by one connection only: making a key locks it."""
    return int(table in {"order_lines", "stock_movements"})


def side_by_side(site: Site, statements: list[list[str]]) -> None:
    """Run each list on a connection of its own, all at once."""

    def run(own: list[str]) -> None:
        with connected(site.database_url) as database, database.cursor() as cursor:
            for statement in own:
                cursor.execute(statement)

    with ThreadPoolExecutor(len(statements)) as pool:
        for outcome in [pool.submit(run, own) for own in statements]:
            outcome.result()
