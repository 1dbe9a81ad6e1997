"""The actor that moves orders to another status: claim, lock, decide, write."""

from collections.abc import Mapping, Sequence

import dramatiq
import msgspec

from actors import audit
from actors.broker import broker
from actors.commands import ROUTES, MoveOrder, decode, encode, join
from actors.group_commit import GroupCommit, all_at_once
from actors.stats import recorder
from actors.undecided import note_waiting
from config import settings
from models.database import transaction
from models.queries import inbox, orders, stock
from models.queries.inbox import Received
from models.queries.orders import LockedOrder, MoveRow, OrderUnits
from models.queries.stock import Movement
from models.rules.order_status import Move, Moved, NotMoved, decide_moves
from models.rules.refusals import UNKNOWN_ORDER, refuse

#: Asked for this often and still not decided (some hours), its order never was accepted.
WAITS_MAX = 1_000
#: An order and a move of it that is sent at once may swap: waits before this one (some 3 s) are no
#: news.
WAITS_NOTED_FROM = 6
NOT_DECIDED = "Its order is not decided yet."
NEVER_ACCEPTED = "This order was never accepted."
NO_LONGER_KEPT = "This order is of a month that is no longer kept."


@dramatiq.actor(
    actor_name=ROUTES[MoveOrder].actor, queue_name=ROUTES[MoveOrder].queue, broker=broker
)
def move_orders(commands: msgspec.Raw, waits: int = 0) -> None:
    """Move orders to another status. What comes before its order is decided waits for it."""
    moves = decode(MoveOrder, commands)
    if waits >= WAITS_MAX:
        _apply_moves(moves, give_up=True)
        return
    undecided = _moving.submit(moves)
    if early := [move for move in moves if move.order_id in undecided]:
        again = join([encode(move) for move in early])
        message = move_orders.message(commands=again, waits=waits + 1)
        broker.enqueue(message, delay=min(50 * 2 ** min(waits, 10), 15_000))
        if waits >= WAITS_NOTED_FROM:
            note_waiting(message, NOT_DECIDED)


def _apply_moves(moves: Sequence[MoveOrder], *, give_up: bool = False) -> set[str]:
    """Apply the moves whose orders are decided; returns the ids of the other orders.

    give_up: refuse those moves, rather than leave them to wait.
    """
    with transaction():
        locked = orders.lock(move.order_id for move in moves)
        gone = orders.gone({move.order_id for move in moves} - locked.keys())
        ready = [m for m in moves if give_up or m.order_id in locked or m.order_id in gone]
        claims = inbox.claim(
            ROUTES[MoveOrder].kind, [Received(m.id, m.order_id, m.at) for m in ready]
        )
        mine = inbox.claimed(ready, claims)
        decisions = decide_moves(
            {id_: order.state for id_, order in locked.items()},
            [
                Move(m.id, m.order_id, m.to, m.if_version, m.restock)
                for m in mine
                if m.order_id in locked
            ],
        )
        moved = [decision for decision in decisions if isinstance(decision, Moved)]
        _write_moved(moved, locked)
        refused = [(d.move.command_id, d.refusal) for d in decisions if isinstance(d, NotMoved)]
        refused += [
            (m.id, refuse(UNKNOWN_ORDER, NO_LONGER_KEPT if m.order_id in gone else NEVER_ACCEPTED))
            for m in mine
            if m.order_id not in locked
        ]
        inbox.record_refusals(refused)
        audit.note(mine)
    recorder.decided(ROUTES[MoveOrder].actor, ready, mine, len(refused))
    return {move.order_id for move in moves} - {move.order_id for move in ready}


_moving: GroupCommit[MoveOrder, set[str]] = GroupCommit(
    all_at_once(_apply_moves), commands_max=settings().transaction_commands_max
)


def _write_moved(moved: Sequence[Moved], locked: Mapping[str, LockedOrder]) -> None:
    units_of: dict[str, list[OrderUnits]] = {}
    touched = {d.move.order_id: locked[d.move.order_id] for d in moved if d.effect != (0, 0)}
    for units in orders.units_of(touched):
        units_of.setdefault(units.order_id, []).append(units)
    stock.lock_levels(units.sku for held in units_of.values() for units in held)
    stock.write_movements(
        [
            Movement(
                units.sku, units.location, decision.effect[0] * units.units,
                decision.effect[1] * units.units, decision.move.to, units.order_id,
                decision.move.command_id,
            )
            for decision in moved
            if decision.effect != (0, 0)
            for units in units_of[decision.move.order_id]
        ]
    )  # fmt: skip
    orders.write_moves(
        [
            MoveRow(
                decision.move.order_id, locked[decision.move.order_id].placed_at,
                decision.version, decision.move.to, _event_data(decision),
            )
            for decision in moved
        ]
    )  # fmt: skip


def _event_data(decision: Moved) -> dict[str, object]:
    data: dict[str, object] = {"command_id": decision.move.command_id}
    if decision.move.to == "returned":
        data["restock"] = decision.move.restock
    return data
