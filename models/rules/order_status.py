"""The states of an order, the moves between them, and what each move does to stock."""

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Final, NamedTuple

from models.rules.refusals import ILLEGAL_TRANSITION, PRECONDITION_FAILED, Refusal, refuse
from models.rules.replacement import superseded_by

PENDING: Final = "pending"
CONFIRMED: Final = "confirmed"
REJECTED: Final = "rejected"
FAILED: Final = "failed"
SHIPPED: Final = "shipped"
DELIVERED: Final = "delivered"
CANCELLED: Final = "cancelled"
RETURNED: Final = "returned"

#: What an order may become next. A terminal status has no moves.
MOVES: Final[Mapping[str, frozenset[str]]] = {
    PENDING: frozenset({CONFIRMED, REJECTED, FAILED}),
    CONFIRMED: frozenset({SHIPPED, CANCELLED}),
    SHIPPED: frozenset({DELIVERED, RETURNED}),
    DELIVERED: frozenset({RETURNED}),
    CANCELLED: frozenset(),
    REJECTED: frozenset(),
    RETURNED: frozenset(),
    FAILED: frozenset(),
}

#: An operator puts a failed order back, and it is decided anew; its timeline goes on.
DECIDED_ANEW: Final = frozenset({CONFIRMED, REJECTED})

#: What one unit of a line does to (on_hand, allocated) when its order makes the move.
EFFECT_PER_UNIT: Final[Mapping[str, tuple[int, int]]] = {
    SHIPPED: (-1, -1),
    CANCELLED: (0, -1),
    DELIVERED: (0, 0),
    RETURNED: (1, 0),
}


class OrderState(NamedTuple):
    """Where an order stands. version: counts its changes, from 1; moved_by: the command of the move
    that it last took, move_accepted_at: when that was accepted; None of one that took none."""

    status: str
    version: int
    move_accepted_at: datetime | None = None
    moved_by: str | None = None


class Move(NamedTuple):
    """A move asked for. accepted_at: by the front door; if_version: apply only to that version, or
    to one of several; restock: for a return."""

    command_id: str
    order_id: str
    to: str
    accepted_at: datetime
    if_version: int | tuple[int, ...] | None = None
    restock: bool = True


class Moved(NamedTuple):
    """A move that applies. version: the order's new one; effect: per unit of each line."""

    move: Move
    version: int
    effect: tuple[int, int]


class NotMoved(NamedTuple):
    """A move that is refused, and why."""

    move: Move
    refusal: Refusal


def timelines(begin: str = PENDING) -> Iterator[tuple[str, ...]]:
    """Every way that an order can have come, as the statuses it had after `begin`."""
    for status in sorted(MOVES[begin] or (DECIDED_ANEW if begin == FAILED else ())):
        yield (status,)
        for rest in timelines(status):
            yield (status, *rest)


def decide_moves(states: Mapping[str, OrderState], moves: Iterable[Move]) -> list[Moved | NotMoved]:
    """Decide each move in turn, the later ones against what the earlier ones made.

    states: by order id, for every order that is moved. Returns one decision per move, in order.
    """
    current = dict(states)
    decisions: list[Moved | NotMoved] = []
    for move in moves:
        state = current[move.order_id]
        refusal = _refusal(state, move)
        if refusal is not None:
            decisions.append(NotMoved(move, refusal))
            continue
        version = state.version + 1
        current[move.order_id] = OrderState(move.to, version, move.accepted_at, move.command_id)
        keeps_stock = move.to == RETURNED and not move.restock
        effect = (0, 0) if keeps_stock else EFFECT_PER_UNIT[move.to]
        decisions.append(Moved(move, version, effect))
    return decisions


def fits_version(version: int, if_version: int | tuple[int, ...] | None) -> bool:
    """Whether a version is the one that a move is for, or one of them; any is without."""
    if isinstance(if_version, tuple):
        return version in if_version
    return if_version is None or version == if_version


def _is_late(state: OrderState, move: Move) -> bool:
    """Whether the order took a move since that was accepted after this one.

    Who names a version says what the move comes after; that counts for more than two clocks.
    """
    if state.move_accepted_at is None or move.if_version is not None:
        return False
    return move.accepted_at < state.move_accepted_at


def _refusal(state: OrderState, move: Move) -> Refusal | None:
    if _is_late(state, move):
        return superseded_by(str(state.moved_by))
    if not fits_version(state.version, move.if_version):
        named = move.if_version if isinstance(move.if_version, tuple) else (move.if_version,)
        return refuse(
            PRECONDITION_FAILED,
            f"The order is at version {state.version}, and If-Match names "
            f"{', '.join(map(str, named))}. Read it again.",
        )
    if move.to in MOVES[state.status]:
        return None
    allowed = ", ".join(sorted(MOVES[state.status])) or "nothing else"
    return refuse(
        ILLEGAL_TRANSITION,
        f"The order is {state.status}; it can become {allowed}, not {move.to}.",
        status_now=state.status,
    )
