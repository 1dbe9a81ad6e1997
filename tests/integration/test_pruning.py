"""With two years of orders, hot statements read the partitions that they must, says EXPLAIN."""

import json
import logging
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import msgspec
import pytest

from config import settings
from deploy.local.servers import Postgres
from models import database as db
from models.database import configure
from models.migrate import migrate
from models.queries import lookup, orders, partitions, reads
from models.queries.order_filter import OrderFilter
from models.queries.orders import MoveRow
from models.queries.partitions import PARTITIONED
from tests.integration.history import month_ago
from tests.integration.workshop import rows

MONTHS = 24
AHEAD = 3

#: 1,000 orders a month of two lines, over 100 SKUs and 200 customers. Those of before this month
#: were shipped, within the day; of this month's, one in ten was.
SEED = """
WITH given AS MATERIALIZED (
    SELECT gen_random_uuid() AS id, month + n * (interval '28 days' / 1001) AS at,
           'c-' || n %% 200 AS customer, n, n %% 10 = 0 OR month < date_trunc('month', now())
               AS is_shipped, gen_random_uuid() AS shipping
    FROM generate_series(date_trunc('month', now()) - interval '24 months',
                         date_trunc('month', now()), '1 month') AS month,
         generate_series(1, 1000) AS n
), placed AS (
    SELECT * FROM given WHERE at < now() - interval '1 day'
), inbox AS (
    INSERT INTO commands (id, kind, status, target, placed_at, decided_at)
    SELECT id, 'place_order', 'applied', NULL, at, at FROM placed
    UNION ALL
    SELECT shipping, 'move_order', 'applied', id::text, at, at + interval '20 hours' FROM placed
    WHERE is_shipped
), header AS (
    INSERT INTO orders SELECT id, at, customer, CASE WHEN is_shipped THEN 'shipped'
                              ELSE 'confirmed' END, 'EUR', 1, 1, at, '{}' FROM placed
), line AS (
    INSERT INTO order_lines SELECT id, at, line, 'S' || (n * line) %% 100, 1, 1, 'main'
    FROM placed, generate_series(1, 2) AS line
), event AS (
    INSERT INTO order_events SELECT id, at, 1, 'order.confirmed', at, '{}'::jsonb FROM placed
    UNION ALL
    SELECT id, at, 2, 'order.shipped', at + interval '20 hours', '{}' FROM placed WHERE is_shipped
)
INSERT INTO stock_movements
SELECT at + moved * interval '20 hours', 'S' || (n * line) %% 100, 'main', -moved, 1 - 2 * moved,
       CASE moved WHEN 0 THEN 'placed' ELSE 'shipped' END, id,
       CASE moved WHEN 0 THEN id ELSE shipping END
FROM placed, generate_series(1, 2) AS line, generate_series(0, 1) AS moved
WHERE moved = 0 OR is_shipped
ON CONFLICT DO NOTHING
"""


class Past(NamedTuple):
    """Ids of orders of one month of a year ago, with their time."""

    ids: list[str]
    at: datetime


@pytest.fixture(scope="module")
def past(postgres: Postgres) -> Iterator[Past]:
    """A database of its own, with two years of orders."""
    db.discard_connection()
    own = msgspec.structs.replace(settings(), database_url=postgres.create_database("pruning"))
    configure(own, application_name="tests")
    migrate(AHEAD)
    try:
        for months in range(2, MONTHS + 1):
            partitions.ensure(1, today=month_ago(months - 1).date())
        db.execute("SET statement_timeout = 0")
        db.execute(SEED, ())
        db.execute("VACUUM (ANALYZE)")
        found = rows(
            "SELECT id::text, placed_at FROM orders WHERE placed_at >= %s ORDER BY placed_at "
            "LIMIT 300",
            month_ago(12),
        )
        yield Past([id_ for id_, _ in found], found[-1][1])
    finally:
        db.discard_connection()
        configure(settings(), application_name="tests")


def statements_of(run: Callable[[], object], caplog: pytest.LogCaptureFixture) -> list[Any]:
    """The statements that run sends to PostgreSQL, each with its parameters; nothing stays."""
    caplog.clear()
    with caplog.at_level(logging.DEBUG, logger="peewee"), db.database.atomic() as undone:
        run()
        undone.rollback()
    sent = [record.msg for record in caplog.records if record.name == "peewee"]
    return [each for each in sent if any(table in each[0] for table in PARTITIONED)]


def partitions_read(statement: str, params: Any) -> dict[str, set[str]]:
    """The months whose partitions are really read, by table."""
    with db.database.atomic() as undone:
        ((plan,),) = rows(f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}", *params)
        undone.rollback()
    plan = json.loads(plan) if isinstance(plan, str) else plan
    read: dict[str, set[str]] = {}

    def walk(node: dict[str, Any]) -> None:
        name = node.get("Relation Name", "")
        table = name.rpartition("_20")[0]
        if table in PARTITIONED and node["Actual Loops"]:
            read.setdefault(table, set()).add(name.removeprefix(f"{table}_"))
        for child in node.get("Plans", []):
            walk(child)

    walk(plan[0]["Plan"])
    return read


def months_read(run: Callable[[], object], caplog: pytest.LogCaptureFixture) -> set[str]:
    """The months that a call reads of, but for those to come, which are empty."""
    sent = statements_of(run, caplog)
    assert sent
    found = [partitions_read(statement, params) for statement, params in sent]
    read = {month for tables in found for months in tables.values() for month in months}
    return {month for month in read if month <= f"{datetime.now(UTC):%Y_%m}"}


def month(months: int) -> str:
    return f"{month_ago(months):%Y_%m}"


def moved(past: Past, count: int) -> None:
    locked = orders.lock(past.ids[:count])
    assert len(locked) == count
    orders.units_of(locked)
    orders.write_moves(
        [
            MoveRow(id_, row.placed_at, 3, "delivered", {}, row.placed_at, id_)
            for id_, row in locked.items()
        ]
    )


#: What is asked of orders of one month.
OF_ONE_MONTH: dict[str, Callable[[Past], object]] = {
    "an order by id": lambda past: reads.orders_by_id(past.ids[:1]),
    "200 orders by id": lambda past: reads.orders_by_id(past.ids[:200]),
    "a timeline": lambda past: reads.events(past.ids[0]),
    "what an order did to stock": lambda past: lookup.movements_of(past.ids[0]),
    "a move": lambda past: moved(past, 1),
    "200 moves": lambda past: moved(past, 200),
    "orders that may be gone": lambda past: orders.gone(past.ids),
    "failed orders decided anew": lambda past: orders.forget_failed(
        dict.fromkeys(past.ids[:5], past.at)
    ),
    "orders of a status and a time": lambda past: reads.order_ids_page(
        OrderFilter("shipped", placed_after=month_ago(12), placed_before=past.at), None, 50
    ),
    "orders of a customer and a time": lambda past: reads.order_ids_page(
        OrderFilter(customer_id="c-7", placed_after=month_ago(12), placed_before=past.at), None, 50
    ),
    "orders of a SKU and a time": lambda past: reads.order_ids_page(
        OrderFilter(sku="S8", placed_after=month_ago(12), placed_before=past.at), None, 50
    ),
    "the next page of orders": lambda past: reads.order_ids_page(
        OrderFilter(), (past.at, past.ids[-1]), 50
    ),
    "the next page of a status": lambda past: reads.order_ids_page(
        OrderFilter("shipped"), (past.at, past.ids[-1]), 50
    ),
    "the next page of a ledger": lambda past: reads.movements_page(
        "S8", (past.at + timedelta(days=20), past.ids[-1], "main"), 20
    ),
}


@pytest.mark.parametrize("what", OF_ONE_MONTH)
def test_what_is_of_one_month_reads_that_month(
    past: Past, caplog: pytest.LogCaptureFixture, what: str
) -> None:
    assert months_read(lambda: OF_ONE_MONTH[what](past), caplog) == {month(12)}


#: What begins with the newest: this month, and the one before where this one has too few.
OF_THE_NEWEST: dict[str, Callable[[], object]] = {
    "the first page of orders": lambda: reads.order_ids_page(OrderFilter(), None, 50),
    "the first page of a status": lambda: reads.order_ids_page(OrderFilter("shipped"), None, 50),
    "the first page of a SKU": lambda: reads.order_ids_page(OrderFilter(sku="S8"), None, 20),
    "the first page of a ledger": lambda: reads.movements_page("S8", None, 20),
    "a level over a week": lambda: lookup.levels("S8", datetime.now(UTC) - timedelta(days=7), 60),
}


@pytest.mark.parametrize("what", OF_THE_NEWEST)
def test_what_begins_with_the_newest_stops_when_it_has_enough(
    past: Past, caplog: pytest.LogCaptureFixture, what: str
) -> None:
    assert months_read(OF_THE_NEWEST[what], caplog) <= {month(0), month(1)}


def test_a_customers_first_page_goes_as_far_back_as_its_orders_do(
    past: Past, caplog: pytest.LogCaptureFixture
) -> None:
    # Given five orders a month of each customer
    def first_page() -> object:
        return reads.order_ids_page(OrderFilter(customer_id="c-7"), None, 20)

    assert months_read(first_page, caplog) <= {month(months) for months in range(6)}


def test_orders_of_two_months_by_id_read_two(past: Past, caplog: pytest.LogCaptureFixture) -> None:
    # What other tests did and undid is no part of a table's size.
    db.execute("VACUUM (ANALYZE) orders")
    ((other,),) = rows("SELECT id::text FROM orders WHERE placed_at < %s LIMIT 1", month_ago(23))

    def both() -> object:
        return reads.orders_by_id([other, *past.ids[:50]])

    assert months_read(both, caplog) == {month(24), month(12)}


def test_new_orders_read_no_partition(past: Past, caplog: pytest.LogCaptureFixture) -> None:
    # Writing goes to the partition of the month, without a look at the others.
    def place() -> object:
        row = orders.OrderRow(past.ids[0], datetime.now(UTC), "c", "confirmed", "EUR", 1, 1, {},
                              None, [])  # fmt: skip
        orders.insert([row])
        return None

    assert months_read(place, caplog) == set()
