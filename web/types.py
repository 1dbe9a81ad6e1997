"""What goes over the wire, typed: the same types validate requests and shape answers."""

from datetime import datetime
from typing import Annotated, Any

import msgspec

from actors.commands import (
    LINES_MAX,
    ORDERS_PER_BATCH_MAX,
    AdjustmentReason,
    Currency,
    CustomerId,
    Delta,
    Line,
    MovedTo,
    PlainText,
    ProductName,
    Quantity,
    UnitPrice,
)

IdempotencyKey = Annotated[str, msgspec.Meta(pattern=r"^[\x20-\x7e]{1,255}\Z")]


class Request(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A body: unknown members are refused."""


class OrderRequest(Request, frozen=True, forbid_unknown_fields=True):
    customer_id: CustomerId
    lines: Annotated[list[Line], msgspec.Meta(min_length=1, max_length=LINES_MAX)]
    metadata: dict[PlainText, PlainText] = {}


class BatchedOrder(OrderRequest, frozen=True, forbid_unknown_fields=True):
    idempotency_key: IdempotencyKey | None = None


class OrderBatchRequest(Request, frozen=True, forbid_unknown_fields=True):
    orders: Annotated[
        list[BatchedOrder], msgspec.Meta(min_length=1, max_length=ORDERS_PER_BATCH_MAX)
    ]


class MoveRequest(Request, frozen=True, forbid_unknown_fields=True):
    status: MovedTo
    restock: bool | msgspec.UnsetType = msgspec.UNSET


class ProductRequest(Request, frozen=True, forbid_unknown_fields=True):
    name: ProductName
    unit_price: UnitPrice
    currency: Currency


class AdjustmentRequest(Request, frozen=True, forbid_unknown_fields=True):
    delta: Delta
    reason: AdjustmentReason


class ReductionRequest(Request, frozen=True, forbid_unknown_fields=True):
    quantity: Quantity
    reason: AdjustmentReason


class Links(msgspec.Struct, omit_defaults=True):
    self: str
    order: str | None = None
    inventory: str | None = None


class AcceptedView(msgspec.Struct):
    """The answer to a change that is enqueued."""

    id: str
    links: Links
    status: str = "pending"


class LineView(msgspec.Struct):
    """unit_price: minor units; null with location where nothing was allocated."""

    sku: str
    quantity: int
    unit_price: int | None
    location: str | None


class OrderView(msgspec.Struct):
    """total: minor units of currency. Null where nothing is known yet."""

    id: str
    status: str
    customer_id: str | None = None
    currency: str | None = None
    total: int | None = None
    version: int | None = None
    placed_at: datetime | None = None
    updated_at: datetime | None = None
    metadata: dict[str, str] | None = None
    lines: list[LineView] | None = None
    rejection: dict[str, Any] | None = None


class EventView(msgspec.Struct):
    sequence: int
    type: str
    at: datetime
    data: dict[str, Any]


class InventoryView(msgspec.Struct):
    """on_hand, allocated, available: units; unit_price: minor units of currency."""

    sku: str
    name: str
    unit_price: int
    currency: str
    on_hand: int
    allocated: int
    available: int
    updated_at: datetime


class MovementView(msgspec.Struct):
    """Deltas in units."""

    at: datetime
    location: str
    on_hand_delta: int
    allocated_delta: int
    reason: str
    order_id: str | None
    command_id: str


class CommandView(msgspec.Struct):
    """kind: null while that is not known yet."""

    id: str
    kind: str | None
    status: str
    links: Links
    problem: dict[str, Any] | None = None


class Page(msgspec.Struct):
    """next_cursor: hand it back for the next page; null on the last."""

    items: list[Any]
    next_cursor: str | None = None
