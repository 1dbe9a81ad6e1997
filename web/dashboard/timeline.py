"""An order's timeline: what happened to it, together with the commands and failures behind it."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from models.database import Row
from models.queries.failures import FailureRow
from models.queries.lookup import MoveAsked
from models.rules.formatting import first_line
from models.rules.order_status import FAILED, PENDING, REJECTED
from web.dashboard.words import refusal

#: What an event says in words.
WORDS = {
    "order.confirmed": "Confirmed: stock was allocated to all its lines",
    "order.rejected": "Rejected",
    "order.failed": "Could not be decided",
    "order.shipped": "Shipped",
    "order.delivered": "Delivered",
    "order.cancelled": "Cancelled: its stock is free again",
    "order.returned": "Returned",
}


class Entry(NamedTuple):
    """A point of a timeline. kind: event, good, bad, asked.

    note: more words; by: who did it by hand; asked_at: when its command was accepted;
    failure: the failure that this is.
    """

    at: datetime
    kind: str
    title: str
    note: str = ""
    command_id: str = ""
    by: str | None = None
    asked_at: datetime | None = None
    failure: FailureRow | None = None


def timeline(
    order_id: str,
    placed_at: datetime | None,
    events: Sequence[Row],
    asked: Sequence[MoveAsked],
    failed: Sequence[FailureRow],
) -> list[Entry]:
    """All that happened to an order, oldest first."""
    moves = {move.command_id: move for move in asked}
    entries = [_event(order_id, row, moves) for row in events]
    entries += [_undone(move) for move in asked if move.outcome != "applied"]
    entries += [_failure(row) for row in failed]
    if placed_at is not None:
        entries.append(Entry(placed_at, "asked", "Accepted by the front door"))
    # At the same instant, what was asked for comes first.
    return sorted(entries, key=lambda entry: (entry.at, entry.kind != "asked"))


def _event(order_id: str, row: Row, moves: Mapping[str, MoveAsked]) -> Entry:
    _sequence, kind, at, data = row
    command_id = str(data.get("command_id", order_id))
    move = moves.get(command_id)
    good = kind not in ("order.rejected", "order.failed")
    title = WORDS.get(str(kind), str(kind))
    return Entry(
        at, "good" if good else "bad", title, _note(kind, data), command_id,
        by=move.by if move else None, asked_at=move.at if move else None,
    )  # fmt: skip


def _note(kind: str, data: Mapping[str, Any]) -> str:
    if kind == "order.returned":
        return "Back on hand." if data.get("restock", True) else "Not put back on hand."
    rejection = data.get("rejection") or {}
    return str(rejection.get("detail", ""))


def _undone(move: MoveAsked) -> Entry:
    to = (move.details or {}).get("to")
    wish = f"The move to {to}" if to else "A move"
    title = {
        PENDING: f"{wish} is put back and waits to be decided",
        REJECTED: f"{wish} was refused",
        FAILED: f"{wish} could not be processed",
    }.get(move.outcome, f"{wish}: {move.outcome}")
    return Entry(
        move.decided_at, "asked" if move.outcome == PENDING else "bad", title,
        refusal(move.problem or {})[1], move.command_id, move.by, move.at,
    )  # fmt: skip


def _failure(row: FailureRow) -> Entry:
    state = {"failed": "", "retried": " Put back since.", "discarded": " Discarded since."}
    times = "attempt" if row.attempts == 1 else "attempts"
    return Entry(
        row.failed_at, "bad", f"{row.error_class} in {row.actor} after {row.attempts} {times}",
        f"{first_line(row.error)}{state.get(row.state, '')}", failure=row,
    )  # fmt: skip
