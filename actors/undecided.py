"""The record of an attempt that did not decide its commands: table `undecided`.

It must never need what failed, so it reads the commands as loosely as can be, writes nothing but
ASCII, and where even that can't be written goes on without: first without what clients wrote, then
with the register of this process alone (actors/put_backs.py).
"""

import json
import logging
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import cache
from typing import Any, Final

from actors.commands import ROUTES_BY_ACTOR
from actors.redaction import Redaction
from actors.subjects import ID
from config import settings
from models.database import is_transient
from models.queries import undecided as queries
from models.queries.inbox import known_time
from models.queries.undecided import Attempted
from models.rules.formatting import first_line

logger = logging.getLogger(__name__)

BODY_CHARACTERS_MAX: Final = 64 * 1024
ERROR_CHARACTERS_MAX: Final = 300
SKUS_MAX: Final = 100
#: Longer is no name of ours.
NAME_LENGTH_MAX: Final = 100


def error_line(error: BaseException) -> str:
    """What an error says first, without its context and without secrets."""
    line = first_line(str(error)) or type(error).__name__
    return _redaction().text(line)[:ERROR_CHARACTERS_MAX]


def note(message: Any, error: BaseException) -> bool:
    """Record that an attempt at a message failed; returns whether that could be written.

    message: with the queue, actor, id and commands of a Dramatiq message.
    """
    attempted = list(_read(message))
    if not attempted:
        return True
    # Without what clients wrote there is nothing left in it that a database could refuse.
    bare = [Attempted(c.command_id, None, None, [], c.accepted_at, None) for c in attempted]
    route = ROUTES_BY_ACTOR.get(message.actor_name)
    for batch in (attempted, bare):
        try:
            queries.note(
                route.kind if route else "", message.actor_name, message.queue_name,
                message.message_id, batch, type(error).__name__, error_line(error),
            )  # fmt: skip
        except Exception as failure:  # what becomes of the message must not depend on this
            logger.warning("An attempt that failed can't be recorded: %s", error_line(failure))
            if is_transient(failure):
                return False
        else:
            return True
    return False


def _read(message: Any) -> Iterator[Attempted]:
    """The commands of a message that have an id; of the rest, what can be read."""
    made_at = datetime.fromtimestamp(message.message_timestamp / 1000, UTC)
    try:
        # More lenient than the actors' decoder: half a character is no reason to record nothing.
        batch = json.loads(bytes(message.kwargs["commands"]))
    except (KeyError, ValueError, RecursionError):
        return
    for command in batch if isinstance(batch, list) else ():
        if isinstance(command, dict) and ID.fullmatch(str(command.get("id"))):
            yield _attempted(command, made_at)


def _attempted(command: dict[str, Any], made_at: datetime) -> Attempted:
    lines = command.get("lines")
    holders = [command, *(lines if isinstance(lines, list) else [])]
    skus = [_name(each.get("sku")) for each in holders if isinstance(each, dict)]
    body = json.dumps(command, separators=(",", ":"))
    return Attempted(
        command_id=command["id"],
        target=_name(command.get("order_id") or command.get("sku")),
        customer_id=_name(command.get("customer_id")),
        skus=list(dict.fromkeys(filter(None, skus)))[:SKUS_MAX],
        accepted_at=_time(command.get("at")) or made_at,
        body=body if len(body) <= BODY_CHARACTERS_MAX else None,
    )


def _name(value: object) -> str | None:
    return value if isinstance(value, str) and 0 < len(value) <= NAME_LENGTH_MAX else None


def _time(value: object) -> datetime | None:
    try:
        return known_time(datetime.fromisoformat(str(value)))
    except ValueError:
        return None


@cache
def _redaction() -> Redaction:
    return Redaction(settings())
