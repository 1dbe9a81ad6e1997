"""Monthly partitions, made ahead so that an insert never finds its month missing."""

from datetime import UTC, date, datetime

from models.database import execute, fetch

PARTITIONED = ("orders", "order_lines", "order_events", "stock_movements")


def months_around(today: date, ahead: int) -> list[date]:
    """The first days of last month (clocks differ), this one, and `ahead` more."""
    first = today.year * 12 + today.month - 1
    return [date(m // 12, m % 12 + 1, 1) for m in range(first - 1, first + ahead + 1)]


def ensure(ahead: int, *, today: date | None = None) -> list[str]:
    """Create the partitions that are missing; returns their names."""
    months = months_around(today or datetime.now(UTC).date(), ahead)
    existing = {name for (name,) in fetch("SELECT relname FROM pg_class WHERE relispartition")}
    made = []
    for start in months:
        end = months_around(start, 1)[-1]
        for table in PARTITIONED:
            name = f"{table}_{start:%Y_%m}"
            if name not in existing:
                execute(
                    f"CREATE TABLE IF NOT EXISTS {name} PARTITION OF {table} "
                    f"FOR VALUES FROM ('{start} 00:00+00') TO ('{end} 00:00+00')"
                )
                made.append(name)
    return made
