"""What moves do to orders: lock, claim, decide, write. All in the caller's transaction."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from types import MappingProxyType
from typing import NamedTuple

from actors import audit
from actors.commands import ROUTES, MoveOrder
from actors.stats import recorder
from models.queries import inbox, orders, stock
from models.queries.inbox import Received
from models.queries.orders import LockedOrder, MoveRow, OrderUnits
from models.queries.stock import Movement
from models.rules.order_status import Move, Moved, NotMoved, decide_moves
from models.rules.refusals import UNKNOWN_ORDER, Refusal, refuse

ROUTE = ROUTES[MoveOrder]
NO_LONGER_KEPT = refuse(UNKNOWN_ORDER, "This order is of a month that is no longer kept.")


class DecidedOrders(NamedTuple):
    """Orders that can be moved, or never again. locked: by id; gone: those no longer kept."""

    locked: Mapping[str, LockedOrder]
    gone: Collection[str]

    @property
    def ids(self) -> set[str]:
        return {*self.locked, *self.gone}


class Outcome(NamedTuple):
    """What became of moves. mine: those that were not decided before; refused: how many of them."""

    moves: Sequence[MoveOrder]
    mine: Sequence[MoveOrder]
    refused: int

    def note(self) -> None:
        """Count it, once it is committed."""
        if self.moves:
            recorder.decided(ROUTE.actor, self.moves, self.mine, self.refused)


def lock(order_ids: Iterable[str]) -> DecidedOrders:
    """Lock those of the orders that are decided, in id order."""
    ids = set(order_ids)
    locked = orders.lock(ids)
    return DecidedOrders(locked, orders.gone(ids - locked.keys()))


def decide(
    moves: Sequence[MoveOrder],
    decided: DecidedOrders,
    accepted: Mapping[str, datetime] = MappingProxyType({}),
) -> Outcome:
    """Decide moves of decided orders, in turn.

    accepted: of those that have waited, when they were accepted, by command id: the inbox believes
    no clock that is weeks behind.
    """
    if not moves:
        return Outcome((), (), 0)
    claims = inbox.claim(ROUTE.kind, [Received(m.id, m.order_id, m.at) for m in moves])
    mine = inbox.claimed(moves, claims)
    times = {id_: min(claim.at, accepted.get(id_, claim.at)) for id_, claim in claims.items()}
    decisions = decide_moves(
        {id_: order.state for id_, order in decided.locked.items()},
        [
            Move(m.id, m.order_id, m.to, times[m.id], m.if_version, m.restock)
            for m in mine
            if m.order_id in decided.locked
        ],
    )
    _write([decision for decision in decisions if isinstance(decision, Moved)], decided.locked)
    refused = [(d.move.command_id, d.refusal) for d in decisions if isinstance(d, NotMoved)]
    refused += [(m.id, NO_LONGER_KEPT) for m in mine if m.order_id in decided.gone]
    inbox.record_refusals(refused)
    audit.note(mine)
    return Outcome(moves, mine, len(refused))


def refuse_all(moves: Sequence[MoveOrder], refusal: Refusal) -> Outcome:
    """Refuse moves without a look at their orders."""
    claims = inbox.claim(ROUTE.kind, [Received(m.id, m.order_id, m.at) for m in moves])
    mine = inbox.claimed(moves, claims)
    inbox.record_refusals([(move.id, refusal) for move in mine])
    audit.note(mine)
    return Outcome(moves, mine, len(mine))


def _write(moved: Sequence[Moved], locked: Mapping[str, LockedOrder]) -> None:
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
                decision.move.accepted_at, decision.move.command_id,
            )
            for decision in moved
        ]
    )  # fmt: skip


def _event_data(decision: Moved) -> dict[str, object]:
    data: dict[str, object] = {"command_id": decision.move.command_id}
    if decision.move.to == "returned":
        data["restock"] = decision.move.restock
    return data
