"""Failures that match as CSV or JSON."""

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from models.queries import exports, failures
from models.queries.exports import ExportRow
from models.queries.failures import FailureQuery
from models.rules.signing import content_of
from web.dashboard.export import Export, as_csv, checked, written
from web.dashboard.failure_query import FIELDS, failure_query
from web.dashboard.page import Deps
from web.dashboard.query import Query

COLUMNS: Final = (
    "id", "state", "first_failed_at", "failed_at", "attempts", "actor", "queue", "error_class",
    "error", "traceback", "trace_id", "message_id", "command_ids", "subjects", "message",
    "settled_at", "settled_by", "discard_reason",
)  # fmt: skip


class FailureExport(Export):
    """GET gives all failures that match. Formats differ in how rows are written."""

    subject = "failures"
    fields = (*FIELDS, "cursor")
    first = 0

    async def wanted(self, req: Any) -> FailureQuery:
        query = Query(req.params, *FIELDS)
        wanted = await failure_query(self.deps, query)
        checked(query)
        _, newest = await self.deps.lists.run(failures.count, wanted)
        return wanted._replace(up_to_id=newest)

    def piece(self, wanted: FailureQuery, after: int) -> tuple[bytes, int]:
        rows = exports.piece(wanted, after)
        return (self.written(rows), rows[-1].id) if rows else (b"", after)

    def written(self, rows: Sequence[ExportRow]) -> bytes:
        raise NotImplementedError


class CsvExport(FailureExport):
    media_type = "text/csv; charset=utf-8"
    ending = "csv"
    begin = as_csv([COLUMNS])

    def written(self, rows: Sequence[ExportRow]) -> bytes:
        return as_csv([[written(value) for value in row] for row in rows])


class JsonExport(FailureExport):
    """One failure a line, so that it can be read line by line, too."""

    media_type = "application/json"
    ending = "json"
    begin = b"[\n"
    between = b",\n"
    end = b"\n]\n"

    def written(self, rows: Sequence[ExportRow]) -> bytes:
        return b",\n".join(msgspec.json.encode(_document(row)) for row in rows)


def _document(row: ExportRow) -> dict[str, object]:
    values: list[object] = list(row)
    values[COLUMNS.index("message")] = _message(row.body)
    return dict(zip(COLUMNS, values, strict=True))


def _message(body: bytes) -> object:
    """A message as JSON, or as text where it is none."""
    try:
        return msgspec.json.decode(content_of(body))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return body.decode(errors="backslashreplace")


def routes(deps: Deps) -> dict[str, object]:
    return {
        "/dashboard/failures/export.csv": CsvExport(deps),
        "/dashboard/failures/export.json": JsonExport(deps),
    }
