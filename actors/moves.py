"""The actor that moves orders to another status, in the order in which the moves were accepted."""

from collections.abc import Sequence

import dramatiq
import msgspec

from actors import ahead, transitions, waiting_moves
from actors.broker import broker
from actors.commands import MoveOrder, encode
from actors.lane import PRIORITY
from models.database import transaction
from models.queries import waiting_moves as waiting
from models.queries.waiting_moves import Early


@dramatiq.actor(
    actor_name=transitions.ROUTE.actor,
    queue_name=transitions.ROUTE.queue,
    broker=broker,
    priority=PRIORITY,
)
def move_orders(commands: msgspec.Raw) -> None:
    """Move orders to another status. What comes before its order is decided waits with it."""
    ahead.apply(MoveOrder, commands, _apply)


def _apply(moves: Sequence[MoveOrder]) -> None:
    """Decide moves, in turn; those whose order is not decided wait with it."""
    while first := _decide(moves):
        waiting_moves.apply(first)


def _decide(moves: Sequence[MoveOrder]) -> set[str]:
    """Decide moves in one transaction. Returns the orders whose waiting moves come first; then it
    did nothing."""
    with transaction():
        decided = transitions.lock(move.order_id for move in moves)
        if first := waiting.orders_of(decided.ids):
            return first
        early = [move for move in moves if move.order_id not in decided.ids]
        ready = [move for move in moves if move.order_id in decided.ids]
        waiting.add([_early(move) for move in early])
        outcome = transitions.decide(ready, decided)
    outcome.note()
    if early:
        # Whoever decided an order meanwhile may have looked before these waited.
        waiting_moves.apply({move.order_id for move in early})
    return set()


def _early(move: MoveOrder) -> Early:
    return Early(move.order_id, move.id, move.at, move.to, encode(move).decode())
