"""The audit log: who did what, when, from where, and with what result."""

import re
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from actors import settled
from actors.commands import SKU, CommandId
from models.queries import audit, operations
from models.queries.audit import AuditFilter, AuditRow
from web.dashboard.page import Deps, Page, Routes
from web.dashboard.query import PAGE_ROWS, UUID, Query

FIELDS: Final = ("who", "action", "target", "after", "before", "command_id")
#: What is done by hand, in words.
ACTIONS: Final = {
    "move_order": "Moved an order",
    "adjust_stock": "Adjusted stock",
    "retry_failures": "Retried failures",
    "discard_failures": "Discarded failures",
    "pause_queue": "Paused a queue",
    "resume_queue": "Resumed a queue",
    "set_rate_limit": "Set a rate limit",
}
BULK: Final = ("retry_failures", "discard_failures")
_KEY_ID: Final = re.compile(r"key_[0-9a-f]+|cli")
_SKU: Final = re.compile(SKU)


class AuditPage(Page):
    """GET lists what was done by hand, newest first."""

    fields = (*FIELDS, "cursor")

    async def on_get(self, req: Any, resp: Any) -> None:
        query = Query(req.params, *FIELDS)
        wanted = audit_filter(query)
        after = query.cursor(req.path, tuple[datetime, CommandId])
        rows = []
        if not query.errors:
            rows = await self.deps.lists.run(audit.page, wanted, after, PAGE_ROWS + 1)
        more = len(rows) > PAGE_ROWS
        rows = rows[:PAGE_ROWS]
        last = (rows[-1].entry.at, rows[-1].entry.command_id) if more else None
        results = await self.deps.lists.run(outcomes, rows) if rows else {}
        self.render(
            req, resp, "audit.html", status=422 if query.errors else 200, query=query, rows=rows,
            actions=ACTIONS, results=results, first=query.link() if after else None,
            next=query.next_link(req.path, last),
        )  # fmt: skip


def outcomes(rows: Sequence[AuditRow]) -> dict[str, str]:
    """What came of work on many failures, by command. Runs in a reading thread."""
    ids = [row.entry.command_id for row in rows if row.entry.action in BULK]
    done = operations.some(ids) if ids else {}
    return {id_: settled.in_words(work) for id_, work in done.items() if work.finished_at}


def audit_filter(query: Query) -> AuditFilter:
    """What a page asks for; what is wrong with it is in query.errors."""
    who = query.text("who")
    by_id = who is not None and _KEY_ID.fullmatch(who) is not None
    command_id = query["command_id"].lower() or None
    if command_id is not None and UUID.fullmatch(command_id) is None:
        query.errors["command_id"] = "An id has 32 hexadecimal digits and four hyphens."
        command_id = None
    return AuditFilter(
        key_id=who if by_id else None,
        key_name=None if by_id else who,
        action=query.choice("action", tuple(ACTIONS)),
        target=_target(query.text("target")),
        after=query.moment("after"),
        before=query.moment("before"),
        command_id=command_id,
    )


def _target(text: str | None) -> str | None:
    """A target as the log has it; an order's id and a SKU go without saying what they are."""
    if text is None or text == "failures":
        return text
    if UUID.fullmatch(id_ := text.lower().removeprefix("order:")):
        return f"order:{id_}"
    if ":" in text:
        return text
    return f"sku:{text}" if _SKU.fullmatch(text) and not text.startswith("holdfast.") else text


def routes(deps: Deps) -> Routes:
    return {"/dashboard/audit": AuditPage(deps)}
