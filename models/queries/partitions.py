"""Monthly partitions: made ahead, so that an insert never finds its month missing; and listed.

To attach one, or to detach it concurrently, lets orders be placed meanwhile. `CREATE TABLE ..
PARTITION OF` would stop them all, for as long as it waits for the longest read.
"""

import logging
import re
from datetime import date, datetime
from typing import Final, NamedTuple

from models.database import execute, fetch, reading, server_error, transaction
from models.queries.retention import KEPT_FROM

logger = logging.getLogger(__name__)

PARTITIONED: Final = ("orders", "order_lines", "order_events", "stock_movements")

#: Also of a row whose month has no partition.
CHECK_VIOLATION: Final = "23514"

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

#: By the database's clock: this machine's may be months ahead.
TODAY = "SELECT (now() AT TIME ZONE 'UTC')::date"

NAMES = """
SELECT c.relname FROM pg_inherits AS i JOIN pg_class AS c ON c.oid = i.inhrelid
WHERE i.inhparent = ANY (%s::regclass[])
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
    return [name_of(*each) for each in _missing(ahead, today) if _make(*each)]


@reading()
def missing(ahead: int) -> list[str]:
    """The names of those that are not there, from this month on."""
    ((now,),) = fetch(TODAY)
    return [name_of(*each) for each in _missing(ahead, None) if each[1] >= now.replace(day=1)]


def _missing(ahead: int, today: date | None) -> list[tuple[str, date]]:
    """By table and month."""
    ((now,),) = fetch(TODAY)
    existing = {name for (name,) in fetch(NAMES, (list(PARTITIONED),))}
    return [
        (table, month)
        for month in months_around(today or now, ahead)
        for table in PARTITIONED
        if name_of(table, month) not in existing
    ]


def make_missing(error: BaseException) -> bool:
    """Make the month that a row did not find; whether what failed for want of it may work now.

    Not where a month is no longer kept. Raises where it can't be made.
    """
    said = server_error(error)
    # Of a row that breaks a CHECK, PostgreSQL names that.
    if said is None or said.pgcode != CHECK_VIOLATION or said.diag.constraint_name is not None:
        return False
    when = re.search(r"= \((\d{4})-(\d\d)-\d\d", said.diag.message_detail or "")
    if said.diag.table_name not in PARTITIONED or when is None:
        return False
    month = date(int(when[1]), int(when[2]), 1)
    with reading():
        ((kept,),) = fetch(f"SELECT %s::date::timestamptz >= {KEPT_FROM}", (month,))
    if kept:
        made = [name_of(table, month) for table in PARTITIONED if _make(table, month)]
        logger.warning("A row belongs to a month without partitions; made them now: %s", made)
    return bool(kept)


def _make(table: str, month: date) -> bool:
    """Whether it was not there yet: another process may make the same."""
    name, end = name_of(table, month), month_from(month_number(month) + 1)
    with transaction():
        # One after the other; nobody else who reads or writes waits for it.
        execute(f"LOCK TABLE ONLY {table} IN SHARE UPDATE EXCLUSIVE MODE")
        if (name,) in fetch(NAMES, ([table],)):
            return False
        execute(f"CREATE TABLE {name} (LIKE {table} INCLUDING DEFAULTS INCLUDING CONSTRAINTS)")
        execute(
            f"ALTER TABLE {table} ATTACH PARTITION {name} "
            f"FOR VALUES FROM ('{month} 00:00+00') TO ('{end} 00:00+00')"
        )
    return True
