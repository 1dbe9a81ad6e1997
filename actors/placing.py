"""The actor that decides new orders: claim, read, decide, write, and take the stock last."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

import dramatiq
import msgspec
import peewee

from actors.broker import broker
from actors.commands import ROUTES, PlaceOrder, decode
from actors.group_commit import GroupCommit, Take
from actors.stats import recorder
from config import settings
from models.database import BundledTransaction, bundled_transaction
from models.queries import inbox, orders, slots, stock
from models.queries.inbox import Claim, Received
from models.queries.orders import LineRow, OrderRow
from models.queries.stock import Movement
from models.rules.allocation import Allocation, Decision, Demand, Level, allocate
from models.rules.order_status import CONFIRMED, REJECTED


@dramatiq.actor(
    actor_name=ROUTES[PlaceOrder].actor,
    queue_name=ROUTES[PlaceOrder].queue,
    broker=broker,
    rate_limit=settings().orders_rate_limit,
)
def place_orders(commands: msgspec.Raw) -> None:
    """Decide new orders: stock for all their lines, or none."""
    _placing.submit(decode(PlaceOrder, commands))


#: How a transaction reads the stock, attempt after attempt. Somebody may take it between the read
#: and the commit; the CHECK finds out. Whoever holds the rows before deciding always gets through.
ATTEMPTS: Final = (stock.read_levels, stock.read_levels, stock.lock_levels)


def _place(take: Take[PlaceOrder]) -> None:
    *optimistic, locked = ATTEMPTS
    for read in optimistic:
        try:
            return _place_by(read, take)
        except peewee.IntegrityError as error:
            if not stock.is_short(error):
                raise
        recorder.redone(ROUTES[PlaceOrder].actor)
    return _place_by(locked, take)


def _place_by(read: Callable[[Iterable[str]], Mapping[str, Level]], take: Take[PlaceOrder]) -> None:
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
        reached = orders.forget_failed({id_: c.at for id_, c in claims.items() if c.again})
        rows = [
            _order_row(command, claims[command.id], decision, levels, reached.get(command.id, 0))
            for command, decision in zip(mine, decisions, strict=True)
        ]
        refused = [(d.order_id, d.refusal) for d in decisions if not isinstance(d, Allocation)]
        work.commit(
            *orders.insertions(rows),
            *inbox.refusals_written(refused),
            *stock.changes(_allocations(decisions, levels)),
        )
    recorder.decided(ROUTES[PlaceOrder].actor, commands, mine, len(refused))


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


_placing = GroupCommit(_place, commands_max=settings().transaction_commands_max)


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
