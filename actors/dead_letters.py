"""What could not be processed: on record in PostgreSQL, with its cause, until someone acts."""

import logging
from datetime import datetime
from typing import Any

import msgspec
import peewee
from dramatiq.message import Message

from actors import commands
from actors.commands import ROUTES, ROUTES_BY_ACTOR, PlaceOrder
from models.database import database, transaction
from models.queries import dead_letters as queries
from models.queries import inbox, orders
from models.queries.dead_letters import DeadLetter
from models.queries.orders import LineRow, OrderRow
from models.rules.order_status import FAILED
from models.rules.refusals import PROCESSING_FAILED, refuse

logger = logging.getLogger(__name__)

FAILURE = refuse(
    PROCESSING_FAILED,
    "An error on our side stopped it. Operators can see it and put it back; nothing is lost.",
)


def record(message: Any, error: BaseException, traceback: str) -> None:
    """Record a message that failed for good, and set the outcome of its commands to `failed`."""
    received = _received(message)
    letter = DeadLetter(
        message_id=message.message_id,
        queue=message.queue_name,
        actor=message.actor_name,
        attempts=message.options.get("retries", 1),
        error_class=type(error).__name__,
        error=str(error)[:2000],
        traceback=traceback,
        body=message.encode(),
        command_ids=[command.id for command in received],
    )
    with transaction():
        queries.insert(letter)
        route = ROUTES_BY_ACTOR.get(message.actor_name)
        if route is None:
            return
        failed = queries.fail_commands(route.kind, received, FAILURE)
        if route.kind == ROUTES[PlaceOrder].kind:
            readable = inbox.claimed(_readable_orders(message), failed)
            _show_failed([_failed_order(command, failed[command.id]) for command in readable])


def record_malformed(queue: str, body: bytes, error: BaseException) -> None:
    """Record a message that is not one of ours; whose commands it carries can't be told."""
    with transaction():
        queries.insert(
            DeadLetter(
                message_id="", queue=queue, actor="", attempts=1,
                error_class=type(error).__name__, error=str(error)[:2000], traceback="",
                body=body, command_ids=[],
            )
        )  # fmt: skip


def requeue(broker: Any, letter_id: int) -> None:
    """Put a dead letter back: its commands are pending again and its message is published.

    Raises LookupError where there is no such letter, it was put back already, or its message
    can't be read.
    """
    with transaction():
        body = queries.reopen(letter_id)
        if body is None:
            raise LookupError(
                f"dead letter {letter_id} is not there, was put back before, or is not one of our "
                "messages"
            )
        try:
            message = Message.decode(body)
        except Exception as error:  # whatever it is about the body, the answer is the same
            raise LookupError(f"dead letter {letter_id} can't be read, so not put back") from error
        # Published last: an error here rolls the rest back, and a message too many is a no-op.
        broker.enqueue(message.copy(options={"retries": 0}), delay=0)


def _show_failed(rows: list[OrderRow]) -> None:
    """The orders' own rows. What PostgreSQL can't hold may be why they failed: the record stays."""
    try:
        with database.atomic():
            orders.insert(rows)
    except (peewee.IntegrityError, peewee.DataError):
        logger.exception("Only the outcomes of failed orders are shown.")


def _received(message: Any) -> list[inbox.Received]:
    return [
        inbox.Received(c.id, c.order_id or c.sku, c.at)
        for c in commands.sketch(message.kwargs["commands"])
    ]


def _readable_orders(message: Any) -> list[PlaceOrder]:
    try:
        return commands.decode(PlaceOrder, message.kwargs["commands"])
    except (msgspec.DecodeError, RecursionError):
        return []


def _failed_order(command: PlaceOrder, placed_at: datetime) -> OrderRow:
    lines = [LineRow(line.sku, line.quantity, None, None) for line in command.lines]
    return OrderRow(
        command.id, placed_at, command.customer_id, FAILED, None, None, 1, command.metadata,
        None, lines,
    )  # fmt: skip
