"""Bring a database up to date: Peewee's migration runner, one at a time by an advisory lock."""

import logging
import time
from pathlib import Path

import peewee
from playhouse.migrations import Runner

from models.database import database, discard_connection, execute, is_transient
from models.queries import locks, partitions
from models.session import UnfitDatabaseError

MIGRATIONS = Path(__file__).with_name("migrations")
LOOK_AGAIN_S = 0.1
#: Who waits for somebody else's migrations looks this often.
WAIT_S = 1.0

logger = logging.getLogger(__name__)


def migrate(partitions_ahead: int) -> list[str]:
    """Apply what is pending and make the partitions of the coming months.

    Returns the names of the migrations applied. Safe to run from many machines at once:
    the second waits for the first and then finds nothing to do.
    """
    # A migration may take longer than a request may.
    execute("SET statement_timeout = 0")
    execute("SET lock_timeout = '60s'")
    # Asked for again and again: a migration that builds an index waits for every statement that
    # goes on, and who waits in one for this lock would wait for that migration.
    while not locks.try_lock(locks.MIGRATION):
        time.sleep(LOOK_AGAIN_S)
    try:
        applied: list[str] = Runner(database, str(MIGRATIONS)).up()
        partitions.ensure(partitions_ahead)
    finally:
        # Ends the session, which gives the lock and the settings back.
        database.close()
    return applied


def wait() -> None:
    """Return when no migration of this version is pending, whatever a newer one has applied.

    A database that is away, or not there yet, is waited for, too.
    """
    said = ""
    while pending := _pending():
        if pending != said:
            logger.warning("Waiting for migrations: %s", pending)
            said = pending
        time.sleep(WAIT_S)


def _pending() -> str:
    try:
        migrations = Runner(database, str(MIGRATIONS)).status()
    except (peewee.DatabaseError, peewee.InterfaceError) as error:
        if not is_transient(error) or isinstance(error, UnfitDatabaseError):
            raise
        discard_connection()
        return str(error).strip()
    return ", ".join(each.name for each in migrations if each.path and not each.applied)
