"""/v1/orders and /v1/order-batches."""

from datetime import datetime
from typing import Any, Final

import msgspec

from actors.commands import ORDERS_PER_BATCH_MAX, CommandId, MoveOrder, PlaceOrder
from models.queries import reads
from web.answers import Changes, Reads, send
from web.ids import COMMAND, ORDER, IdMint
from web.intake import Wanted
from web.problems import Problem, error_of, invalid_member, invalid_parameter, not_found
from web.requests import (
    BATCH_BODY_MAX,
    check_metadata,
    check_parameters,
    etag,
    idempotency_key,
    if_match_version,
    instant,
    limit,
    none_matches,
    parameter,
    read_body,
    read_cursor,
    write_cursor,
)
from web.tracing import tell_trace, traceparent
from web.types import (
    STATUSES,
    AcceptedOrders,
    AcceptedView,
    BatchedOrder,
    EventView,
    Links,
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

    def __init__(self, changes: Changes, found: Reads) -> None:
        self._changes = changes
        self._reads = found
        self._decoder = msgspec.json.Decoder(OrderRequest)

    async def on_post(self, req: Any, resp: Any) -> None:
        order = await read_body(req, self._decoder)
        check_metadata(order.metadata)
        await self._changes.answer(req, resp, _wanted(order, idempotency_key(req)), order_link)

    async def on_get(self, req: Any, resp: Any) -> None:
        check_parameters(
            req, "status", "customer_id", "sku", "placed_after", "placed_before", "cursor", "limit"
        )
        status = parameter(req, "status")
        if status is not None and status not in STATUSES:
            raise invalid_parameter("status", f"one of {', '.join(STATUSES)}")
        wanted = reads.OrderFilter(
            status,
            parameter(req, "customer_id"),
            parameter(req, "sku"),
            instant(req, "placed_after"),
            instant(req, "placed_before"),
        )
        size = limit(req)
        after = read_cursor(req, tuple[datetime, CommandId])
        found, last = await self._reads.lists.run(reads.orders_page, wanted, after, size)
        items = [order_view(id_, order) for id_, order in found]
        send(resp, OrderPage(items, write_cursor(last) if last else None))


class OrderBatches:
    """POST places up to 500 orders at once."""

    scopes: Final = {"POST": ("orders:write",)}

    def __init__(self, changes: Changes) -> None:
        self._changes = changes
        self._decoder = msgspec.json.Decoder(OrderBatchRequest)

    async def on_post(self, req: Any, resp: Any) -> None:
        batch = await read_body(
            req, self._decoder, bytes_max=BATCH_BODY_MAX, every_error=_errors_in_batch
        )
        key = idempotency_key(req)
        parent = traceparent(req)
        wanted = []
        for index, order in enumerate(batch.orders):
            check_metadata(order.metadata, f"/orders/{index}/metadata")
            own_key = f"/orders/{index}/idempotency_key" if order.idempotency_key else None
            wanted.append(_wanted(order, _key_in_batch(order, key, index), own_key, parent))
        _refuse_keys_twice(batch.orders)
        taken = await self._changes.intake.take_all(req.context.client, wanted, key)
        tell_trace(req, resp, taken[0].id)
        if all(one.replayed for one in taken):
            resp.set_header("Idempotent-Replayed", "true")
        views = [AcceptedView(one.id, Links(self=order_link(one.id))) for one in taken]
        send(resp, AcceptedOrders(views), status=202)


def _errors_in_batch(body: bytes) -> list[dict[str, str]]:
    """What is wrong with each order of a batch, one error an order."""
    errors = []
    for index, raw in enumerate(_raw_orders.decode(body).orders[:ORDERS_PER_BATCH_MAX]):
        try:
            _one_order.decode(raw)
        except msgspec.ValidationError as error:
            errors.append(error_of(error, f"/orders/{index}"))
    return errors


class _RawOrders(msgspec.Struct):
    orders: list[msgspec.Raw]


_raw_orders = msgspec.json.Decoder(_RawOrders)
_one_order = msgspec.json.Decoder(BatchedOrder)


def _key_in_batch(order: BatchedOrder, key: str | None, index: int) -> str | None:
    """An order's own key; else its place under the batch's key, which no header can spell."""
    if order.idempotency_key is not None or key is None:
        return order.idempotency_key
    return f"{key}\n{index}"


def _refuse_keys_twice(orders: list[BatchedOrder]) -> None:
    seen: set[str] = set()
    for index, order in enumerate(orders):
        key = order.idempotency_key
        if key is not None and key in seen:
            raise invalid_member(f"/orders/{index}/idempotency_key", "is in this batch twice")
        seen.add(key or "")


class Order:
    """GET shows an order, PATCH moves it to another status."""

    scopes: Final = {"GET": ("orders:read",), "PATCH": ("orders:write",)}

    def __init__(self, changes: Changes, found: Reads, mint: IdMint) -> None:
        self._changes = changes
        self._reads = found
        self._mint = mint
        self._decoder = msgspec.json.Decoder(MoveRequest)

    async def on_get(self, req: Any, resp: Any, order_id: str) -> None:
        view = await self._view(order_id)
        if view.version is not None:
            tag = etag(view.version)
            resp.set_header("ETag", tag)
            if not none_matches(req, tag):
                resp.status = 304
                return
        send(resp, view)

    async def on_patch(self, req: Any, resp: Any, order_id: str) -> None:
        move = await read_body(req, self._decoder)
        if move.restock is not msgspec.UNSET and move.status != "returned":
            raise invalid_member("/restock", "goes with status returned only")
        if_version = if_match_version(req)
        key = idempotency_key(req)
        try:
            await self._check_movable(order_id, if_version)
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

    async def _check_movable(self, order_id: str, if_version: int | None) -> None:
        view = await self._view(order_id)
        # Versions only grow: what is stale now stays stale.
        if if_version is not None and view.version not in (None, if_version):
            raise Problem(
                412, "precondition-failed", "The order has changed",
                f"The order is at version {view.version}. Read it again.",
            )  # fmt: skip

    async def _is_replay(self, client: str, key: str | None) -> bool:
        """Whether the move under this key is decided already."""
        if key is None:
            return False
        digest = self._mint.key_digest(client, key)
        return await self._reads.command(self._mint.from_key(COMMAND, digest)) is not None

    async def _view(self, order_id: str) -> OrderView:
        if not self._mint.is_ours(ORDER, order_id):
            raise not_found(f"There is no order {order_id[:64]}.")
        return order_view(order_id, await self._reads.order(order_id))


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
