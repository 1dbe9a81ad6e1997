"""What nobody waits for: keys and counters are in memory first, and everything else is on disk."""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from models import database as db
from models.queries import idempotency_keys, inbox, rate_limits
from models.queries.idempotency_keys import KeyUse
from models.queries.inbox import Received
from tests.integration.workshop import new_id, now, rows

UNFLUSHED: dict[str, Callable[[], object]] = {
    "a key": lambda: idempotency_keys.remember([KeyUse("e" * 32, "1" * 32, new_id())]),
    "a new counter": lambda: rate_limits.add("new", 1, 60_000),
    "a counter that rises": lambda: rate_limits.increase("there", 1, 10, 60_000),
    "a counter that falls": lambda: rate_limits.decrease("there", 1, 0, 60_000),
    "a counter below a sum": lambda: rate_limits.increase_below_sum("w@1", ["w@1"], 1, 9, 60_000),
    "a counter that goes": lambda: rate_limits.take("there"),
}


def commit() -> None:
    with db.transaction():
        inbox.claim("place_order", [Received(new_id(), None, now())])


@contextmanager
def nothing_flushed_behind() -> Iterator[None]:
    """PostgreSQL's process that flushes what nobody waits for holds still."""
    ((pid,),) = rows("SELECT pid FROM pg_stat_activity WHERE backend_type = 'walwriter'")
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def position(function: str) -> int:
    """A position in the log: how far it is written, or on disk."""
    ((bytes_,),) = rows(f"SELECT {function}() - '0/0'::pg_lsn")
    return int(bytes_)


@pytest.mark.parametrize("what", UNFLUSHED)
def test_nobody_waits_for_it_to_be_on_disk_and_for_everything_else(
    database: None, what: str
) -> None:
    rate_limits.add("there", 5, 60_000)
    with nothing_flushed_behind():
        # When it is written, then it is only in memory
        UNFLUSHED[what]()
        written = position("pg_current_wal_insert_lsn")
        assert position("pg_current_wal_flush_lsn") < written
        # And the next transaction of the same session is on disk, with all before it
        assert rows("SHOW synchronous_commit") == [("on",)]
        commit()
        assert position("pg_current_wal_flush_lsn") >= written
