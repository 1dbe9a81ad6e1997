"""Monthly partitions: made ahead, so that an insert never finds its month missing; and listed.

To attach one, or to detach it concurrently, lets orders be placed meanwhile. `CREATE TABLE ..
PARTITION OF` would stop them all, for as long as it waits for the longest read.
"""

from datetime import UTC, date, datetime
from typing import Final, NamedTuple

from models.database import execute, fetch, reading, transaction

PARTITIONED: Final = ("orders", "order_lines", "order_events", "stock_movements")

# One that was detached is known by its name.
EVERY = r"""
WITH parent AS (SELECT name, name::regclass::oid AS oid FROM unnest(%s::text[]) AS name),
bound AS (
    SELECT p.name AS parent, c.oid, c.relname, c.reltuples, i.inhdetachpending,
           regexp_match(pg_get_expr(c.relpartbound, c.oid),
                        'FROM \(''([^'']+)''\) TO \(''([^'']+)''\)') AS range
    FROM parent AS p JOIN pg_inherits AS i ON i.inhparent = p.oid
    JOIN pg_class AS c ON c.oid = i.inhrelid
    UNION ALL
    SELECT p.name, c.oid, c.relname, c.reltuples, NULL, NULL
    FROM parent AS p JOIN pg_class AS c ON c.relname ~ ('^' || p.name || '_\d{4}_\d\d$')
    WHERE c.relkind = 'r' AND NOT c.relispartition AND pg_table_is_visible(c.oid)
)
SELECT parent, relname, range[1]::timestamptz, range[2]::timestamptz,
       nullif(reltuples, -1)::bigint, pg_total_relation_size(oid), inhdetachpending
FROM bound ORDER BY array_position(%s::text[], parent), relname
"""


class Partition(NamedTuple):
    """One table's rows of a time.

    starts_at, ends_at: None where it is detached, or no range; rows: an estimate, None before the
    first ANALYZE; detaching: whether that was begun and broken off, None where it is done.
    """

    table: str
    name: str
    starts_at: datetime | None
    ends_at: datetime | None
    rows: int | None
    bytes: int
    detaching: bool | None


def months_around(today: date, ahead: int) -> list[date]:
    """The first days of last month (clocks differ), this one, and `ahead` more."""
    first = month_number(today)
    return [month_from(m) for m in range(first - 1, first + ahead + 1)]


def month_number(day: date) -> int:
    """Months counted, to calculate with."""
    return day.year * 12 + day.month - 1


def month_from(number: int) -> date:
    """The first day of a month that was counted."""
    return date(number // 12, number % 12 + 1, 1)


def name_of(table: str, month: date | datetime) -> str:
    """What the partition of a month is called."""
    return f"{table}_{month:%Y_%m}"


@reading()
def every() -> list[Partition]:
    """All partitions, and what was one, by table and name."""
    tables = list(PARTITIONED)
    return [Partition(*row) for row in fetch(EVERY, (tables, tables))]


def ensure(ahead: int, *, today: date | None = None) -> list[str]:
    """Create the partitions that are missing; returns their names."""
    months = months_around(today or datetime.now(UTC).date(), ahead)
    existing = {name for (name,) in fetch("SELECT relname FROM pg_class WHERE relispartition")}
    return [
        name_of(table, month)
        for month in months
        for table in PARTITIONED
        if name_of(table, month) not in existing and _make(table, month)
    ]


def _make(table: str, month: date) -> bool:
    """Whether it was not there yet: another process may make the same."""
    name, end = name_of(table, month), month_from(month_number(month) + 1)
    with transaction():
        # One after the other; nobody else who reads or writes waits for it.
        execute(f"LOCK TABLE ONLY {table} IN SHARE UPDATE EXCLUSIVE MODE")
        if fetch("SELECT FROM pg_class WHERE relname = %s AND relispartition", (name,)):
            return False
        execute(f"CREATE TABLE {name} (LIKE {table} INCLUDING DEFAULTS INCLUDING CONSTRAINTS)")
        execute(
            f"ALTER TABLE {table} ATTACH PARTITION {name} "
            f"FOR VALUES FROM ('{month} 00:00+00') TO ('{end} 00:00+00')"
        )
    return True
