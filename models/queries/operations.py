"""Work on many failures: how far it is, kept with every step so that it can go on after a crash.

The command is `pending` in the inbox while the work goes on; its last step decides it.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

from models.database import array, execute, fetch, reading
from models.queries import locks
from models.queries.inbox import json_text, known_time

BEGIN = """
INSERT INTO commands (id, kind, status, target, placed_at, decided_at)
VALUES (%s, 'operate', 'pending', NULL, %s, now())
ON CONFLICT (id) DO NOTHING
"""

START = """
INSERT INTO operations (command_id, action, filter, total, done, skipped, last_id, started_at)
VALUES (%s, %s, %s::jsonb, %s, 0, 0, 0, now())
ON CONFLICT (command_id) DO NOTHING
"""

ADVANCE = """
UPDATE operations SET done = done + %s, skipped = skipped + %s, last_id = %s WHERE command_id = %s
"""

OPERATIONS = """
SELECT o.command_id::text, o.action, o.filter, o.total, o.done, o.skipped, o.last_id,
       o.started_at, o.finished_at, c.status
FROM operations AS o LEFT JOIN commands AS c ON c.id = o.command_id
"""

#: Work whose command failed stands still, until that is put back.
RUNNING = f"{OPERATIONS} WHERE o.finished_at IS NULL AND c.status = 'pending'"


class Operation(NamedTuple):
    """Work on many failures, in failures.

    action: `retry_failures` or `discard_failures`; skipped: seen and left as they are;
    status: of its command, `pending` while it goes on.
    """

    command_id: str
    action: str
    filter: dict[str, Any]
    total: int
    done: int
    skipped: int
    last_id: int
    started_at: datetime
    finished_at: datetime | None
    status: str | None


def begin(command_id: str, at: datetime) -> bool:
    """Enter a command into the inbox, undecided; whether it (still) is."""
    execute(BEGIN, (command_id, known_time(at)))
    rows = fetch("SELECT status FROM commands WHERE id = %s FOR UPDATE", (command_id,))
    return bool(rows[0][0] == "pending")


def start(command_id: str, action: str, wanted: object, total: int) -> None:
    """Note what is to be done, the first time."""
    execute(START, (command_id, action, json_text(wanted), total))


def started(command_id: str) -> bool:
    """Whether the work has begun before."""
    return bool(fetch("SELECT 1 FROM operations WHERE command_id = %s", (command_id,)))


def take_turn() -> bool:
    """Whether it is this step's turn, until its transaction ends. Nobody waits here for it.

    Steps of all such work take turns: a row that another step is settling would be seen as open.
    """
    return locks.try_lock_in_transaction(locks.STEPS)


def reached(command_id: str) -> int | None:
    """The last id of the steps so far, None when all is done."""
    rows = fetch(
        "SELECT last_id FROM operations WHERE command_id = %s AND finished_at IS NULL",
        (command_id,),
    )
    return rows[0][0] if rows else None


def others_run(command_id: str) -> bool:
    """Whether other work than a command's goes on."""
    with reading():
        ((others,),) = fetch(f"SELECT EXISTS ({RUNNING} AND o.command_id <> %s)", (command_id,))
    return bool(others)


def advance(command_id: str, done: int, skipped: int, last_id: int) -> None:
    """Note a step."""
    execute(ADVANCE, (done, skipped, last_id, command_id))


def finish(command_id: str) -> None:
    """Note that nothing is left to do."""
    execute("UPDATE operations SET finished_at = now() WHERE command_id = %s", (command_id,))


def one(command_id: str) -> Operation | None:
    """How far a command's work is; None where it has not begun."""
    with reading():
        rows = fetch(f"{OPERATIONS} WHERE o.command_id = %s", (command_id,))
    return Operation(*rows[0]) if rows else None


def some(command_ids: Sequence[str]) -> dict[str, Operation]:
    """How far the work of some commands is, by command; those that have begun."""
    with reading():
        rows = fetch(f"{OPERATIONS} WHERE o.command_id = ANY (%s::uuid[])", (array(command_ids),))
    return {row[0]: Operation(*row) for row in rows}


def running() -> list[Operation]:
    """What goes on, oldest first."""
    with reading():
        rows = fetch(f"{RUNNING} ORDER BY o.started_at LIMIT 100")
    return [Operation(*row) for row in rows]
