"""The actor that decides new orders: claim, read, decide, write, and take the stock last."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple

import dramatiq
import msgspec
import peewee

from actors import ahead, waiting_moves
from actors.broker import broker
from actors.commands import PLACE_BEHIND, ROUTES, PlaceOrder, decode, encode, join
from actors.controls import controls
from actors.crashes import DEADLY
from actors.group_commit import GroupCommit, Take
from actors.lane import PRIORITY
from actors.log_context import current_message
from actors.stats import recorder
from config import settings
from models.database import BundledTransaction, bundled_transaction
from models.queries import inbox, orders, slots, stock
from models.queries import waiting_moves as waiting
from models.queries.inbox import Claim, Received
from models.queries.orders import LineRow, OrderRow
from models.queries.stock import Movement
from models.rules.allocation import Allocation, Decision, Demand, Level, allocate
from models.rules.behind import orders_behind
from models.rules.order_status import CONFIRMED, REJECTED


@dramatiq.actor(
    actor_name=ROUTES[PlaceOrder].actor,
    queue_name=ROUTES[PlaceOrder].queue,
    broker=broker,
    rate_limit=settings().orders_rate_limit,
)
def place_orders(commands: msgspec.Raw) -> None:
    """Decide new orders: stock for all their lines, or none.

    What would be refused before its products are set up is left to `place_behind`.
    """
    placed = decode(PlaceOrder, commands)
    after = _placing.submit(placed, current_message())
    # Here, where the orders of other messages don't wait for it.
    waiting_moves.apply([order.id for order in placed if order.id in after.moved])
    if behind := [encode(order) for order in placed if order.id in after.left]:
        # Confirmed, or else this message is tried again; the inbox knows what is decided.
        broker.enqueue(place_behind.message(commands=join(behind)))


@dramatiq.actor(
    actor_name=PLACE_BEHIND.actor,
    queue_name=PLACE_BEHIND.queue,
    broker=broker,
    priority=PRIORITY,
)
def place_behind(commands: msgspec.Raw) -> None:
    """Decide new orders for good, behind all changes of SKUs that were accepted before them."""
    ahead.apply(PlaceOrder, commands, _place_behind)


Read = Callable[[Iterable[str]], Mapping[str, Level]]
#: How a transaction reads the stock, attempt after attempt. Somebody may take it between the read
#: and the commit; the CHECK finds out. Whoever holds the rows before deciding always gets through.
ATTEMPTS: Final[tuple[Read, ...]] = (stock.read_levels, stock.read_levels, stock.lock_levels)
#: Says which orders are left undecided, by levels, decisions and when they were accepted.
LeftOut = Callable[[Mapping[str, Level], Sequence[Decision], Mapping[str, datetime]], set[str]]


class Aftermath(NamedTuple):
    """What is to be done once orders are decided. left: ids of those that are left to
    `place_behind`; moved: of those that moves wait for."""

    left: set[str]
    moved: set[str]


def _place(take: Take[PlaceOrder]) -> Aftermath:
    return _decide(take, orders_behind)


def _place_behind(commands: Sequence[PlaceOrder]) -> None:
    waiting_moves.apply(_decide(lambda: commands, lambda *_: set()).moved)


def _decide(take: Take[PlaceOrder], left_out: LeftOut) -> Aftermath:
    *optimistic, locked = ATTEMPTS
    for read in optimistic:
        try:
            return _decide_by(read, take, left_out)
        except peewee.IntegrityError as error:
            if not stock.is_short(error):
                raise
        recorder.redone(ROUTES[PlaceOrder].actor)
    return _decide_by(locked, take, left_out)


def _decide_by(read: Read, take: Take[PlaceOrder], left_out: LeftOut) -> Aftermath:
    """Decide by levels that may change until the commit, which is then refused as a whole.

    Rows of stock come last: they are locked, changed and committed by one message to the server.
    Raises peewee.IntegrityError where there is not that much stock any more.
    """
    with bundled_transaction() as work:
        commands, claims = _claim(work, take)
        mine = inbox.claimed(commands, claims)
        levels = read(line.sku for c in mine for line in c.lines)
        demands = [Demand(c.id, [(line.sku, line.quantity) for line in c.lines]) for c in mine]
        decisions = allocate(levels, demands)
        left = left_out(levels, decisions, {id_: claim.at for id_, claim in claims.items()})
        given_back = {id_: claims.pop(id_) for id_ in left}
        mine = inbox.claimed(mine, claims)
        decisions = [decision for decision in decisions if decision.order_id not in left]
        reached = orders.forget_failed({id_: c.at for id_, c in claims.items() if c.again})
        rows = [
            _order_row(command, claims[command.id], decision, levels, reached.get(command.id, 0))
            for command, decision in zip(mine, decisions, strict=True)
        ]
        refused = [(d.order_id, d.refusal) for d in decisions if not isinstance(d, Allocation)]
        moved = work.commit(
            *orders.insertions(rows),
            *inbox.refusals_written(refused),
            *inbox.unclaimed(given_back),
            *stock.changes(_allocations(decisions, levels)),
            # Of those that were decided before as well: see actors/waiting_moves.py.
            then=[waiting.look_for([command.id for command in commands])],
        )
    # Whichever actor decided them: the figures of orders are in one place.
    recorder.decided(ROUTES[PlaceOrder].actor, commands, mine, len(refused))
    return Aftermath(left, {order_id for (order_id,) in moved} - left)


def _claim(
    work: BundledTransaction, take: Take[PlaceOrder]
) -> tuple[Sequence[PlaceOrder], dict[str, Claim]]:
    """Take a slot and claim the commands that wait, which are more if the slot was long in coming.

    Nearly always there is a slot, and it costs no round trip.
    """
    kind, slots_max = ROUTES[PlaceOrder].kind, settings().transactions_at_once
    commands = take()
    claims = inbox.claim_in_slot(work, kind, _received(commands), slots_max)
    if claims is None:
        slots.wait(work, slots_max, settings().lock_timeout_ms)
        commands = take()
        claims = inbox.claim(kind, _received(commands))
    return commands, claims


def _received(commands: Sequence[PlaceOrder]) -> list[Received]:
    return [Received(command.id, None, command.at) for command in commands]


def _fetched() -> list[Any]:
    """The messages that wait here for a thread and may be decided with the one in hand.

    Not beside a message that came again, nor one that did: an attempt that ends its process has to
    be told from others (actors/crashes.py). Nor with a limit, which counts each before it begins.
    """
    message = current_message()
    if message is None or _is_counted_alone(message) or _is_limited(message):
        return []
    # A copy: the consumer's thread goes on.
    fetched = list(message.consumer.held.values())
    return [
        each
        for each in fetched
        if each.actor_name == message.actor_name and not _is_counted_alone(each)
    ]


def _is_counted_alone(message: Any) -> bool:
    return bool(message.redelivered or message.options.get(DEADLY))


def _is_limited(message: Any) -> bool:
    return bool(
        settings().orders_rate_limit
        or controls.rate_limit(message.actor_name)
        or controls.held_for_s(message.queue_name)
        or controls.is_paused(message.queue_name)
    )


def _read(message: Any) -> list[PlaceOrder]:
    return decode(PlaceOrder, message.kwargs["commands"])


_placing = GroupCommit(
    _place, commands_max=settings().transaction_commands_max, fetched=_fetched, read=_read
)


def _order_row(
    command: PlaceOrder,
    claim: Claim,
    decision: Decision,
    levels: Mapping[str, Level],
    version_reached: int,
) -> OrderRow:
    if isinstance(decision, Allocation):
        status, currency, total, rejection = CONFIRMED, decision.currency, decision.total, None
        lines = [
            LineRow(line.sku, line.quantity, levels[line.sku].unit_price, levels[line.sku].location)
            for line in command.lines
        ]
    else:
        status, currency, total = REJECTED, None, None
        rejection = decision.refusal.document()
        lines = [LineRow(line.sku, line.quantity, None, None) for line in command.lines]
    return OrderRow(
        command.id, claim.at, command.customer_id, status, currency, total,
        version_reached + 1, command.metadata, rejection, lines,
    )  # fmt: skip


def _allocations(decisions: Sequence[Decision], levels: Mapping[str, Level]) -> list[Movement]:
    return [
        Movement(sku, levels[sku].location, 0, units, "placed", decision.order_id,
                 decision.order_id)
        for decision in decisions
        if isinstance(decision, Allocation)
        for sku, units in decision.units.items()
    ]  # fmt: skip
