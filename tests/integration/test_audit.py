"""The audit log takes no lock in another order than the commands it is about."""

from concurrent.futures import ThreadPoolExecutor

from actors import audit
from actors import dead_letters as letters
from actors.commands import ROUTES, MoveOrder
from actors.moves import move_orders
from models import database as db
from models.queries import inbox
from tests.conftest import eventually
from tests.integration.workshop import (
    OPERATOR,
    Workshop,
    for_actor,
    move,
    new_id,
    now,
    outcomes,
    rows,
)


def recorded(command: MoveOrder) -> None:
    try:
        letters.record(for_actor(move_orders, command), ValueError("a bug"), "")
    finally:
        db.discard_connection()


def test_a_failure_is_recorded_while_a_duplicate_is_decided(workshop: Workshop) -> None:
    """An actor claims a command, then notes who asked; so does the record of a failure."""
    command = move(new_id(), "shipped", origin=OPERATOR)
    with ThreadPoolExecutor(1) as pool:
        with db.transaction():
            inbox.claim(ROUTES[MoveOrder].kind, [inbox.Received(command.id, None, now())])
            recording = pool.submit(recorded, command)
            # It waits for the command; whatever it has of the log by now, this one needs.
            eventually(lambda: rows("SELECT 1 FROM pg_locks WHERE NOT granted"))
            audit.note([command])
        recording.result(60)

    assert outcomes([command]) == ["applied"]
    assert rows("SELECT command_id::text FROM audit_log") == [(command.id,)]
    assert rows("SELECT count(*) FROM dead_letters") == [(1,)]


def test_entries_are_written_in_the_order_of_their_ids(database: None) -> None:
    commands = [move(new_id(), "shipped", origin=OPERATOR) for _ in range(20)]

    audit.note(sorted(commands, key=lambda command: command.id, reverse=True))

    written = [id_ for (id_,) in rows("SELECT command_id::text FROM audit_log ORDER BY ctid")]
    assert written == sorted(command.id for command in commands)
