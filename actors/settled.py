"""What became of the failures of an operation, those included that it came too late for."""

from datetime import datetime, timedelta
from typing import Final

import msgspec

from actors.commands import FailureFilter
from models.queries import failures
from models.queries.failures import FailureQuery
from models.queries.operations import Operation
from models.rules.operating import what_others_did

#: A transaction that settles stamps by its start, and may commit after another operation counted.
OVERLAP: Final = timedelta(minutes=1)


def query_of(wanted: FailureFilter) -> FailureQuery:
    """A command's filter as the tables are asked."""
    return FailureQuery(**msgspec.structs.asdict(wanted))


def wanted_by(operation: Operation) -> FailureQuery:
    """Which failures an operation is about."""
    return query_of(msgspec.convert(operation.filter["filter"], FailureFilter))


def lost_to_others(operation: Operation) -> str:
    """What became of those that it did not get to settle, in words; empty where there are none."""
    lost = operation.total - operation.done - operation.skipped
    if operation.finished_at is None or lost <= 0:
        return ""
    return others_settled(wanted_by(operation), operation.command_id, operation.started_at, lost)


def others_settled(
    wanted: FailureQuery, command_id: str, began_at: datetime | None, lost: int
) -> str:
    """What other commands did to so many failures, in words."""
    # What was chosen one by one may have been settled before the operation began.
    since = None if wanted.ids is not None or began_at is None else began_at - OVERLAP
    found = failures.settled_by_others(wanted, command_id, since, lost)
    retried, discarded = found.get("retried", 0), found.get("discarded", 0)
    return what_others_did(retried, discarded, lost - retried - discarded)


def in_words(operation: Operation) -> str:
    """The result for the audit log."""
    others = lost_to_others(operation)
    result = f"applied to {operation.done:,} of {operation.total:,}"
    return f"{result}: {others}" if others else result
