"""What a key was first used for: kept in one statement whose commit nobody waits for."""

import os
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
