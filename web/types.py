"""What goes over the wire, typed: the same types validate requests and shape answers."""

from collections.abc import Iterable
from datetime import datetime
from typing import Annotated, Any, Final, Generic, TypeVar, get_args

import msgspec

from actors.commands import (
    LINES_MAX,
    ORDERS_PER_BATCH_MAX,
    ROUTES,
    SKU,
    SKU_RULE,
    AdjustmentReason,
    CommandId,
    Currency,
    CustomerId,
    Delta,
    Line,
    MovedTo,
    PlainText,
    ProductName,
    Quantity,
    Sku,
    UnitPrice,
    text_rule,
)
from models.rules.currencies import MINOR_UNITS
from models.rules.order_status import MOVES, PENDING

T = TypeVar("T")

#: Bare dots are no SKU: HTTP clients take them out of an address before they send it.
ADDRESSABLE: Final = rf"^(?!\.{{1,2}}\Z){SKU}\Z"
ADDRESSABLE_RULE: Final = f"{SKU_RULE}, but neither . nor .."
AddressableSku = Annotated[str, text_rule(ADDRESSABLE, ADDRESSABLE_RULE)]

IdempotencyKey = Annotated[
    str, text_rule(r"^[\x20-\x7e]{1,255}\Z", "1 to 255 printable ASCII characters")
]


def _one_of(words: Iterable[str]) -> msgspec.Meta:
    """For the OpenAPI document alone: what we write is not checked once more."""
    return msgspec.Meta(extra_json_schema={"enum": sorted(words)})


Instant = Annotated[datetime, msgspec.Meta(tz=True)]
STATUSES: Final = sorted(MOVES)
OrderStatus = Annotated[str, _one_of(STATUSES)]
EventType = Annotated[str, _one_of(f"order.{status}" for status in MOVES if status != PENDING)]
CommandKind = Annotated[str, _one_of(route.kind for route in ROUTES.values())]
COMMAND_STATUSES: Final = ("pending", "applied", "rejected", "failed")
CommandStatus = Annotated[str, _one_of(COMMAND_STATUSES)]
MovementReason = Annotated[
    str, _one_of({"placed", "shipped", "cancelled", *get_args(AdjustmentReason)})
]


class Request(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A body: unknown members are refused."""


class LineRequest(Line, frozen=True, forbid_unknown_fields=True):
    sku: AddressableSku
    quantity: Quantity


class OrderRequest(Request, frozen=True, forbid_unknown_fields=True):
    customer_id: CustomerId
    lines: Annotated[list[LineRequest], msgspec.Meta(min_length=1, max_length=LINES_MAX)]
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
    currency: Annotated[str, _one_of(MINOR_UNITS)]


class AdjustmentRequest(Request, frozen=True, forbid_unknown_fields=True):
    delta: Delta
    reason: AdjustmentReason


class ReductionRequest(Request, frozen=True, forbid_unknown_fields=True):
    quantity: Quantity
    reason: AdjustmentReason


class Links(msgspec.Struct):
    """Addresses on this host."""

    self: str
    order: str | msgspec.UnsetType = msgspec.UNSET
    inventory: str | msgspec.UnsetType = msgspec.UNSET


class AcceptedView(msgspec.Struct):
    """The answer to a change that is enqueued. status: what became of it, where it was decided
    before this request; of an order its status, of any other change its command's."""

    id: CommandId
    links: Links
    status: Annotated[str, _one_of({*STATUSES, *COMMAND_STATUSES})] = PENDING


class LineView(msgspec.Struct):
    """unit_price: minor units; null with location where nothing was allocated."""

    sku: Sku
    quantity: int
    unit_price: int | None
    location: str | None


class Shortage(msgspec.Struct):
    """In units."""

    sku: Sku
    requested: int
    available: int


class Rejection(msgspec.Struct):
    """Why a command was decided against, or failed. type: of its problem document."""

    type: str
    title: str
    detail: str
    # Of which SKU there is too little, or none.
    lines: list[Shortage] | msgspec.UnsetType = msgspec.UNSET
    # The order's status, where it can't make the move.
    status_now: OrderStatus | msgspec.UnsetType = msgspec.UNSET
    # The command that was accepted later and took effect first.
    superseded_by: CommandId | msgspec.UnsetType = msgspec.UNSET
    # Units, where an adjustment would leave more than on_hand_max.
    on_hand: int | msgspec.UnsetType = msgspec.UNSET
    on_hand_max: int | msgspec.UnsetType = msgspec.UNSET


class Refusal(Rejection, kw_only=True):
    """The same where it stands for an answer. status: that such an answer has."""

    status: int


#: As it was recorded.
Recorded = Annotated[
    dict[str, Any], msgspec.Meta(extra_json_schema={"$ref": "#/components/schemas/Rejection"})
]
#: As it was recorded, and with its status: see `views.refusal_view`.
RecordedRefusal = Annotated[
    dict[str, Any], msgspec.Meta(extra_json_schema={"$ref": "#/components/schemas/Refusal"})
]


class OrderView(msgspec.Struct):
    """total: minor units of currency. Null where nothing is known yet."""

    id: CommandId
    status: OrderStatus
    customer_id: str | None = None
    currency: Currency | None = None
    total: int | None = None
    version: int | None = None
    placed_at: Instant | None = None
    updated_at: Instant | None = None
    metadata: dict[str, str] | None = None
    lines: list[LineView] | None = None
    rejection: Recorded | None = None


class BatchedView(AcceptedView):
    """For a client that waits: order, where it was placed; problem, where it was refused."""

    order: OrderView | msgspec.UnsetType = msgspec.UNSET
    problem: RecordedRefusal | msgspec.UnsetType = msgspec.UNSET


class AcceptedOrders(msgspec.Struct):
    """In the order given."""

    orders: list[BatchedView]


class EventView(msgspec.Struct):
    """sequence: counts an order's events, from 1."""

    sequence: int
    type: EventType
    at: Instant
    data: dict[str, Any]


class Timeline(msgspec.Struct):
    """Oldest first."""

    items: list[EventView]


class InventoryView(msgspec.Struct):
    """on_hand, allocated, available: units; unit_price: minor units of currency."""

    sku: Sku
    name: str
    unit_price: int
    currency: Currency
    on_hand: int
    allocated: int
    available: int
    updated_at: Instant


class MovementView(msgspec.Struct):
    """Deltas in units."""

    at: Instant
    location: str
    on_hand_delta: int
    allocated_delta: int
    reason: MovementReason
    order_id: CommandId | None
    command_id: CommandId


class CommandView(msgspec.Struct):
    """kind: null while that is not known yet; problem: why it was refused, or failed."""

    id: CommandId
    kind: CommandKind | None
    status: CommandStatus
    links: Links
    problem: RecordedRefusal | None = None


class Page(msgspec.Struct, Generic[T]):
    """next_cursor: hand it back for the next page; null on the last."""

    items: list[T]
    next_cursor: str | None = None


class OrderPage(Page[OrderView]):
    """Orders, newest first."""


class InventoryPage(Page[InventoryView]):
    """Stock, the newest products first."""


class MovementPage(Page[MovementView]):
    """A ledger, newest first."""


class LiveView(msgspec.Struct):
    """The process answers."""

    status: Annotated[str, _one_of(["ok"])] = "ok"


class Checks(msgspec.Struct):
    """What has to be true for orders to be taken."""

    broker: bool
    database: bool
    not_draining: bool


class Waiting(msgspec.Struct):
    """messages: in the queue of new orders; null where that is not known."""

    messages: int | None


class ReadyView(msgspec.Struct):
    """backlog: for whoever looks; however long it is, traffic belongs here."""

    status: Annotated[str, _one_of(["ok", "unavailable"])]
    checks: Checks
    backlog: Waiting
