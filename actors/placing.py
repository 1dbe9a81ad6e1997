"""The actor that decides new orders: claim, lock, decide, write."""

from collections.abc import Mapping, Sequence

import dramatiq
import msgspec

from actors.broker import broker
from actors.commands import ROUTES, PlaceOrder, decode
from actors.group_commit import GroupCommit
from actors.stats import recorder
from config import settings
from models.database import transaction
from models.queries import inbox, orders, stock
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


def _place(commands: Sequence[PlaceOrder]) -> None:
    with transaction():
        claims = inbox.claim(
            ROUTES[PlaceOrder].kind, [Received(c.id, None, c.at) for c in commands]
        )
        mine = inbox.claimed(commands, claims)
        levels = stock.lock_levels(line.sku for c in mine for line in c.lines)
        demands = [Demand(c.id, [(line.sku, line.quantity) for line in c.lines]) for c in mine]
        decisions = allocate(levels, demands)
        reached = orders.forget_failed({id_: c.at for id_, c in claims.items() if c.again})
        rows = [
            _order_row(command, claims[command.id], decision, levels, reached.get(command.id, 0))
            for command, decision in zip(mine, decisions, strict=True)
        ]
        orders.insert(rows)
        stock.write_movements(_allocations(decisions, levels))
        refused = [(d.order_id, d.refusal) for d in decisions if not isinstance(d, Allocation)]
        inbox.record_refusals(refused)
    recorder.decided(ROUTES[PlaceOrder].actor, commands, mine, len(refused))


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
