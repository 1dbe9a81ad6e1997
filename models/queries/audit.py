"""The audit log: who did what, when, from where; the result is that of the command."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

from models.database import array, execute, fetch, reading, text_array
from models.queries.inbox import json_text, known_time

#: In the order of ids, so that two of them never wait for each other.
RECORD = """
INSERT INTO audit_log (command_id, at, key_id, key_name, address, agent, action, target, details)
SELECT * FROM unnest(%s::uuid[], %s::timestamptz[], %s::text[], %s::text[], %s::text[], %s::text[],
                     %s::text[], %s::text[], %s::jsonb[]) AS given (id)
ORDER BY id
ON CONFLICT (command_id) DO NOTHING
"""

PAGE = """
SELECT a.command_id::text, a.at, a.key_id, a.key_name, a.address, a.agent, a.action, a.target,
       a.details, c.status, c.decided_at, c.problem
FROM audit_log AS a LEFT JOIN commands AS c ON c.id = a.command_id
"""


class Entry(NamedTuple):
    """A change that a person asked for.

    target: `order:ID`, `sku:SKU`, `queue:NAME`, `actor:NAME`, `failure:ID` or `failures`;
    details: the command's own members.
    """

    command_id: str
    at: datetime
    key_id: str
    key_name: str
    address: str
    agent: str
    action: str
    target: str
    details: dict[str, Any]


class AuditRow(NamedTuple):
    """An entry and its result: `applied`, `rejected`, `failed` or `pending`, with the problem."""

    entry: Entry
    status: str | None
    decided_at: datetime | None
    problem: dict[str, Any] | None


class AuditFilter(NamedTuple):
    """What the log is narrowed to; None narrows nothing."""

    key_id: str | None = None
    key_name: str | None = None
    action: str | None = None
    target: str | None = None
    after: datetime | None = None
    before: datetime | None = None
    command_id: str | None = None


def record(entries: Sequence[Entry]) -> None:
    """Put entries on record, each once."""
    execute(
        RECORD,
        (
            array([entry.command_id for entry in entries]),
            array([known_time(entry.at).isoformat() for entry in entries]),
            *(
                text_array([getattr(entry, name) for entry in entries])
                for name in ("key_id", "key_name", "address", "agent", "action", "target")
            ),
            text_array([json_text(entry.details) for entry in entries]),
        ),
    )


def page(wanted: AuditFilter, after: tuple[datetime, str] | None, limit: int) -> list[AuditRow]:
    """Entries, newest first. after: `at` and `command_id` of the last one seen."""
    clauses: list[str] = []
    params: list[object] = []
    for clause, value in (
        ("a.key_id = %s", wanted.key_id),
        ("a.key_name = %s", wanted.key_name),
        ("a.action = %s", wanted.action),
        ("a.target = %s", wanted.target),
        ("a.at > %s", wanted.after),
        ("a.at < %s", wanted.before),
        ("a.command_id = %s", wanted.command_id),
    ):
        if value is not None:
            clauses.append(clause)
            params.append(value)
    if after is not None:
        clauses.append("(a.at, a.command_id) < (%s, %s::uuid)")
        params += after
    where = f"WHERE {' AND '.join(clauses)} " if clauses else ""
    with reading():
        rows = fetch(
            f"{PAGE}{where}ORDER BY a.at DESC, a.command_id DESC LIMIT %s", (*params, limit)
        )
    return [AuditRow(Entry(*row[:9]), *row[9:]) for row in rows]
