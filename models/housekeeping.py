"""Periodic work: what has to be there before it is needed, and what nobody needs any more."""

import logging
import signal
from threading import Event

import peewee

from models.database import database, execute, reading
from models.queries import partitions, rate_limits

logger = logging.getLogger(__name__)

#: Held while one process works; another waits, and then finds nothing to do.
HOUSEKEEPING_LOCK = 4_207_849_164


def run_for_ever(partitions_ahead: int, every_s: float, stop: Event) -> None:
    """Do the periodic work until SIGTERM or SIGINT. A fault is logged and tried again."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    while not stop.is_set():
        pause_s = every_s
        try:
            run_once(partitions_ahead)
        except (peewee.DatabaseError, peewee.InterfaceError) as error:
            logger.warning("Housekeeping failed and is tried again: %s", error)
            pause_s = 10.0
        stop.wait(pause_s)


def run_once(partitions_ahead: int) -> None:
    """Make the partitions of the coming months; forget expired counters."""
    with reading():
        execute("SELECT pg_advisory_lock(%s)", (HOUSEKEEPING_LOCK,))
        try:
            for name in partitions.ensure(partitions_ahead):
                logger.info("Made the partition %s.", name)
            rate_limits.forget_expired()
        finally:
            database.close()
