"""How a button becomes a command: the front door's own way in, with the operator's name on it."""

import asyncio
import time
from contextlib import suppress
from typing import Any, Final, NamedTuple
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import peewee

from models.rules.order_status import PENDING
from web.batcher import TooManyWaitingError
from web.dashboard.page import Deps, redirect
from web.ids import COMMAND
from web.intake import Wanted
from web.problems import Problem
from web.tracing import traceparent

#: So long is the next page held back for the outcome; it looks again by itself after that.
WAIT_S: Final = 3.0
#: No page waits longer for the outcome that its banner shows.
LOOK_S: Final = 1.0


class Asked(NamedTuple):
    """What could not be taken. command_id: None where none was sent; back: where its form is;
    again: whether the same form, sent again, is the same action."""

    command_id: str | None
    back: str
    again: bool


class Done(NamedTuple):
    """The outcome of an action, for the banner. status: pending, applied, rejected, failed."""

    command_id: str
    status: str
    problem: dict[str, Any] | None = None


async def act(
    deps: Deps, req: Any, resp: Any, wanted: Wanted, back: str, *, wait_s: float = WAIT_S
) -> str:
    """Take a command for who is signed in, wait a moment for its outcome, and lead back.

    wanted: its origin is added here; its key is the form's `key` where it has none, so that a form
    sent twice takes effect once. back: an own address. Returns the command's id. Raises
    Problem as Intake does.
    """
    ends_at = time.monotonic() + wait_s
    session = req.context.session
    key = wanted.key or req.context.form.text("key")[:255] or None
    told = wanted._replace(origin=session.origin, key=key, traceparent=traceparent(req))
    try:
        taken = await deps.intake.take(session.key.id, told)
    except Problem as problem:
        # The page of the error says what became of it; see errors.py.
        req.context.asked = Asked(problem.command_id, back, key is not None)
        raise
    req.context.command_id = taken.id
    # It is taken: what goes wrong with waiting is no error of the action.
    with suppress(asyncio.CancelledError, peewee.PeeweeException, TooManyWaitingError):
        await deps.decisions.wait(taken.id, max(0.0, ends_at - time.monotonic()))
    redirect(resp, with_done(back, taken.id))
    return taken.id


def with_done(back: str, command_id: str) -> str:
    """An own address that shows the outcome of a command at its top."""
    parts = urlsplit(back)
    query = [pair for pair in parse_qsl(parts.query, keep_blank_values=True) if pair[0] != "done"]
    return urlunsplit(parts._replace(query=urlencode([*query, ("done", command_id)])))


async def outcome(deps: Deps, command_id: str) -> Done | None:
    """What `?done=` asks for, None where that is no command of ours."""
    if not deps.mint.is_ours(COMMAND, command_id):
        return None
    try:
        async with asyncio.timeout(LOOK_S):
            found = await deps.found.command(command_id)
    except (peewee.DatabaseError, peewee.InterfaceError, TooManyWaitingError, TimeoutError):
        return Done(command_id, PENDING)
    return Done(command_id, PENDING) if found is None else Done(
        command_id, found.status, found.problem
    )  # fmt: skip
