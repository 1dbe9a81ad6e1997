"""/v1/products and /v1/inventory."""

import re
from datetime import datetime
from typing import Annotated, Any, Final

import msgspec

from actors.commands import AdjustStock, CommandId, PutProduct, Sku
from models.queries import reads
from web.answers import Changes, Reads, send
from web.intake import Wanted
from web.problems import invalid, invalid_member, invalid_parameter, not_found
from web.requests import (
    check_parameters,
    idempotency_key,
    integer,
    limit,
    parameter,
    read_body,
    read_cursor,
    write_cursor,
)
from web.types import (
    AdjustmentRequest,
    InventoryPage,
    MovementPage,
    MovementView,
    ProductRequest,
    ReductionRequest,
)
from web.views import command_link, inventory_view

_SKU = re.compile(r"[A-Za-z0-9._-]{1,64}")
Location = Annotated[str, msgspec.Meta(max_length=64, pattern=r"^[^\x00]*\Z")]


def _check_sku(sku: str) -> str:
    if _SKU.fullmatch(sku) is None:
        raise invalid(
            "A SKU has 1 to 64 of the characters A-Z a-z 0-9 . _ -",
            [{"parameter": "sku", "detail": "1 to 64 of A-Z a-z 0-9 . _ -"}],
        )
    return sku


class Product:
    """PUT creates or replaces a product."""

    scopes: Final = {"PUT": ("inventory:write",)}

    def __init__(self, changes: Changes) -> None:
        self._changes = changes
        self._decoder = msgspec.json.Decoder(ProductRequest)

    async def on_put(self, req: Any, resp: Any, sku: str) -> None:
        product = await read_body(req, self._decoder)
        members = {"sku": _check_sku(sku), **msgspec.structs.asdict(product)}
        wanted = Wanted(PutProduct, members, idempotency_key(req))
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

    def __init__(self, found: Reads) -> None:
        self._reads = found

    async def on_get(self, req: Any, resp: Any) -> None:
        check_parameters(req, "prefix", "available_below", "cursor", "limit")
        prefix = parameter(req, "prefix") or ""
        if prefix and _SKU.fullmatch(prefix) is None:
            raise invalid_parameter("prefix", "1 to 64 of A-Z a-z 0-9 . _ -")
        below = integer(req, "available_below", low=0, high=10**15)
        size = limit(req)
        after = read_cursor(req, tuple[datetime, Sku])
        rows = await self._reads.lists.run(reads.inventory_page, prefix, below, after, size + 1)
        more = len(rows) > size
        rows = rows[:size]
        cursor = write_cursor((rows[-1].created_at, rows[-1].sku)) if more else None
        send(resp, InventoryPage([inventory_view(row) for row in rows], cursor))


class Adjustments:
    """POST puts units on hand or takes them off."""

    scopes: Final = {"POST": ("inventory:write",)}

    def __init__(self, changes: Changes) -> None:
        self._changes = changes
        self._decoder = msgspec.json.Decoder(AdjustmentRequest)

    async def on_post(self, req: Any, resp: Any, sku: str) -> None:
        adjustment = await read_body(req, self._decoder)
        if adjustment.delta == 0:
            raise invalid_member("/delta", "may not be 0")
        await _adjust(self._changes, req, resp, sku, adjustment.delta, adjustment.reason)


class Reductions:
    """POST takes units off hand."""

    scopes: Final = {"POST": ("inventory:write",)}

    def __init__(self, changes: Changes) -> None:
        self._changes = changes
        self._decoder = msgspec.json.Decoder(ReductionRequest)

    async def on_post(self, req: Any, resp: Any, sku: str) -> None:
        reduction = await read_body(req, self._decoder)
        await _adjust(self._changes, req, resp, sku, -reduction.quantity, reduction.reason)


async def _adjust(changes: Changes, req: Any, resp: Any, sku: str, delta: int, reason: str) -> None:
    members = {"sku": _check_sku(sku), "delta": delta, "reason": reason}
    await changes.answer(
        req, resp, Wanted(AdjustStock, members, idempotency_key(req)), command_link
    )


class Movements:
    """GET shows the ledger of a product, newest first."""

    scopes: Final = {"GET": ("inventory:read",)}

    def __init__(self, found: Reads) -> None:
        self._reads = found

    async def on_get(self, req: Any, resp: Any, sku: str) -> None:
        check_parameters(req, "cursor", "limit")
        if not _SKU.fullmatch(sku) or await self._reads.inventory(sku) is None:
            raise not_found(f"There is no product {sku[:64]}.")
        size = limit(req)
        after = read_cursor(req, tuple[datetime, CommandId, Location])
        rows = await self._reads.lists.run(reads.movements_page, sku, after, size + 1)
        items = [MovementView(*row) for row in rows[:size]]
        more = len(rows) > size
        last = items[-1] if items else None
        cursor = write_cursor((last.at, last.command_id, last.location)) if more and last else None
        send(resp, MovementPage(items, cursor))
