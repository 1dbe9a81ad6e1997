"""A past: trade of today made older, and the partitions that it would have had."""

import sys
from datetime import UTC, datetime
from typing import Any

from config import settings
from models import database as db
from models import retention
from models.database import configure
from models.queries import partitions, reconciliation
from models.queries.partitions import PARTITIONED, month_from, month_number
from models.retention import Policy
from tests.integration.workshop import rows

AGED = {
    "commands": ("placed_at", "decided_at"),
    "orders": ("placed_at", "updated_at"),
    "order_lines": ("placed_at",),
    "order_events": ("placed_at", "at"),
    "stock_movements": ("at",),
}
#: How far back there are partitions.
MONTHS = 5


def month_ago(months: int) -> datetime:
    """When the month began that was so many months ago."""
    first = month_from(month_number(datetime.now(UTC)) - months)
    return datetime(first.year, first.month, 1, tzinfo=UTC)


def make_partitions() -> None:
    # Each with the month before it.
    for months in range(1, MONTHS):
        partitions.ensure(1, today=month_ago(months).date())


def drop_partitions() -> None:
    """Those of the past, as they are, attached or not."""
    for each in partitions.every():
        if each.name < f"{each.table}_{month_ago(1):%Y_%m}":
            db.execute(f"DROP TABLE {each.name}")


def age(months: int = 1) -> None:
    """Make all that was traded so far older."""
    for table, columns in AGED.items():
        older = ", ".join(f"{column} = {column} - interval '{months} months'" for column in columns)
        db.execute(f"UPDATE {table} SET {older}")


def keep(months: int | None, action: str = "drop", folder: Any = None) -> Policy:
    return Policy(months, action, folder)


def applied(policy: Policy) -> dict[str, str]:
    """Apply; what was done or not, by month."""
    return {step.month: step.does for step in retention.apply(policy)}


def differences() -> dict[str, list[str]]:
    """What the books say against each other, by check."""
    return {
        each.check: [example.line for example in each.examples]
        for each in reconciliation.look()
        if each.differences
    }


def name(months: int) -> str:
    """A month as people write it."""
    return f"{month_ago(months):%Y-%m}"


def tables_of(months: int) -> set[str]:
    """What is left of a month: attached or not."""
    names = [partitions.name_of(table, month_ago(months)) for table in PARTITIONED]
    return {
        found for (found,) in rows("SELECT relname FROM pg_class WHERE relname = ANY (%s)", names)
    }


def attached(months: int) -> set[str]:
    return tables_of(months) & {
        found for (found,) in rows("SELECT relname FROM pg_class WHERE relispartition")
    }


if __name__ == "__main__":
    # For the database of a system of processes.
    configure(settings(), application_name="history")
    make_partitions()
    age(int(sys.argv[1]))
