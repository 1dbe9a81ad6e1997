"""Moves that came before their order was decided: applied, in order, once it is.

Whoever decides an order calls `after_decided` after its commit; see models/queries/waiting_moves.py
for why none is missed. Moves are applied under the lock of their order, all that wait before any
that comes later.
"""

import logging
import traceback
from collections.abc import Collection, Sequence
from typing import Any

from dramatiq.message import Message

from actors import dead_letters, transitions
from actors.commands import ROUTES, ROUTES_BY_ACTOR, MoveOrder, PlaceOrder, decode, join, sketch
from models.database import is_transient, transaction
from models.queries import partitions
from models.queries import waiting_moves as queries
from models.queries.waiting_moves import Taken
from models.rules.refusals import UNKNOWN_ORDER, refuse

logger = logging.getLogger(__name__)

#: Applied in one transaction: however many wait, none of them is long.
MOVES_MAX = 200
NOT_DECIDED = refuse(UNKNOWN_ORDER, f"This order was not decided within {queries.KEPT_DAYS} days.")


def after_decided(order_ids: Collection[str]) -> None:
    """Apply what waits for orders that may be decided now. After the commit, in no transaction.

    Raises only what passes by itself.
    """
    if waiting := queries.orders_of(order_ids):
        apply(waiting)


def apply(order_ids: Collection[str]) -> None:
    """Apply the moves that wait for those of the orders that are decided. As `after_decided`."""
    try:
        while order_ids and _apply_next(order_ids, MOVES_MAX):
            pass
    except Exception as error:  # whatever it is, it is the fault of one of them
        if is_transient(error):
            raise
        logger.warning("Moves that waited are applied one by one: %s", error)
        for order_id in order_ids:
            _apply_one_by_one(order_id)


def sweep() -> None:
    """Apply what a crash left behind; refuse the moves of orders that will never be decided."""
    if order_ids := queries.left_behind():
        logger.warning("Moves of %d decided orders were left behind; applied now.", len(order_ids))
        apply(order_ids)
    order_ids = queries.expired()
    while order_ids and _refuse_next(order_ids):
        pass


def record_failure(message: Any, error: BaseException, trace: str) -> None:
    """Put a message on record as failed for good; the moves of its orders wait no longer."""
    dead_letters.record(message, error, trace)
    route = ROUTES_BY_ACTOR.get(message.actor_name)
    if route is None or route.kind != ROUTES[PlaceOrder].kind:
        return
    try:
        after_decided([command.id for command in sketch(message.kwargs["commands"])])
    except Exception as failure:  # it is on record; the clock looks after its moves
        logger.warning("The moves of orders that failed wait for the clock: %s", failure)


def _apply_next(order_ids: Collection[str], limit: int) -> bool:
    """Apply the next moves, in one transaction; returns whether there may be more."""
    with transaction():
        decided = transitions.lock(order_ids)
        taken = queries.take(decided.ids, limit)
        if not taken:
            return False
        moves = _decode(taken)
        accepted = {m.id: t.accepted_at for m, t in zip(moves, taken, strict=True)}
        outcome = transitions.decide(moves, decided, accepted)
    outcome.note()
    return len(taken) == limit


def _apply_one_by_one(order_id: str) -> None:
    """Apply the moves of an order as far as it goes: one that fails is a dead letter."""
    while (head := queries.first(order_id)) is not None:
        try:
            if not _apply_next([order_id], 1):
                return
        except Exception as error:  # whatever it is, those behind it must not wait for ever
            if is_transient(error):
                raise
            if not partitions.make_missing(error):
                _give_up(head, error)


def _give_up(move: Taken, error: BaseException) -> None:
    message: Message[Any] = Message(
        queue_name=transitions.ROUTE.queue, actor_name=transitions.ROUTE.actor, args=(),
        kwargs={"commands": join([move.command.encode()])}, options={},
    )  # fmt: skip
    dead_letters.record(message, error, "".join(traceback.format_exception(error)))
    queries.remove(move.position)


def _refuse_next(order_ids: Collection[str]) -> bool:
    """Refuse the next moves of orders that are not decided; returns whether there may be more."""
    with transaction():
        undecided = set(order_ids) - transitions.lock(order_ids).ids
        taken = queries.take_expired(undecided, MOVES_MAX)
        if not taken:
            return False
        outcome = transitions.refuse_all(_decode(taken), NOT_DECIDED)
    outcome.note()
    return len(taken) == MOVES_MAX


def _decode(taken: Sequence[Taken]) -> list[MoveOrder]:
    return decode(MoveOrder, join([each.command.encode() for each in taken]))
