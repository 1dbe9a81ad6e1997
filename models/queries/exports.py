"""Everything about many failures, a piece at a time, so that no export is too large."""

from datetime import datetime
from typing import NamedTuple

from models.database import fetch, reading
from models.queries.failures import FailureQuery, conditions

ROWS_MAX = 500
#: Of bodies and tracebacks in one piece, but for its first failure: a message may have a megabyte.
BYTES_MAX = 256 * 1024

# Sizes are known without reading what is stored out of line.
PIECE = """
SELECT id, state, first_failed_at, failed_at, attempts, actor, queue, error_class, error, traceback,
       trace_id, message_id, command_ids, subjects, body, settled_at, settled_by, discard_reason
FROM (
    SELECT id, state, first_failed_at, failed_at, attempts, actor, queue, error_class, error,
           traceback, trace_id, message_id, command_ids::text[] AS command_ids, subjects, body,
           settled_at, settled_by::text AS settled_by, discard_reason,
           sum(octet_length(body) + octet_length(traceback)) OVER (ORDER BY id)
               - octet_length(body) - octet_length(traceback) AS bytes_before
    FROM (
        SELECT * FROM dead_letters WHERE {conditions} AND id > %s ORDER BY id LIMIT %s
    ) AS next
) AS sized
WHERE bytes_before < %s ORDER BY id
"""


class ExportRow(NamedTuple):
    """All of a failure but its words. body: the whole message as it was on the wire."""

    id: int
    state: str
    first_failed_at: datetime
    failed_at: datetime
    attempts: int
    actor: str
    queue: str
    error_class: str
    error: str
    traceback: str
    trace_id: str
    message_id: str
    command_ids: list[str]
    subjects: list[str]
    body: bytes
    settled_at: datetime | None
    settled_by: str | None
    discard_reason: str | None


def piece(wanted: FailureQuery, after_id: int) -> list[ExportRow]:
    """The next failures that match, by id; none after the last."""
    text, params = conditions(wanted)
    with reading():
        rows = fetch(PIECE.format(conditions=text), (*params, after_id, ROWS_MAX, BYTES_MAX))
    return [ExportRow(*(*row[:14], bytes(row[14]), *row[15:])) for row in rows]
