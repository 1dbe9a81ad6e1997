"""What a key was first used for: kept in one statement whose commit nobody waits for."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread

import psycopg2

from models import database as db
from models import housekeeping
from models.queries import idempotency_keys, inbox
from models.queries.idempotency_keys import KeyRecall, KeyUse
from models.queries.inbox import Received
from tests.conftest import eventually
from tests.integration.workshop import new_id, now, rows


def use(key: str, body: str) -> KeyUse:
    return KeyUse(key * 32, body * 32, new_id())


def test_a_key_is_remembered_for_longer_than_30_days(database: None) -> None:
    first = use("0", "1")
    idempotency_keys.remember([first])
    db.execute("UPDATE idempotency_keys SET seen_at = now() - interval '31 days'")

    housekeeping.run_once(1)

    (recall,) = idempotency_keys.remember([first._replace(fingerprint="2" * 32)])
    assert recall.fingerprint == first.fingerprint


def test_of_keys_asked_for_together_each_has_its_own_answer(database: None) -> None:
    # Given a key whose command is decided, and one whose command is not
    decided, waiting, fresh = use("a", "1"), use("b", "2"), use("c", "3")
    idempotency_keys.remember([waiting, decided])
    with db.transaction():
        inbox.claim("place_order", [Received(decided.command_id, None, now())])

    # When they come again, with a fresh one, and twice the same
    found = idempotency_keys.remember(
        [fresh, decided, waiting, fresh._replace(fingerprint="4" * 32)]
    )

    # Then
    assert found == [
        KeyRecall("3" * 32, decided=False), KeyRecall("1" * 32, decided=True),
        KeyRecall("2" * 32, decided=False), KeyRecall("3" * 32, decided=False),
    ]  # fmt: skip


def test_of_two_front_doors_with_one_key_the_first_is_recalled_by_both(database: None) -> None:
    # Given another front door whose statement has written the key and not committed
    mine, found = use("d", "2"), []
    other = psycopg2.connect(os.environ["DATABASE_URL"])
    with other, other.cursor() as cursor:
        cursor.execute(
            "INSERT INTO idempotency_keys VALUES (%s, %s, %s, now())",
            ("d" * 32, "1" * 32, new_id()),
        )

        # When the same key comes here with another body, and waits for the other
        def ask() -> None:
            try:
                found.extend(idempotency_keys.remember([mine]))
            finally:
                db.discard_connection()

        asking = Thread(target=ask)
        asking.start()
        waiting = "SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
        eventually(lambda: rows(waiting), what="it waits for the other front door")
    other.close()
    asking.join()

    # Then it hears of the other's body
    assert found == [KeyRecall("1" * 32, decided=False)]


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


def test_nobody_waits_for_a_key_to_be_on_disk_and_for_everything_else(database: None) -> None:
    def unflushed() -> int:
        ((size,),) = rows("SELECT pg_current_wal_insert_lsn() - pg_current_wal_flush_lsn()")
        return int(size)

    with nothing_flushed_behind():
        # Given all is flushed
        commit()
        assert unflushed() == 0
        # When a key is remembered, then it is only in memory
        idempotency_keys.remember([use("e", "1")])
        assert unflushed() > 0
        # And the next transaction of the same session is on disk, with all before it
        assert rows("SHOW synchronous_commit") == [("on",)]
        commit()
        assert unflushed() == 0
