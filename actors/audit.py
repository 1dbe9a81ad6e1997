"""Who asked for a change by hand: one row per command that says where it comes from."""

from collections.abc import Iterable
from typing import Any, Final

import msgspec

from actors.commands import (
    ROUTES,
    AdjustStock,
    FailureFilter,
    MoveOrder,
    Operate,
    Origin,
    PauseQueue,
    ResumeQueue,
    SetRateLimit,
    decode,
)
from models.queries.audit import Entry, record

#: What people may ask for.
ByHand = MoveOrder | AdjustStock | Operate
#: Said elsewhere in the row, or of no interest to its reader.
_LEFT_OUT: Final = {"id", "at", "origin", "traceparent", "do"}


def note(commands: Iterable[ByHand]) -> None:
    """Put on record those of the commands that came from a person, in this transaction."""
    entries = [
        _entry(command, command.origin) for command in commands if command.origin is not None
    ]
    if entries:
        record(entries)


def note_unread(actor: str, batch: msgspec.Raw) -> None:
    """The same for a batch that failed, as far as it can be read."""
    kinds: dict[str, Any] = {ROUTES[kind].actor: kind for kind in (MoveOrder, AdjustStock, Operate)}
    if actor in kinds:
        try:
            readable = decode(kinds[actor], batch)
        except (ValueError, RecursionError):
            return
        note(readable)


def _entry(command: ByHand, origin: Origin) -> Entry:
    action, target = _said(command)
    change = command.action if isinstance(command, Operate) else command
    details = {
        name: value
        for name, value in msgspec.to_builtins(change).items()
        if name not in _LEFT_OUT and value is not None
    }
    return Entry(
        command.id, command.at, origin.key_id, origin.name, origin.address, origin.agent,
        action, target, details,
    )  # fmt: skip


def _said(command: ByHand) -> tuple[str, str]:
    """(what was asked for, of what)"""
    if isinstance(command, MoveOrder):
        return "move_order", f"order:{command.order_id}"
    if isinstance(command, AdjustStock):
        return "adjust_stock", f"sku:{command.sku}"
    action = command.action
    name = str(action.__struct_config__.tag)
    if isinstance(action, PauseQueue | ResumeQueue):
        return name, f"queue:{action.queue}"
    if isinstance(action, SetRateLimit):
        return name, f"actor:{action.actor}"
    return name, _failures(action.filter)


def _failures(wanted: FailureFilter) -> str:
    """One failure by its id; the details say which, where there are more."""
    return f"failure:{wanted.ids[0]}" if wanted.ids and len(wanted.ids) == 1 else "failures"
