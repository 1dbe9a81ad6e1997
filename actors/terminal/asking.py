"""A change that is asked for from a terminal: the same command, by the same way, as anywhere."""

import argparse
import getpass
import os
import socket
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import msgspec
import peewee

from actors.commands import ROUTES, Action, Operate, Origin, decode, encode, join
from actors.settled import lost_to_others
from actors.terminal.ending import interruptible
from actors.terminal.options import within
from actors.terminal.output import count, progress, say, show_json
from models.queries import operations, reads
from models.queries.operations import Operation
from models.queries.reads import FoundCommand
from models.rules.order_status import PENDING

POLL_S = 0.2
WAIT_S = 600.0
#: The exit code for a change that is on its way and not decided yet.
NOT_DECIDED = 3

#: What argparse adds tasks to; what gives the id of a command.
Tasks = Any
NewId = Callable[[], str]


def add_options(parser: argparse.ArgumentParser, *, change: bool = False) -> None:
    """The options that all tasks have. change: the task asks for a change and waits for it."""
    parser.add_argument("--json", action="store_true", help="print JSON, for programs")
    if change:
        parser.add_argument(
            "--wait", type=within(float, 0, 86_400), default=WAIT_S, metavar="SECONDS",
            help=f"give up waiting for the outcome after so long ({WAIT_S:.0f}); it happens anyway",
        )  # fmt: skip


def ask(action: Action, options: argparse.Namespace) -> int:
    """Send an action, wait for its outcome, and say it; returns the exit code."""
    command = Operate(options.new_id(), datetime.now(UTC), _origin(), action)
    _publish(command)
    with interruptible():
        found, work = _wait(command.id, options.wait)
    if options.json:
        show_json(
            {
                "command_id": command.id,
                "status": PENDING if found is None else found.status,
                "problem": None if found is None else found.problem,
                "done": work and work.done,
                "skipped": work and work.skipped,
            }
        )
    else:
        say(_words(command.id, found, work))
    if found is None:
        return NOT_DECIDED
    return 0 if found.status == "applied" else 1


def _origin() -> Origin:
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        # A container's user may have no name.
        user = str(os.getuid())
    return Origin("cli", f"{user}@{socket.gethostname()}"[:100])


def _publish(command: Operate) -> None:
    batch = join([encode(command)])
    try:
        decode(Operate, batch)
    except msgspec.ValidationError as error:
        raise ValueError(f"that can't be asked for: {error}") from None
    # Reading needs no broker, whose import reads the settings of RabbitMQ.
    from dramatiq.message import Message  # noqa: PLC0415

    from actors.broker import broker  # noqa: PLC0415

    route = ROUTES[Operate]
    broker.enqueue(
        Message(
            queue_name=route.queue, actor_name=route.actor, args=(), kwargs={"commands": batch},
            options={},
        )
    )  # fmt: skip
    broker.close()


def _wait(command_id: str, seconds: float) -> tuple[FoundCommand | None, Operation | None]:
    """The outcome, None where there is none in time; and how far it is, as far as is known."""
    deadline = time.monotonic() + seconds
    work = None
    try:
        while True:
            try:
                (found,) = reads.commands_by_id([command_id])
                work = operations.one(command_id)
            except (peewee.DatabaseError, peewee.InterfaceError):
                # It is on its way, whether we can see it or not.
                found = None
            if found is not None and found.status != PENDING:
                return found, work
            if time.monotonic() > deadline:
                return None, work
            if work:
                progress(f"{work.done + work.skipped:,} of {work.total:,}")
            time.sleep(POLL_S)
    except KeyboardInterrupt:
        return None, work
    finally:
        progress("")


def _words(command_id: str, found: FoundCommand | None, work: Operation | None) -> str:
    if found is None:
        return f"Not decided yet; it continues without this terminal. The command is {command_id}."
    if found.problem is not None:
        return f"{found.status}: {found.problem.get('detail') or found.problem.get('title')}"
    if work is None:
        return "Done."
    skipped = f"; skipped {count(work.skipped, 'unreadable failure')}" if work.skipped else ""
    others = lost_to_others(work)
    return f"Done: {count(work.done, 'failure')}{skipped}{others and f'; {others}'}."
