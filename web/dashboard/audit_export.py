"""Entries of the audit log that match as CSV."""

from datetime import datetime
from typing import Any, Final

import msgspec

from models.queries import audit
from models.queries.audit import AuditFilter, AuditRow
from web.dashboard.audit import FIELDS, audit_filter, outcomes
from web.dashboard.export import Export, as_csv, checked, written
from web.dashboard.page import Deps, Routes
from web.dashboard.query import PAGE_ROWS, Query

COLUMNS: Final = (
    "at", "key_id", "key_name", "address", "agent", "action", "target", "details", "command_id",
    "result", "outcome", "decided_at", "problem",
)  # fmt: skip
#: No more than a page has: what came of work that others were ahead of is asked one by one.
ROWS: Final = PAGE_ROWS


class AuditExport(Export):
    """GET gives all entries that match, newest first."""

    subject = "audit"
    media_type = "text/csv; charset=utf-8"
    ending = "csv"
    begin = as_csv([COLUMNS])
    fields = FIELDS

    async def wanted(self, req: Any) -> AuditFilter:
        query = Query(req.params, *FIELDS)
        wanted = audit_filter(query)
        checked(query)
        return wanted

    def piece(
        self, wanted: AuditFilter, after: tuple[datetime, str] | None
    ) -> tuple[bytes, tuple[datetime, str] | None]:
        rows = audit.page(wanted, after, ROWS)
        if not rows:
            return b"", after
        last = rows[-1].entry
        came_of = outcomes(rows)
        cells = [_cells(row, came_of.get(row.entry.command_id, "")) for row in rows]
        return as_csv(cells), (last.at, last.command_id)


def _cells(row: AuditRow, outcome: str) -> list[str]:
    entry = row.entry
    values = (
        entry.at, entry.key_id, entry.key_name, entry.address, entry.agent, entry.action,
        entry.target, msgspec.json.encode(entry.details).decode(), entry.command_id,
        row.status or "pending", outcome, row.decided_at, (row.problem or {}).get("detail"),
    )  # fmt: skip
    return [written(value) for value in values]


def routes(deps: Deps) -> Routes:
    return {"/dashboard/audit/export.csv": AuditExport(deps)}
