"""Work on many failures: how far it is, who asked for it, and what came of it."""

from datetime import UTC, datetime
from typing import Any

from actors import settled
from models.queries import audit, failures, operations
from models.queries.audit import AuditFilter
from models.queries.operations import Operation
from models.rules.order_status import FAILED, PENDING
from web.dashboard.failure_query import in_words
from web.dashboard.page import Deps, Page, Routes
from web.ids import COMMAND
from web.problems import not_found


class OperationPage(Page):
    """GET shows the progress of an operation; a script asks for it again while it goes on."""

    fresh_counts = True

    async def on_get(self, req: Any, resp: Any, command_id: str) -> None:
        if not self.deps.mint.is_ours(COMMAND, command_id):
            raise not_found(f"There is no operation {command_id[:64]}.")
        run = self.deps.lists.run
        operation = await run(operations.one, command_id)
        outcome = await self.deps.found.command(command_id)
        rows = await run(audit.page, AuditFilter(command_id=command_id), None, 1)
        others = await run(settled.lost_to_others, operation) if operation else ""
        broken = outcome is not None and outcome.status == FAILED
        letters = await run(failures.for_commands, [command_id]) if broken else []
        self.render(
            req, resp, "operation.html", command_id=command_id, operation=operation,
            outcome=outcome.status if outcome else PENDING,
            problem=outcome.problem if outcome else None,
            entry=rows[0].entry if rows else None, failure=letters[-1] if letters else None,
            words=_words(operation), others=others, seconds=_seconds(operation),
        )  # fmt: skip


def _words(operation: Operation | None) -> list[str]:
    if operation is None:
        return []
    return in_words(settled.wanted_by(operation))


def _seconds(operation: Operation | None) -> float:
    """How long it took, or takes already."""
    if operation is None:
        return 0.0
    end = operation.finished_at or datetime.now(UTC)
    return max((end - operation.started_at).total_seconds(), 0.001)


def routes(deps: Deps) -> Routes:
    return {"/dashboard/operations/{command_id}": OperationPage(deps)}
