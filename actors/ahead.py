"""Looking ahead in a lane: the commands of the messages behind one's own, in the same transaction.

A lane hands out one message at a time, so a transaction for each would make it slow: what waits
behind, of the same actor, is decided with it, in order. The lane then acknowledges it when its turn
comes, with no work. What fails together is tried again apart, so a message that can't be decided
costs those before it one more transaction, and changes none of their outcomes.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import msgspec

from actors.commands import AnyCommand, decode
from actors.controls import controls
from actors.lane import Delivery, Lane
from actors.log_context import current_message
from config import settings
from models.database import lost_connection

logger = logging.getLogger(__name__)

Result = TypeVar("Result")


def apply(
    kind: type[AnyCommand],
    commands: msgspec.Raw,
    transaction: Callable[[Sequence[AnyCommand]], Result],
) -> Result:
    """Decide the commands of the message in hand and, if all goes well, of those behind it.

    transaction: decides commands in their order, and commits all or none of them. Returns what it
    returned. Raises msgspec.ValidationError for commands that break the contract, and whatever
    `transaction` raises of those of this message alone.
    """
    own: list[AnyCommand] = decode(kind, commands)
    commands_max = settings().transaction_commands_max - len(own)
    later = list(_gather(kind, current_message(), commands_max))
    if not later:
        return transaction(own)
    together = list(own)
    for _, more in later:
        together += more
    try:
        result = transaction(together)
    except Exception as error:  # whichever of them it is about, the others must not suffer from it
        if lost_connection(error):
            raise
        logger.warning(
            "%d messages failed together, and are decided one by one: %s", len(later) + 1, error
        )
        for delivery, _ in later:
            delivery.alone = True
        return transaction(own)
    for delivery, _ in later:
        delivery.is_decided = True
    return result


def _gather(
    kind: type[AnyCommand], message: Any, commands_max: int
) -> Iterator[tuple[Delivery, list[AnyCommand]]]:
    """What comes behind the message in hand, with its commands, up to so many of these."""
    lane = getattr(message, "consumer", None)
    # A limit is on messages: each has to be counted before it is decided.
    if not isinstance(lane, Lane) or controls.rate_limit(message.actor_name):
        return
    for delivery in lane.behind(message):
        try:
            commands = decode(kind, delivery.parts[0].kwargs["commands"])
        except (ValueError, RecursionError):
            return
        commands_max -= len(commands)
        if commands_max < 0:
            return
        yield delivery, commands
