"""/v1/products and /v1/inventory."""

import re
from datetime import datetime
from typing import Annotated, Any, Final

import msgspec

from actors.commands import SKU, AdjustStock, CommandId, PutProduct, Sku
from models.queries import reads
from models.rules.currencies import MINOR_UNITS
from models.rules.reasons import allowed_reasons
from web.answers import Changes, Reads, send
from web.intake import Wanted
from web.parameters import InventoryQuery, MovementQuery, cursors
from web.problems import invalid_member, invalid_parameter, not_found
from web.requests import idempotency_key, read_body
from web.types import (
    ADDRESSABLE,
    ADDRESSABLE_RULE,
    AdjustmentRequest,
    InventoryPage,
    MovementPage,
    MovementView,
    ProductRequest,
    ReductionRequest,
)
from web.views import command_link, inventory_view

_SKU = re.compile(SKU)
_ADDRESSABLE = re.compile(ADDRESSABLE)
Location = Annotated[str, msgspec.Meta(max_length=64, pattern=r"^[^\x00]*\Z")]


def _check_sku(sku: str) -> None:
    if _ADDRESSABLE.fullmatch(sku) is None:
        raise invalid_parameter("sku", f"must be {ADDRESSABLE_RULE}")


class Product:
    """PUT creates or replaces a product."""

    scopes: Final = {"PUT": ("inventory:write",)}

    def __init__(self, changes: Changes) -> None:
        self._changes = changes
        self._decoder = msgspec.json.Decoder(ProductRequest)

    async def on_put(self, req: Any, resp: Any, sku: str) -> None:
        _check_sku(sku)
        key = idempotency_key(req)
        product = await read_body(req, self._decoder)
        if product.currency not in MINOR_UNITS:
            raise invalid_member("/currency", "must be an active currency of ISO 4217, such as EUR")
        members = {"sku": sku, **msgspec.structs.asdict(product)}
        wanted = Wanted(PutProduct, members, key)
        await self._changes.answer(req, resp, wanted, command_link)


class Inventory:
    """GET shows the stock of a product."""

    scopes: Final = {"GET": ("inventory:read",)}

    def __init__(self, found: Reads) -> None:
        self._reads = found

    async def on_get(self, _req: Any, resp: Any, sku: str) -> None:
        row = await self._reads.inventory(sku) if _SKU.fullmatch(sku) else None
        if row is None:
            raise not_found(f"There is no product {sku[:64]}.")
        send(resp, inventory_view(row))


class InventoryList:
    """GET lists stock, the newest products first."""

    scopes: Final = {"GET": ("inventory:read",)}
    query: Final = {"GET": InventoryQuery}

    def __init__(self, found: Reads) -> None:
        self._reads = found

    async def on_get(self, req: Any, resp: Any) -> None:
        query: InventoryQuery = req.context.query
        cursor = cursors(req.path, query)
        after = cursor.read(query.cursor, tuple[datetime, Sku])
        size = query.limit
        rows = await self._reads.lists.run(
            reads.inventory_page, query.prefix or "", query.available_below, after, size + 1
        )
        more = len(rows) > size
        rows = rows[:size]
        following = cursor.write((rows[-1].created_at, rows[-1].sku)) if more else None
        send(resp, InventoryPage([inventory_view(row) for row in rows], following))


class Adjustments:
    """POST puts units on hand or takes them off."""

    scopes: Final = {"POST": ("inventory:write",)}

    def __init__(self, changes: Changes) -> None:
        self._changes = changes
        self._decoder = msgspec.json.Decoder(AdjustmentRequest)

    async def on_post(self, req: Any, resp: Any, sku: str) -> None:
        _check_sku(sku)
        key = idempotency_key(req)
        adjustment = await read_body(req, self._decoder)
        if adjustment.delta == 0:
            raise invalid_member("/delta", "may not be 0")
        wanted = _wanted(sku, adjustment.delta, adjustment.reason, key)
        await self._changes.answer(req, resp, wanted, command_link)


class Reductions:
    """POST takes units off hand."""

    scopes: Final = {"POST": ("inventory:write",)}

    def __init__(self, changes: Changes) -> None:
        self._changes = changes
        self._decoder = msgspec.json.Decoder(ReductionRequest)

    async def on_post(self, req: Any, resp: Any, sku: str) -> None:
        _check_sku(sku)
        key = idempotency_key(req)
        reduction = await read_body(req, self._decoder)
        wanted = _wanted(sku, -reduction.quantity, reduction.reason, key)
        await self._changes.answer(req, resp, wanted, command_link)


def _wanted(sku: str, delta: int, reason: str, key: str | None) -> Wanted:
    """Raises Problem (422): the reason is not one for that direction."""
    if reason not in (allowed := allowed_reasons(delta)):
        what = "put units on hand" if delta > 0 else "take units off"
        raise invalid_member("/reason", f"must be one of {', '.join(allowed)} to {what}")
    return Wanted(AdjustStock, {"sku": sku, "delta": delta, "reason": reason}, key)


class Movements:
    """GET shows the ledger of a product, newest first."""

    scopes: Final = {"GET": ("inventory:read",)}
    query: Final = {"GET": MovementQuery}

    def __init__(self, found: Reads) -> None:
        self._reads = found

    async def on_get(self, req: Any, resp: Any, sku: str) -> None:
        query: MovementQuery = req.context.query
        if not _SKU.fullmatch(sku) or await self._reads.inventory(sku) is None:
            raise not_found(f"There is no product {sku[:64]}.")
        size = query.limit
        cursor = cursors(req.path, query)
        after = cursor.read(query.cursor, tuple[datetime, CommandId, Location])
        rows = await self._reads.lists.run(reads.movements_page, sku, after, size + 1)
        items = [MovementView(*row) for row in rows[:size]]
        more = len(rows) > size
        last = items[-1] if items else None
        position = (last.at, last.command_id, last.location) if more and last else None
        send(resp, MovementPage(items, cursor.write(position) if position else None))
