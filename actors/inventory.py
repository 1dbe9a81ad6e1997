"""The actors that own products and stock: claim, lock, decide, write."""

from collections.abc import Sequence
from datetime import datetime

import dramatiq
import msgspec

from actors import ahead, audit
from actors.broker import broker
from actors.commands import ON_HAND_MAX, ROUTES, AdjustStock, PutProduct
from actors.lane import PRIORITY
from actors.stats import recorder
from models.database import transaction
from models.queries import inbox, stock
from models.queries.inbox import Received
from models.queries.stock import DEFAULT_LOCATION, Movement, Product
from models.rules.allocation import StockChange, adjust
from models.rules.replacement import Replacement, supersede


@dramatiq.actor(
    actor_name=ROUTES[PutProduct].actor,
    queue_name=ROUTES[PutProduct].queue,
    broker=broker,
    priority=PRIORITY,
)
def put_products(commands: msgspec.Raw) -> None:
    """Create or replace products. A PUT that was accepted before the last one is refused."""
    ahead.apply(PutProduct, commands, _put)


@dramatiq.actor(
    actor_name=ROUTES[AdjustStock].actor,
    queue_name=ROUTES[AdjustStock].queue,
    broker=broker,
    priority=PRIORITY,
)
def adjust_stock(commands: msgspec.Raw) -> None:
    """Put units on hand or take them off, never below what is allocated to orders."""
    ahead.apply(AdjustStock, commands, _adjust)


def _put(commands: Sequence[PutProduct]) -> None:
    with transaction():
        claims = inbox.claim(
            ROUTES[PutProduct].kind, [Received(c.id, c.sku, c.at) for c in commands]
        )
        mine = inbox.claimed(commands, claims)
        latest = stock.lock_latest_puts(c.sku for c in mine)
        refusals = supersede(latest, [Replacement(c.id, c.sku, claims[c.id].at) for c in mine])
        decided = list(zip(mine, refusals, strict=True))
        applied = [c for c, refusal in decided if refusal is None]
        # Of several PUTs of a product the last one is what becomes of it.
        stock.put_products({c.sku: _product(c, claims[c.id].at) for c in applied}.values())
        refused = [(c.id, refusal) for c, refusal in decided if refusal is not None]
        inbox.record_refusals(refused)
    recorder.decided(ROUTES[PutProduct].actor, commands, mine, len(refused))


def _product(command: PutProduct, accepted_at: datetime) -> Product:
    return Product(
        command.sku, command.name, command.unit_price, command.currency, accepted_at, command.id
    )


def _adjust(commands: Sequence[AdjustStock]) -> None:
    with transaction():
        claims = inbox.claim(
            ROUTES[AdjustStock].kind, [Received(c.id, c.sku, c.at) for c in commands]
        )
        mine = inbox.claimed(commands, claims)
        levels = stock.lock_levels(c.sku for c in mine)
        refusals = adjust(
            {sku: (level.on_hand, level.allocated) for sku, level in levels.items()},
            [StockChange(c.id, c.sku, c.delta) for c in mine],
            ON_HAND_MAX,
        )
        decided = list(zip(mine, refusals, strict=True))
        stock.write_movements(
            [
                Movement(c.sku, DEFAULT_LOCATION, c.delta, 0, c.reason, None, c.id)
                for c, refusal in decided
                if refusal is None
            ]
        )
        refused = [(c.id, refusal) for c, refusal in decided if refusal is not None]
        inbox.record_refusals(refused)
        audit.note(mine)
    recorder.decided(ROUTES[AdjustStock].actor, commands, mine, len(refused))
