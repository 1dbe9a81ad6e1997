"""Failures as operators look for them: in groups, in pages, one by one. Every list is bounded."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple

import msgspec

from models.database import Row, array, execute, fetch, reading, text_array, transaction
from models.rules.signing import content_of

#: Kinds of errors are few; a list beyond this helps nobody.
GROUPS_MAX = 200
OF_COMMANDS_MAX = 200
#: Of PostgreSQL's bigint.
ID_MAX = 2**63 - 1
TREND_HOURS_MAX = 168

# One pass over an index gives counts, times and the trend; hours are counted back from now.
GROUPS = """
SELECT actor, error_class, count(*), min(first_failed_at), max(failed_at), max(id), hours_ago
FROM (
    SELECT actor, error_class, first_failed_at, failed_at, id,
           least(%s, greatest(0, floor(date_part('epoch', now() - failed_at) / 3600)))::int
               AS hours_ago
    FROM dead_letters WHERE {conditions}
) AS matching
GROUP BY actor, error_class, hours_ago
"""

EXAMPLES = """
SELECT id, left(error, 300) FROM dead_letters WHERE id = ANY (%s::bigint[])
"""

COUNT = "SELECT count(*), coalesce(max(id), 0) FROM dead_letters WHERE {conditions}"

#: Only words that have to be there are looked up in the index: with none (`-boom`), every row
#: would be read. The second part is known before any row is, and spares that.
NEEDS_A_WORD = "querytree(websearch_to_tsquery('simple', %s)) NOT IN ('', 'T')"
WORDS = f"words @@ websearch_to_tsquery('simple', %s) AND {NEEDS_A_WORD}"

#: The latest ones: what was settled longer ago was none of those that were open.
SETTLED_BY_OTHERS = """
SELECT state, count(*) FROM (
    SELECT state FROM dead_letters
    WHERE state <> 'failed' AND settled_by IS DISTINCT FROM %s AND settled_at > %s AND {conditions}
    ORDER BY settled_at DESC LIMIT %s
) AS latest GROUP BY state
"""

SUMMARY = """
SELECT id, failed_at, first_failed_at, queue, actor, attempts, error_class, left(error, 300),
       cardinality(command_ids), subjects[1:20], trace_id, state, settled_at, settled_by::text,
       discard_reason
FROM dead_letters
"""

ONE = """
SELECT id, failed_at, first_failed_at, queue, actor, attempts, error_class, error,
       cardinality(command_ids), subjects, trace_id, state, settled_at, settled_by::text,
       discard_reason, message_id, traceback, body, command_ids::text[]
FROM dead_letters WHERE id = %s
"""


class FailureQuery(NamedTuple):
    """What a list of failures is narrowed to; None narrows nothing.

    up_to_id: none that came later; text: as a search engine takes it, which finds nothing where no
    word has to be there (see can_be_found); state: `failed` (open), `retried` or `discarded`, None
    for all.
    """

    up_to_id: int | None = None
    ids: Sequence[int] | None = None
    actor: str | None = None
    queue: str | None = None
    error_class: str | None = None
    subject: str | None = None
    text: str | None = None
    failed_after: datetime | None = None
    failed_before: datetime | None = None
    state: str | None = "failed"


@dataclass(frozen=True, slots=True)
class Group:
    """Failures of one kind. trend: failures per hour, the last hour last; example: an error."""

    actor: str
    error_class: str
    count: int
    first_at: datetime
    last_at: datetime
    newest_id: int
    example: str
    trend: list[int]


class FailureRow(NamedTuple):
    """A failure in a list; error is cut, subjects are the first few. commands: how many."""

    id: int
    failed_at: datetime
    first_failed_at: datetime
    queue: str
    actor: str
    attempts: int
    error_class: str
    error: str
    commands: int
    subjects: list[str]
    trace_id: str
    state: str
    settled_at: datetime | None
    settled_by: str | None
    discard_reason: str | None


class Failure(NamedTuple):
    """All of a failure. arguments: the message's, decoded, None where it can't be read."""

    summary: FailureRow
    message_id: str
    traceback: str
    body: bytes
    command_ids: list[str]
    arguments: Any


def conditions(wanted: FailureQuery) -> tuple[str, list[object]]:
    """The WHERE of a query: constant text, and its parameters."""
    clauses: list[str] = []
    params: list[object] = []
    for clause, value in (
        ("state = %s", wanted.state),
        ("id <= %s", wanted.up_to_id),
        ("id = ANY (%s::bigint[])", _numbers(wanted.ids)),
        ("actor = %s", wanted.actor),
        ("queue = %s", wanted.queue),
        ("error_class = %s", wanted.error_class),
        (
            "subjects @> %s::text[]",
            None if wanted.subject is None else text_array([wanted.subject]),
        ),
        (WORDS, wanted.text),
        ("failed_at > %s", wanted.failed_after),
        ("failed_at < %s", wanted.failed_before),
    ):
        if value is not None:
            clauses.append(clause)
            params += [value] * clause.count("%s")
    return " AND ".join(clauses) or "true", params


def can_be_found(text: str) -> bool:
    """Whether at least one word has to be there, so that a search for the text makes sense."""
    with reading():
        ((found,),) = fetch(f"SELECT {NEEDS_A_WORD}", (text,))
    return bool(found)


def _numbers(ids: Sequence[int] | None) -> str | None:
    return None if ids is None else array([str(id_) for id_ in ids if id_ <= ID_MAX])


@contextmanager
def _reading_all(wanted: FailureQuery) -> Iterator[None]:
    """Reads of all that match. Words are searched by their index: to read those of every row costs
    far more than the planner believes, since they are stored out of line.
    """
    if wanted.text is None:
        with reading():
            yield
        return
    with reading(), transaction():
        execute("SET LOCAL enable_seqscan = off")
        yield


def groups(wanted: FailureQuery, trend_hours: int = 24) -> list[Group]:
    """Failures by actor and error class, the largest group first."""
    hours = min(trend_hours, TREND_HOURS_MAX)
    text, params = conditions(wanted)
    with _reading_all(wanted):
        found: dict[tuple[str, str], list[Row]] = {}
        for row in fetch(GROUPS.format(conditions=text), (hours, *params)):
            found.setdefault((row[0], row[1]), []).append(row)
        largest = sorted(found.values(), key=lambda parts: -sum(part[2] for part in parts))
        kept = largest[:GROUPS_MAX]
        newest = [max(part[5] for part in parts) for parts in kept]
        examples: dict[int, str] = dict(fetch(EXAMPLES, (_numbers(newest),)))
    return [_group(parts, examples, hours) for parts in kept]


def _group(parts: Sequence[Row], examples: dict[int, str], hours: int) -> Group:
    by_hour = {part[6]: part[2] for part in parts}
    newest = max(part[5] for part in parts)
    return Group(
        actor=parts[0][0],
        error_class=parts[0][1],
        count=sum(part[2] for part in parts),
        first_at=min(part[3] for part in parts),
        last_at=max(part[4] for part in parts),
        newest_id=newest,
        example=examples.get(newest, ""),
        trend=[by_hour.get(ago, 0) for ago in reversed(range(hours))],
    )


def count(wanted: FailureQuery) -> tuple[int, int]:
    """(how many match, the highest id among them, 0 for none)"""
    text, params = conditions(wanted)
    with _reading_all(wanted):
        ((matching, max_id),) = fetch(COUNT.format(conditions=text), params)
    return matching, max_id


def settled_by_others(
    wanted: FailureQuery, command_id: str, since: datetime | None, limit: int
) -> dict[str, int]:
    """How many failures other commands than this one settled, by state. since: None for ever."""
    text, params = conditions(wanted._replace(state=None))
    params = [command_id, since or datetime.min.replace(tzinfo=UTC), *params, limit]
    with _reading_all(wanted):
        return dict(fetch(SETTLED_BY_OTHERS.format(conditions=text), params))


def page(wanted: FailureQuery, after: tuple[datetime, int] | None, limit: int) -> list[FailureRow]:
    """Failures, newest first. after: `failed_at` and `id` of the last one seen."""
    text, params = conditions(wanted)
    if after is not None:
        text += " AND (failed_at, id) < (%s, %s)"
        params += after
    with reading():
        rows = fetch(
            f"{SUMMARY} WHERE {text} ORDER BY failed_at DESC, id DESC LIMIT %s", (*params, limit)
        )
    return [FailureRow(*row) for row in rows]


def one(failure_id: int) -> Failure | None:
    """All of one failure."""
    with reading():
        rows = fetch(ONE, (failure_id,))
    if not rows:
        return None
    message_id, traceback, body, command_ids = rows[0][15:]
    return Failure(
        FailureRow(*rows[0][:15]), message_id, traceback, bytes(body), command_ids,
        _arguments(bytes(body)),
    )  # fmt: skip


def _arguments(body: bytes) -> Any:
    try:
        return msgspec.json.decode(content_of(body))["kwargs"]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, KeyError, TypeError):
        return None


def for_commands(command_ids: Sequence[str]) -> list[FailureRow]:
    """The failures of these commands, oldest first."""
    with reading():
        rows = fetch(
            f"{SUMMARY} WHERE command_ids && %s::uuid[] ORDER BY id LIMIT %s",
            (array(command_ids), OF_COMMANDS_MAX),
        )
    return [FailureRow(*row) for row in rows]
