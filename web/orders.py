"""/v1/orders and /v1/order-batches."""

from datetime import datetime
from typing import Any, Final

import msgspec

from actors.commands import CommandId, MoveOrder, PlaceOrder
from models.queries import reads
from models.queries.order_filter import OrderFilter
from models.rules.order_status import fits_version
from web.answers import Changes, Reads, send
from web.ids import COMMAND, ORDER, IdMint
from web.intake import Wanted
from web.parameters import OrderQuery, cursors
from web.problems import Problem, breaks_rules, invalid_member, not_found
from web.requests import (
    BATCH_BODY_MAX,
    etag,
    idempotency_key,
    if_match_versions,
    metadata_errors,
    none_matches,
    read_body,
)
from web.tracing import traceparent
from web.types import (
    BatchedOrder,
    EventView,
    MoveRequest,
    OrderBatchRequest,
    OrderPage,
    OrderRequest,
    OrderView,
    Timeline,
)
from web.views import command_link, order_link, order_view


def _wanted(
    order: OrderRequest,
    key: str | None,
    key_pointer: str | None = None,
    parent: str | None = None,
) -> Wanted:
    members = {
        "customer_id": order.customer_id,
        "lines": order.lines,
        "metadata": order.metadata,
    }
    return Wanted(PlaceOrder, members, key, key_pointer, traceparent=parent)


class Orders:
    """POST places an order, GET lists them."""

    scopes: Final = {"POST": ("orders:write",), "GET": ("orders:read",)}
    query: Final = {"GET": OrderQuery}

    def __init__(self, changes: Changes, found: Reads) -> None:
        self._changes = changes
        self._reads = found
        self._decoder = msgspec.json.Decoder(OrderRequest)

    async def on_post(self, req: Any, resp: Any) -> None:
        key = idempotency_key(req)
        order = await read_body(req, self._decoder)
        if errors := metadata_errors(order.metadata):
            raise breaks_rules(errors)
        await self._changes.answer(req, resp, _wanted(order, key), order_link)

    async def on_get(self, req: Any, resp: Any) -> None:
        query: OrderQuery = req.context.query
        wanted = OrderFilter(
            query.status, query.customer_id, query.sku, query.placed_after, query.placed_before,
            query.updated_after,
        )  # fmt: skip
        cursor = cursors(req.path, query)
        after = cursor.read(query.cursor, tuple[datetime, CommandId])
        size = query.limit
        found, last = await self._reads.lists.run(reads.orders_page, wanted, after, size)
        items = [order_view(id_, order) for id_, order in found]
        send(resp, OrderPage(items, cursor.write(last) if last else None))


class OrderBatches:
    """POST places up to 500 orders at once."""

    scopes: Final = {"POST": ("orders:write",)}

    def __init__(self, changes: Changes) -> None:
        self._changes = changes
        self._decoder = msgspec.json.Decoder(OrderBatchRequest)

    async def on_post(self, req: Any, resp: Any) -> None:
        key = idempotency_key(req)
        batch = await read_body(req, self._decoder, BATCH_BODY_MAX)
        if errors := _errors_in_batch(batch.orders):
            raise breaks_rules(errors)
        parent = traceparent(req)
        wanted = []
        for index, order in enumerate(batch.orders):
            own_key = f"/orders/{index}/idempotency_key" if order.idempotency_key else None
            wanted.append(_wanted(order, _key_in_batch(order, key, index), own_key, parent))
        taken = await self._changes.intake.take_all(req.context.client, wanted, key)
        await self._changes.answer_batch(req, resp, taken)


def _key_in_batch(order: BatchedOrder, key: str | None, index: int) -> str | None:
    """An order's own key; else its place under the batch's key, which no header can spell."""
    if order.idempotency_key is not None or key is None:
        return order.idempotency_key
    return f"{key}\n{index}"


def _errors_in_batch(orders: list[BatchedOrder]) -> list[dict[str, str]]:
    """What no type can say of the orders of a batch."""
    errors = []
    keys: set[str] = set()
    for index, order in enumerate(orders):
        errors += metadata_errors(order.metadata, f"/orders/{index}/metadata")
        key = order.idempotency_key
        if key in keys:
            pointer = f"/orders/{index}/idempotency_key"
            errors.append({"pointer": pointer, "detail": "appears more than once in this batch"})
        elif key is not None:
            keys.add(key)
    return errors


class Order:
    """GET shows an order, PATCH moves it to another status."""

    scopes: Final = {"GET": ("orders:read",), "PATCH": ("orders:write",)}
    conditions: Final = {"PATCH": ("If-Match",)}

    def __init__(self, changes: Changes, found: Reads, mint: IdMint) -> None:
        self._changes = changes
        self._reads = found
        self._mint = mint
        self._decoder = msgspec.json.Decoder(MoveRequest)

    async def on_get(self, req: Any, resp: Any, order_id: str) -> None:
        self._check_id(order_id)
        view = await self._view(order_id)
        _check_version(view, if_match_versions(req))
        tag = None if view.version is None else etag(view.version)
        if tag is not None:
            resp.set_header("ETag", tag)
        if none_matches(req, tag):
            send(resp, view)
        else:
            resp.status = 304

    async def on_patch(self, req: Any, resp: Any, order_id: str) -> None:
        self._check_id(order_id)
        key = idempotency_key(req)
        if_version = if_match_versions(req)
        move = await read_body(req, self._decoder)
        if move.restock is not msgspec.UNSET and move.status != "returned":
            raise invalid_member("/restock", "goes with status returned only")
        try:
            _check_version(await self._view(order_id), if_version)
        except Problem as problem:
            # What was moved under this key was moved, whatever became of the order since.
            if problem.status not in (410, 412) or not await self._is_replay(
                req.context.client, key
            ):
                raise
        members = {
            "order_id": order_id,
            "to": move.status,
            "restock": move.restock is not False,
            "if_version": if_version,
        }
        await self._changes.answer(req, resp, Wanted(MoveOrder, members, key), command_link)

    async def _is_replay(self, client: str, key: str | None) -> bool:
        """Whether the move under this key is decided already."""
        if key is None:
            return False
        digest = self._mint.key_digest(client, key)
        return await self._reads.command(self._mint.from_key(COMMAND, digest)) is not None

    def _check_id(self, order_id: str) -> None:
        if not self._mint.is_ours(ORDER, order_id):
            raise not_found(f"There is no order {order_id[:64]}.")

    async def _view(self, order_id: str) -> OrderView:
        return order_view(order_id, await self._reads.order(order_id))


def _check_version(view: OrderView, if_version: int | tuple[int, ...] | None) -> None:
    """Raises Problem (412) for a stale one: versions only grow, so what is stale now stays so."""
    if view.version is not None and not fits_version(view.version, if_version):
        raise Problem(
            412, "precondition-failed", "The order has changed",
            f"The order is at version {view.version}. Read it again.",
        )  # fmt: skip


class OrderEvents:
    """GET shows an order's timeline."""

    scopes: Final = {"GET": ("orders:read",)}

    def __init__(self, found: Reads, mint: IdMint) -> None:
        self._reads = found
        self._mint = mint

    async def on_get(self, _req: Any, resp: Any, order_id: str) -> None:
        if not self._mint.is_ours(ORDER, order_id):
            raise not_found(f"There is no order {order_id[:64]}.")
        rows = await self._reads.reader.run(reads.events, order_id)
        if not rows:
            await self._reads.order(order_id)
        send(resp, Timeline([EventView(*row) for row in rows]))
