"""Take away the months that are no longer kept, the oldest first, each in these steps.

retire    one transaction: the month is out of the books, its movements' sums are opening balances
detach    each of its tables, concurrently: orders go on
export    to files, if the policy says so
drop      all of them in one transaction, if the policy says so

What is done is told by the database and the files alone, so who comes after a crash goes on from
there. A month is finished as it was begun, whatever the policy says since.
"""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path
from typing import Final, Literal, NamedTuple

import peewee

from config import Settings
from models import month_export
from models.database import discard_connection, execute, sqlstate
from models.month_export import ExportError
from models.queries import partitions, reconciliation, retention, times
from models.queries.partitions import PARTITIONED, Partition, month_from, month_number, name_of
from models.queries.retention import HeldBack, Retired

logger = logging.getLogger(__name__)

State = Literal["ahead", "current", "kept", "expired", "retired", "detached", "no month"]
Say = Callable[[str], None]

#: Who waits for a partition makes those wait that would read it: not for long, but again.
LOCK_TIMEOUT_MS: Final = 500
PAUSE_S: Final = 2.0
#: Longer than the longest read, a reconciliation.
TRY_FOR_S: Final = 900.0
#: Of a lock that was not to be had, or only in a deadlock.
LOCKED: Final = ("55P03", "40P01")


class AtWorkError(ValueError):
    """Another process takes months away."""


class Policy(NamedTuple):
    """months: whole months kept beside this one, None: all; action: what becomes of the others;
    folder: where they are exported to."""

    months: int | None
    action: str
    folder: Path | None


class Step(NamedTuple):
    """What an apply would do about a month.

    does: `retire`, `finish` (what was begun) or `stay`; why: reasons to stay; rows: an estimate,
    None where one of its tables was never analysed.
    """

    starts_at: datetime
    does: Literal["retire", "finish", "stay"]
    action: str
    tables: list[str]
    rows: int | None
    bytes: int
    why: list[str]

    @property
    def month(self) -> str:
        """As people write it."""
        return f"{self.starts_at:%Y-%m}"


def policy_of(given: Settings) -> Policy:
    """The policy in the settings."""
    folder = given.retention_export_dir
    return Policy(
        given.retention_months, given.retention_action, None if folder is None else Path(folder)
    )


def kept_from(policy: Policy, now: datetime) -> datetime | None:
    """What was placed before is no longer kept; None: everything is."""
    if policy.months is None:
        return None
    return _start(month_number(now.astimezone(UTC)) - policy.months)


def _start(month: int) -> datetime:
    first = month_from(month)
    return datetime(first.year, first.month, 1, tzinfo=UTC)


def _end(starts_at: datetime) -> datetime:
    return _start(month_number(starts_at) + 1)


def status(policy: Policy) -> list[tuple[Partition, State]]:
    """Every partition, and every table that was one."""
    now = times.now()
    end = kept_from(policy, now)
    retired = {month.starts_at for month in retention.retired()}
    return [(each, _state(each, now, end, retired)) for each in partitions.every()]


def _state(each: Partition, now: datetime, end: datetime | None, retired: set[datetime]) -> State:
    if each.detaching is None:
        return "detached"
    if each.starts_at is None or each.ends_at is None:
        return "no month"
    if each.starts_at in retired:
        return "retired"
    if each.ends_at > now:
        return "ahead" if each.starts_at > now else "current"
    return "expired" if end is not None and each.ends_at <= end else "kept"


def plan(policy: Policy) -> list[Step]:
    """What an apply would do, in its order; what expired and stays, and why."""
    every = partitions.every()
    begun = [
        _step(month.starts_at, "finish", month.action, _tables_of(month.starts_at, every))
        for month in retention.retired()
        if month.finished_at is None
    ]
    end = kept_from(policy, times.now())
    return begun if end is None else begun + _expired(policy.action, every, end)


def _expired(action: str, every: list[Partition], end: datetime) -> list[Step]:
    retired = {month.starts_at for month in retention.retired()}
    starts = sorted(
        {
            each.starts_at
            for each in every
            if each.starts_at and each.ends_at and each.ends_at <= end
        }
        - retired
    )
    if not starts:
        return []
    held = {month: list(found) for month, found in groupby(retention.held_back(end), _month_held)}
    of_all = _held_back_altogether(every)
    steps: list[Step] = []
    for starts_at in starts:
        found = [each for each in every if each.starts_at == starts_at]
        why = [*of_all, *(_words(each) for each in held.get(starts_at, []))]
        if any((each.name, each.ends_at) != _made(each.table, starts_at) for each in found):
            why.append("its partitions are not those that Holdfast makes for a month")
        if steps and steps[-1].does == "stay":
            why.append(f"{steps[-1].month} stays, and months go in their order")
        steps.append(_step(starts_at, "stay" if why else "retire", action, found, why))
    return steps


def _held_back_altogether(every: list[Partition]) -> list[str]:
    why = [
        f"{each.name} takes what is of no month, so PostgreSQL detaches nothing concurrently"
        for each in every
        if each.detaching is not None and each.starts_at is None
    ]
    last = reconciliation.latest()
    if last is not None and last.differences:
        why.append("the books differ, and what explains it may be in here: holdfast reconcile")
    return why


def _month_held(held: HeldBack) -> datetime:
    return held.month


def _words(held: HeldBack) -> str:
    what = f"{held.number:,} {held.kind}" + ("" if held.number == 1 else "s")
    again = ", to be put back or discarded" if held.status == "failed" else ""
    of = "" if held.kind == "order" else "of order "
    return f"{what} {held.status}{again}, such as {of}{held.example}"


def _made(table: str, starts_at: datetime) -> tuple[str, datetime]:
    return name_of(table, starts_at), _end(starts_at)


def _tables_of(starts_at: datetime, every: list[Partition]) -> list[Partition]:
    names = {name_of(table, starts_at) for table in PARTITIONED}
    return [each for each in every if each.name in names]


def _step(
    starts_at: datetime,
    does: Literal["retire", "finish", "stay"],
    action: str,
    tables: list[Partition],
    why: list[str] | None = None,
) -> Step:
    known = [each.rows for each in tables if each.rows is not None]
    return Step(
        starts_at, does, action, [each.name for each in tables],
        sum(known) if len(known) == len(tables) else None,
        sum(each.bytes for each in tables), why or [],
    )  # fmt: skip


def apply(policy: Policy, say: Say = lambda _text: None) -> list[Step]:
    """Do what the plan says; returns what was done, and what stays.

    say: is told what goes on. Raises AtWorkError where another process is at it, ExportError where
    files can't be written as they should. What was begun is finished by the next apply.
    """
    done: list[Step] = []
    with patiently():
        if not retention.take_turn():
            raise AtWorkError("another process takes months away just now; nothing was done")
        while True:
            planned = plan(policy)
            step = next((each for each in planned if each.does != "stay"), None)
            if step is None:
                return done + planned
            # Where something was put back a moment ago, the next plan says what.
            if step.does == "finish" or _retire(step, policy, say):
                _finish(step, policy, say)
                done.append(step)


def _retire(step: Step, policy: Policy, say: Say) -> bool:
    say(f"{step.month}: opening balances")
    return retention.retire(step.starts_at, _end(step.starts_at), policy.action)


@contextmanager
def patiently() -> Iterator[None]:
    """Let statements of this thread take their time, and wait for no lock for long."""
    try:
        execute("SET statement_timeout = 0")
        execute(f"SET lock_timeout = {LOCK_TIMEOUT_MS}")
        yield
    finally:
        # Ends the session, which gives the settings and what it has locked back.
        discard_connection()


def _finish(step: Step, policy: Policy, say: Say) -> None:
    (month,) = [month for month in retention.retired() if month.starts_at == step.starts_at]
    tables = _tables_of(month.starts_at, partitions.every())
    for each in tables:
        if each.detaching is not None:
            say(f"{each.name}: detaching")
            _detach(each)
    if month.action == "export" and tables:
        _export(month, policy, tables, say)
    dropped = [] if month.action == "detach" else [each.name for each in tables]
    retention.finish(month.starts_at, dropped)
    logger.info("%s is no longer kept: %s.", step.month, month.action)


def _detach(partition: Partition) -> None:
    """Detach a partition, as soon as nobody reads it."""
    until = time.monotonic() + TRY_FOR_S
    again = bool(partition.detaching)
    while True:
        try:
            retention.detach(partition.table, partition.name, again=again)
        except peewee.OperationalError as error:
            if sqlstate(error) not in LOCKED or time.monotonic() > until:
                raise
            time.sleep(PAUSE_S)
        (now,) = [each for each in partitions.every() if each.name == partition.name]
        if now.detaching is None:
            return
        again = now.detaching


def _export(month: Retired, policy: Policy, tables: list[Partition], say: Say) -> None:
    if policy.folder is None:
        raise ExportError(
            f"{month.starts_at:%Y-%m} is to be exported: RETENTION_EXPORT_DIR has to say where to"
        )
    if not month_export.is_whole(policy.folder, month):
        manifest = month_export.write(policy.folder, month, tables, say)
        retention.note_export(month.starts_at, manifest)
