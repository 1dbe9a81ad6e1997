"""P7b: what a client did second took effect second, as it was accepted."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from itertools import pairwise
from typing import Final, NamedTuple

from models.rules.order_status import Move, Moved, OrderState, decide_moves
from models.rules.refusals import PRECONDITION_FAILED, SUPERSEDED
from tests.torture.history import Asked, Told
from tests.torture.world import OrderRow, World

#: An order of a product is not refused for want of stock that is on its way, so long after the
#: product was put.
SET_UP_S: Final = 60.0
#: Moves are in turn here, whenever they were accepted.
ANY_TIME: Final = datetime(2026, 1, 1, tzinfo=UTC)


class Links(NamedTuple):
    """A chain, as it was accepted. unknown: the last of it, where nobody knows."""

    accepted: list[Asked]
    unknown: Asked | None


def links(world: World) -> list[Links]:
    """Every chain of a run."""
    attempts: dict[str, list[Asked]] = defaultdict(list)
    for asked in world.asked:
        if asked.chain:
            attempts[asked.chain].append(asked)
    return [_links(chain) for chain in attempts.values()]


def _links(attempts: Sequence[Asked]) -> Links:
    accepted = [asked for asked in attempts if asked.told is Told.OK]
    done = {asked.key for asked in accepted}
    unknown = [
        a for a in attempts if a.told is Told.UNKNOWN and (a.key is None or a.key not in done)
    ]
    return Links(accepted, unknown[-1] if unknown else None)


def out_of_turn(world: World) -> Iterator[str]:
    """What did not take effect in the order in which it was accepted."""
    for chain in links(world):
        if not chain.accepted:
            continue
        first, *rest = chain.accepted
        if first.kind == "order":
            order = world.orders.get(first.ids[0])
            if order is not None and order.events:
                yield from _moves(world, order, rest, chain.unknown)
        else:
            yield from _sku(world, chain)


def _moves(
    world: World, order: OrderRow, moves: list[Asked], unknown: Asked | None
) -> Iterator[str]:
    """The timeline, and each outcome, are those of the moves one after the other."""
    late = [move for move in moves if _came_late(world, move, moves)]
    state = OrderState(order.events[0], 1)
    turns = [_move(m) for m in moves if m not in late and not _failed(world, m)]
    decisions = decide_moves({order.id: state}, turns)
    for decision in decisions:
        due = "applied" if isinstance(decision, Moved) else decision.refusal.slug
        if (came := _outcome(world, decision.move.command_id)) not in (due, None):
            yield f"order {order.id}: {decision.move.to} is {came}, not {due}, in {order.events}"
    for move in late:
        # Who names a version says what it comes after, whenever it was accepted.
        due = PRECONDITION_FAILED if move.if_version else SUPERSEDED
        if (came := _outcome(world, move.ids[0])) != due:
            yield f"order {order.id}: {move.to}, put back, is {came}, in {order.events}"
    timeline = [order.events[0], *(d.move.to for d in decisions if isinstance(d, Moved))]
    if order.events not in (timeline, [*timeline, unknown and unknown.to]):
        yield f"order {order.id} is {order.events}, in turn {timeline}"


def _move(asked: Asked) -> Move:
    versions = tuple(asked.if_version) or None
    return Move(asked.ids[0], asked.names[0], asked.to or "", ANY_TIME, versions)


def _came_late(world: World, asked: Asked, chain: Sequence[Asked]) -> bool:
    """Whether an operator put it back, and what was accepted after it has taken effect."""
    if asked.ids[0] not in world.put_back:
        return False
    later = chain[chain.index(asked) + 1 :]
    return any(a.kind == asked.kind and _outcome(world, a.ids[0]) == "applied" for a in later)


def _failed(world: World, asked: Asked) -> bool:
    """Whether it has no effect, by a fault that is counted elsewhere."""
    return _outcome(world, asked.ids[0]) == "failed"


def _outcome(world: World, id_: str) -> str | None:
    """The status of a command, or why it was refused; None of one that is lost: that is P1."""
    command = world.commands.get(id_)
    if command is None or command.status == "pending":
        return None
    return command.problem if command.status == "rejected" else command.status


def _sku(world: World, chain: Links) -> Iterator[str]:
    """All of it has to be applied; the product is the last one, the ledger in order."""
    first, sku = chain.accepted[0], chain.accepted[0].names[0]
    counted = []
    for asked in chain.accepted:
        if asked.kind == "order":
            yield from _order(world, sku, first, asked)
        elif _came_late(world, asked, chain.accepted) and asked.kind == "product":
            if (came := _outcome(world, asked.ids[0])) != SUPERSEDED:
                yield f"{sku}: {asked.price}, put back, is {came}"
        else:
            counted.append(asked)
            if (came := _outcome(world, asked.ids[0])) not in ("applied", "failed", None):
                yield f"{sku}: {asked.kind} {asked.price or asked.delta} is {came}"
    yield from _last_product(world, sku, counted, chain.unknown)
    yield from _ledger(world, sku, counted)


def _order(world: World, sku: str, product: Asked, asked: Asked) -> Iterator[str]:
    """What it wants was there before it."""
    order = world.orders.get(asked.ids[0])
    in_time = asked.ended_s - product.began_s < SET_UP_S
    if order is not None and in_time and order.events[:1] != ["confirmed"]:
        yield f"{sku}: order {order.id} is {order.events}, {_outcome(world, order.id)}"


def _last_product(
    world: World, sku: str, chain: Sequence[Asked], unknown: Asked | None
) -> Iterator[str]:
    prices = [a.price for a in chain if a.kind == "product" and not _failed(world, a)]
    allowed = prices[-1:] + ([unknown.price] if unknown and unknown.kind == "product" else [])
    if prices and world.prices.get(sku) not in allowed:
        yield f"{sku} costs {world.prices.get(sku)}, in turn {prices}"


def _ledger(world: World, sku: str, chain: Sequence[Asked]) -> Iterator[str]:
    changes = [a for a in chain if a.kind == "stock" and a.ids[0] not in world.put_back]
    times = [at for a in changes if (at := world.moved_at.get(a.ids[0])) is not None]
    if any(then < before for before, then in pairwise(times)):
        yield f"{sku}: its ledger is not in turn: {[f'{at:%T.%f}' for at in times]}"
