"""What could not be processed: on record in PostgreSQL, with its cause, until someone acts."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

import msgspec
import peewee
from dramatiq.common import current_millis

from actors import audit, commands
from actors.commands import ROUTES, ROUTES_BY_ACTOR, PlaceOrder
from actors.envelope import for_the_record
from actors.subjects import subjects, trace_id
from models.database import database, is_transient, transaction
from models.queries import dead_letters as queries
from models.queries import inbox, orders
from models.queries.dead_letters import DeadLetter
from models.queries.orders import LineRow, OrderRow
from models.rules.ascii_text import readable
from models.rules.order_status import FAILED
from models.rules.refusals import PROCESSING_FAILED, refuse

logger = logging.getLogger(__name__)

_FOREVER = 2**63

FAILURE = refuse(
    PROCESSING_FAILED,
    "An error on our side stopped it. Operators can see it and put it back; nothing is lost.",
)


def record(message: Any, error: BaseException, traceback: str) -> None:
    """Record a message that failed for good, and set the outcome of its commands to `failed`.

    What is on record and open already is counted there: a publish that was not confirmed, for
    RabbitMQ was short of memory, may have left several copies.
    """
    received = _received(message.kwargs["commands"])
    letter = _letter(message, error, traceback, received)
    try:
        _record(message, letter, received)
    except Exception as failure:  # whatever the database refuses, the failure must be on record
        if is_transient(failure):
            raise
        # What is in it may be why it failed, and why this did.
        logger.warning("A failure is recorded without what it is about: %s", failure)
        _record(message, _plain(letter), received, shown=False)


def _record(
    message: Any, letter: DeadLetter, received: Sequence[inbox.Received], *, shown: bool = True
) -> None:
    """shown: beside the outcomes and the letter, write what of it people see elsewhere."""
    batch = message.kwargs["commands"]
    route = ROUTES_BY_ACTOR.get(message.actor_name)
    with transaction():
        # First, for with its commands locked copies of a message take turns.
        failed = queries.fail_commands(route.kind, received, FAILURE) if route else {}
        if not queries.count_again(letter):
            queries.insert(letter)
        if route is None or not shown:
            return
        if route.kind == ROUTES[PlaceOrder].kind:
            readable_orders = inbox.claimed(_readable_orders(batch), failed)
            _show_failed([_failed_order(order, failed[order.id]) for order in readable_orders])
        # After the commands, as the actors do it: the other way round it is a deadlock.
        audit.note_unread(message.actor_name, batch)


def _plain(letter: DeadLetter) -> DeadLetter:
    """A letter that any encoding holds, found by nothing of its content; its message is whole."""
    return replace(
        letter,
        queue=readable(letter.queue), actor=readable(letter.actor), error=readable(letter.error),
        traceback=readable(letter.traceback),
        subjects=[],
    )  # fmt: skip


def _letter(
    message: Any, error: BaseException, traceback: str, received: Sequence[inbox.Received]
) -> DeadLetter:
    batch = message.kwargs["commands"]
    return DeadLetter(
        message_id=message.message_id,
        queue=message.queue_name,
        actor=message.actor_name,
        attempts=message.options.get("retries", 1),
        error_class=type(error).__name__,
        error=str(error)[:2000],
        traceback=traceback,
        body=for_the_record(message),
        command_ids=[command.id for command in received],
        subjects=subjects(batch),
        trace_id=trace_id(batch),
        first_failed_ms=min(message.options.get("first_failed_at", _FOREVER), current_millis()),
    )


def record_malformed(queue: str, body: bytes, error: BaseException) -> None:
    """Record a message that is not one of ours; whose commands it carries can't be told."""
    letter = DeadLetter(
        message_id="", queue=queue, actor="", attempts=1,
        error_class=type(error).__name__, error=str(error)[:2000], traceback="",
        body=body, command_ids=[], subjects=[], trace_id="", first_failed_ms=current_millis(),
    )  # fmt: skip
    with transaction():
        # Its error quotes it.
        queries.insert(_plain(letter))


def _show_failed(rows: list[OrderRow]) -> None:
    """The orders' own rows. What PostgreSQL can't hold may be why they failed: the record stays."""
    try:
        with database.atomic():
            orders.insert(rows)
    except (peewee.DatabaseError, ValueError) as error:
        if is_transient(error):
            raise
        logger.exception("Only the outcomes of failed orders are shown.")


def _received(batch: msgspec.Raw) -> list[inbox.Received]:
    return [inbox.Received(c.id, c.order_id or c.sku, c.at) for c in commands.sketch(batch)]


def _readable_orders(batch: msgspec.Raw) -> list[PlaceOrder]:
    try:
        return commands.decode(PlaceOrder, batch)
    except (ValueError, RecursionError):
        return []


def _failed_order(command: PlaceOrder, placed_at: datetime) -> OrderRow:
    lines = [LineRow(line.sku, line.quantity, None, None) for line in command.lines]
    return OrderRow(
        command.id, placed_at, command.customer_id, FAILED, None, None, 1, command.metadata,
        None, lines,
    )  # fmt: skip
