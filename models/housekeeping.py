"""Periodic work on the database: what has to be there before it is needed, what nobody needs."""

import logging

from models.database import reading
from models.queries import (
    attempts,
    clocks,
    locks,
    partitions,
    queue_stats,
    rate_limits,
    reconciliation,
    stats,
    undecided,
    workers,
)

logger = logging.getLogger(__name__)


def may_work() -> bool:
    """Whether this thread's connection has, or just got, the right to do the periodic work.

    It lasts as long as the connection does. To take it again is harmless.
    """
    with reading():
        return locks.try_lock(locks.CLOCK)


def run_once(partitions_ahead: int) -> None:
    """Make the partitions of the coming months; forget counters and figures that are old."""
    with reading():
        for name in partitions.ensure(partitions_ahead):
            logger.info("Made the partition %s.", name)
        rate_limits.forget_expired()
        attempts.forget_old()
        undecided.forget_old()
        stats.forget_old()
        queue_stats.forget_old()
        workers.forget_unseen()
        clocks.forget_unseen()
        reconciliation.forget_old()
