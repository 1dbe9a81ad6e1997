"""Messages that could not be processed, and the outcome `failed` of their commands."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from models.database import array, execute, fetch, text_array
from models.queries.inbox import CREDIBLE, Received, json_text
from models.rules.refusals import Refusal

INSERT = """
INSERT INTO dead_letters (message_id, queue, actor, attempts, error_class, error, traceback, body,
                          command_ids, failed_at)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s::uuid[], now())
"""

#: A command that was decided after all (by a duplicate of the message) keeps its outcome.
FAIL_COMMANDS = f"""
INSERT INTO commands AS c (id, kind, status, target, placed_at, decided_at, problem)
SELECT id, %s, 'failed', target, {CREDIBLE}, now(), %s::jsonb
FROM unnest(%s::uuid[], %s::text[], %s::timestamptz[]) AS given (id, target, placed_at)
ORDER BY id
ON CONFLICT (id) DO UPDATE
    SET status = 'failed', decided_at = excluded.decided_at, problem = excluded.problem
    WHERE c.status = 'pending'
RETURNING id::text, placed_at, xmax = 0
"""

REOPEN = """
UPDATE dead_letters SET requeued_at = now()
WHERE id = %s AND requeued_at IS NULL AND actor <> ''
RETURNING body, command_ids::text[]
"""

PENDING_AGAIN = """
UPDATE commands SET status = 'pending', problem = NULL
WHERE id = ANY (%s::uuid[]) AND status = 'failed'
"""

NEWEST = """
SELECT id, failed_at, queue, actor, attempts, error_class, error, cardinality(command_ids),
       requeued_at
FROM dead_letters ORDER BY failed_at DESC, id DESC LIMIT %s
"""


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A message that failed for good. body: the whole message as it was on the wire."""

    message_id: str
    queue: str
    actor: str
    attempts: int
    error_class: str
    error: str
    traceback: str
    body: bytes
    command_ids: Sequence[str]


def insert(letter: DeadLetter) -> None:
    """Put a dead letter on record."""
    execute(
        INSERT,
        (
            _storable(letter.message_id), _storable(letter.queue), _storable(letter.actor),
            letter.attempts, letter.error_class, _storable(letter.error),
            _storable(letter.traceback), letter.body, array(letter.command_ids),
        ),
    )  # fmt: skip


def fail_commands(kind: str, received: Sequence[Received], why: Refusal) -> dict[str, datetime]:
    """Set the outcome `failed`; returns what was never decided before: ids, when accepted."""
    unique = {command.id: command for command in received}
    rows = fetch(
        FAIL_COMMANDS,
        (
            kind,
            json_text(why.document()),
            array(list(unique)),
            text_array([command.target for command in unique.values()]),
            array([command.at.isoformat() for command in unique.values()]),
        ),
    )
    return {id_: at for id_, at, first in rows if first}


def reopen(letter_id: int) -> bytes | None:
    """Mark a letter as put back and its failed commands as pending; returns its message."""
    rows = fetch(REOPEN, (letter_id,))
    if not rows:
        return None
    body, command_ids = rows[0]
    execute(PENDING_AGAIN, (array(command_ids),))
    return bytes(body)


def newest(limit: int) -> list[tuple[object, ...]]:
    """(id, failed_at, queue, actor, attempts, error class, error, commands, requeued_at)."""
    return fetch(NEWEST, (limit,))


def _storable(text: str) -> str:
    """Text as PostgreSQL takes it: no NUL, no lone surrogates."""
    return text.replace("\x00", "\\0").encode(errors="backslashreplace").decode()
