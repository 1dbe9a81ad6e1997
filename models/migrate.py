"""Bring a database up to date: Peewee's migration runner, one at a time by an advisory lock."""

from pathlib import Path

from playhouse.migrations import Runner

from models.database import database, execute
from models.queries import partitions

MIGRATIONS = Path(__file__).with_name("migrations")
#: Any constant does, as long as nothing else in this database takes it.
MIGRATION_LOCK = 4_207_849_163


def migrate(partitions_ahead: int) -> list[str]:
    """Apply what is pending and make the partitions of the coming months.

    Returns the names of the migrations applied. Safe to run from many machines at once:
    the second waits for the first and then finds nothing to do.
    """
    # A migration may take longer than a request may.
    execute("SET statement_timeout = 0")
    execute("SET lock_timeout = '60s'")
    execute("SELECT pg_advisory_lock(%s)", (MIGRATION_LOCK,))
    try:
        applied: list[str] = Runner(database, str(MIGRATIONS)).up()
        partitions.ensure(partitions_ahead)
    finally:
        # Ends the session, which gives the lock and the settings back.
        database.close()
    return applied
