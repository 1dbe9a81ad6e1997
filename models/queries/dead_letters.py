"""Messages that could not be processed, and the outcome `failed` of their commands."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from models.database import array, execute, fetch, text_array
from models.queries.failures import FailureQuery, conditions
from models.queries.inbox import CREDIBLE, Received, json_text, known_time
from models.queries.undecided import WAITS
from models.rules.refusals import Refusal

# A first failure that is told from the future is now; clocks differ.
INSERT = """
INSERT INTO dead_letters (message_id, queue, actor, attempts, error_class, error, traceback, body,
                          command_ids, subjects, trace_id, first_failed_at, failed_at)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s::uuid[], %s::text[], %s,
        least(to_timestamp(%s::double precision / 1000), now()), now())
"""

#: One that is being settled is left alone: what fails now is another failure.
COUNT_AGAIN = """
UPDATE dead_letters SET attempts = attempts + %s, failed_at = now()
WHERE id = (
    SELECT id FROM dead_letters
    WHERE state = 'failed' AND actor = %s AND command_ids @> %s::uuid[]
    ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED
)
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

TAKE = """
SELECT id, queue, actor, body FROM dead_letters
WHERE id > %s AND {conditions} ORDER BY id LIMIT %s FOR UPDATE
"""

SETTLE = """
UPDATE dead_letters
SET state = %s, settled_at = now(), settled_by = %s, discard_reason = %s
WHERE id = ANY (%s::bigint[]) AND state = 'failed'
RETURNING command_ids::text[]
"""

#: In the inbox's own order, so that no deadlock comes of it.
PENDING_AGAIN = """
UPDATE commands SET status = 'pending', problem = NULL
WHERE id IN (
    SELECT id FROM commands
    WHERE id = ANY (%s::uuid[]) AND status = 'failed'
    ORDER BY id FOR UPDATE
)
"""


#: Their attempts begin anew: how long the earlier ones lasted is no reason for an alarm now.
UNDECIDED_ANEW = f"""
UPDATE undecided
SET attempts = 0, first_at = now(), last_at = now(),
    error_class = '{WAITS}', error = 'It was put back, and has not been tried since.'
WHERE command_id IN (
    SELECT command_id FROM undecided
    WHERE command_id = ANY (%s::uuid[])
    ORDER BY command_id FOR UPDATE
)
"""


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A message that failed for good.

    body: the whole message, as it was on the wire where it has no actor, else without its
    signature; subjects: what it is about (see
    actors/subjects.py); first_failed_ms: since 1970.
    """

    message_id: str
    queue: str
    actor: str
    attempts: int
    error_class: str
    error: str
    traceback: str
    body: bytes
    command_ids: Sequence[str]
    subjects: Sequence[str]
    trace_id: str
    first_failed_ms: int


class Taken(NamedTuple):
    """A dead letter about to be settled, locked until the transaction ends."""

    id: int
    queue: str
    actor: str
    body: bytes


def insert(letter: DeadLetter) -> None:
    """Put a dead letter on record."""
    execute(
        INSERT,
        (
            _storable(letter.message_id), _storable(letter.queue), _storable(letter.actor),
            letter.attempts, letter.error_class, _storable(letter.error),
            _storable(letter.traceback), letter.body, array(letter.command_ids),
            text_array([_storable(subject) for subject in letter.subjects]), letter.trace_id,
            letter.first_failed_ms,
        ),
    )  # fmt: skip


def count_again(letter: DeadLetter) -> bool:
    """Add the attempts to an open letter of the actor that names all these commands, if any."""
    if not letter.command_ids:
        return False
    ids = array(letter.command_ids)
    return execute(COUNT_AGAIN, (letter.attempts, _storable(letter.actor), ids)) > 0


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
            array([known_time(command.at).isoformat() for command in unique.values()]),
        ),
    )
    return {id_: at for id_, at, first in rows if first}


def take(wanted: FailureQuery, after_id: int, limit: int) -> list[Taken]:
    """Lock the next letters that match, in the order of their ids."""
    text, params = conditions(wanted)
    rows = fetch(TAKE.format(conditions=text), (after_id, *params, limit))
    return [Taken(id_, queue, actor, bytes(body)) for id_, queue, actor, body in rows]


def settle_as_retried(ids: Sequence[int], command_id: str) -> None:
    """Mark letters as put back, and their failed commands as pending."""
    settled = fetch(SETTLE, ("retried", command_id, None, array([str(id_) for id_ in ids])))
    # By id: if PostgreSQL planned for tables that were nearly empty, to join them with the letters
    # can take longer than a statement may.
    commands = array([id_ for (of_letter,) in settled for id_ in of_letter])
    execute(PENDING_AGAIN, (commands,))
    execute(UNDECIDED_ANEW, (commands,))


def settle_as_discarded(ids: Sequence[int], command_id: str, reason: str) -> None:
    """Mark letters as discarded; their commands stay failed."""
    execute(SETTLE, ("discarded", command_id, reason, array([str(id_) for id_ in ids])))


def _storable(text: str) -> str:
    """Text as PostgreSQL takes it: no NUL, no lone surrogates."""
    return text.replace("\x00", "\\0").encode(errors="backslashreplace").decode()
