"""Commands that an attempt failed to decide: kept until they are decided, and read without those.

Nothing is done here when a command is decided: whoever reads leaves out what `commands` has an
outcome of, and the clock removes it.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Final, NamedTuple

from models.database import Row, array, execute, fetch, reading, text_array, transaction
from models.rules.ascii_text import from_ascii, to_ascii

NOTE = """
INSERT INTO undecided AS u (command_id, kind, actor, queue, message_id, target, customer_id, skus,
                            accepted_at, body, attempts, first_at, last_at, error_class, error)
SELECT command_id, %s, %s, %s, %s, target, customer_id, skus::text[],
       accepted_at, body, 1, now(), now(), %s, %s
FROM unnest(%s::uuid[], %s::text[], %s::text[], %s::text[], %s::timestamptz[], %s::text[])
     AS given (command_id, target, customer_id, skus, accepted_at, body)
ORDER BY command_id
ON CONFLICT (command_id) DO UPDATE
SET attempts = u.attempts + 1, last_at = excluded.last_at, message_id = excluded.message_id,
    error_class = excluded.error_class, error = excluded.error
"""

#: The class of what is no error: the command was put back.
WAITS: Final = "Waits"
#: A command that an operator put back has an outcome of `pending`: that is none. A move that waits
#: for its order was tried, and nothing stops it.
OPEN: Final = """
NOT EXISTS (SELECT FROM commands AS c WHERE c.id = u.command_id AND c.status <> 'pending')
AND NOT EXISTS (SELECT FROM waiting_moves AS w WHERE w.command_id = u.command_id)
"""

SELECT = f"""
SELECT command_id::text, kind, actor, queue, message_id, target, customer_id, skus, accepted_at,
       attempts, first_at, last_at, error_class, error
FROM undecided AS u WHERE {OPEN}
"""

#: For some commands, decided or not: who asks knows.
BODIES = "SELECT command_id::text, body FROM undecided WHERE command_id = ANY (%s::uuid[])"

FIGURES = f"""
SELECT actor, count(*), extract(epoch FROM now() - min(first_at))::float8,
       count(*) FILTER (WHERE last_at - first_at > %s * interval '1 s' AND error_class <> '{WAITS}')
FROM undecided AS u WHERE {OPEN} GROUP BY actor ORDER BY actor
"""

FORGET = f"""
DELETE FROM undecided AS u
WHERE NOT ({OPEN}) OR last_at < now() - %s * interval '1 day'
"""

#: A command that is neither tried nor decided for so long is in no queue any more.
KEPT_DAYS: Final = 30


class Undecided(NamedTuple):
    """A command and what stopped the last attempt. customer_id: None of what no customer asked for.

    attempts: how many failed or were put back; first_at, last_at: the first and the
    last of them; error: one line.
    """

    command_id: str
    kind: str
    actor: str
    queue: str
    message_id: str
    target: str | None
    customer_id: str | None
    skus: list[str]
    accepted_at: datetime
    attempts: int
    first_at: datetime
    last_at: datetime
    error_class: str
    error: str


class Attempted(NamedTuple):
    """A command as `note` keeps it. body: as JSON in ASCII, None where that is too long."""

    command_id: str
    target: str | None
    customer_id: str | None
    skus: Sequence[str]
    accepted_at: datetime
    body: str | None


class Figures(NamedTuple):
    """How many commands of an actor are undecided; overdue: those failing for long."""

    commands: int
    oldest_s: float
    overdue: int


def note(
    kind: str, actor: str, queue: str, message_id: str, commands: Sequence[Attempted],
    error_class: str, error: str,
) -> None:  # fmt: skip
    """Note an attempt that failed at commands of one message, in a transaction of its own."""
    names = [to_ascii(text) for text in (kind, actor, queue, message_id, error_class, error)]
    unique = {command.command_id: command for command in commands}.values()
    with transaction():
        execute(
            NOTE,
            (
                *names,
                array([command.command_id for command in unique]),
                text_array([_ascii(command.target) for command in unique]),
                text_array([_ascii(command.customer_id) for command in unique]),
                text_array([text_array([to_ascii(s) for s in command.skus]) for command in unique]),
                array([command.accepted_at.isoformat() for command in unique]),
                text_array([command.body for command in unique]),
            ),
        )


def page(
    *, kind: str | None = None, customer_id: str | None = None,
    command_ids: Sequence[str] | None = None,
    after: tuple[datetime, str] | None = None, limit: int,
) -> list[Undecided]:  # fmt: skip
    """Commands that are not decided, those accepted last first.

    after: `accepted_at` and `command_id` of the last one seen.
    """
    text, params = SELECT, list[object]()
    for clause, value in (
        ("kind = %s", kind),
        ("customer_id = %s", _ascii(customer_id)),
        ("command_id = ANY (%s::uuid[])", None if command_ids is None else array(command_ids)),
    ):
        if value is not None:
            text += f" AND {clause}"
            params.append(value)
    if after is not None:
        text += " AND (accepted_at, command_id) < (%s, %s::uuid)"
        params += after
    with reading():
        rows = fetch(f"{text} ORDER BY accepted_at DESC, command_id DESC LIMIT %s",
                     (*params, limit))  # fmt: skip
    return [_row(row) for row in rows]


@reading()
def bodies(command_ids: Sequence[str]) -> dict[str, str]:
    """The commands themselves as JSON, by id; without those that were too long."""
    found = fetch(BODIES, (array(command_ids),))
    return {id_: body for id_, body in found if body is not None}


@reading()
def figures(overdue_s: float = 60.0) -> dict[str, Figures]:
    """How many commands are not decided though they were tried, by actor."""
    return {actor: Figures(*rest) for actor, *rest in fetch(FIGURES, (overdue_s,))}


@reading()
def forget_old() -> int:
    """Remove what was decided, or is in no queue any more; returns how many."""
    return execute(FORGET, (KEPT_DAYS,))


def _row(row: Row) -> Undecided:
    found = Undecided(*row)
    return found._replace(
        customer_id=None if found.customer_id is None else from_ascii(found.customer_id),
        skus=[from_ascii(sku) for sku in found.skus],
        error=from_ascii(found.error),
    )


def _ascii(text: str | None) -> str | None:
    return None if text is None else to_ascii(text)
