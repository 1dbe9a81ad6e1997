"""THE CONTRACT between the front door and the actors: commands, their limits, their encoding.

Both sides import this module and nothing else of each other. A command is an imperative with an
id that can take effect once; a message carries a batch of commands of one kind.
"""

import types
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Final, Literal, TypeVar

import msgspec

KIB: Final = 1024

# --- limits: there is one on everything ---
LINES_MAX: Final = 100
QUANTITY_MAX: Final = 1_000_000
METADATA_BYTES_MAX: Final = 4 * KIB
ORDERS_PER_BATCH_MAX: Final = 500
VERSIONS_MAX: Final = 100
DELTA_MAX: Final = 1_000_000_000
ON_HAND_MAX: Final = 10**15
# The dearest order (100 lines of a million units each) still fits a 64-bit integer.
UNIT_PRICE_MAX: Final = 90_000_000_000
# One message: large enough to carry a full batch, small enough for the broker to like it.
MESSAGE_COMMANDS_MAX: Final = 500
MESSAGE_BYTES_MAX: Final = 1024 * KIB
# Room for the largest command: below it some orders could never be published.
MESSAGE_BYTES_MIN: Final = 64 * KIB
# Of that for all that is around its commands: names, signature, the traceback of a retry.
ENVELOPE_BYTES_MAX: Final = 16 * KIB
FAILURES_SELECTED_MAX: Final = 1_000

# PostgreSQL's text can hold every character but NUL.
NO_NUL: Final = r"^[^\x00]*\Z"


def text_rule(pattern: str, rule: str) -> msgspec.Meta:
    """Text of a pattern, which `rule` says in words for people (see web/broken_rules.py)."""
    return msgspec.Meta(pattern=pattern, extra={"rule": f"must be {rule}"})


CommandId = Annotated[
    str,
    text_rule(
        r"^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\Z",
        "an id as it was given out",
    ),
]
SKU: Final = "[A-Za-z0-9._-]{1,64}"
SKU_RULE: Final = "1 to 64 characters of A-Z a-z 0-9 . _ -"
# The front door takes all of these but bare dots; what was accepted before is decided all the same.
Sku = Annotated[str, text_rule(rf"^{SKU}\Z", SKU_RULE)]
CustomerId = Annotated[str, msgspec.Meta(min_length=1, max_length=64, pattern=NO_NUL)]
Quantity = Annotated[int, msgspec.Meta(ge=1, le=QUANTITY_MAX)]
Delta = Annotated[int, msgspec.Meta(ge=-DELTA_MAX, le=DELTA_MAX)]
UnitPrice = Annotated[int, msgspec.Meta(ge=0, le=UNIT_PRICE_MAX)]
Currency = Annotated[
    str, text_rule(r"^[A-Z]{3}\Z", "a currency by its code of ISO 4217, such as EUR")
]
ProductName = Annotated[str, msgspec.Meta(min_length=1, max_length=200, pattern=NO_NUL)]
PlainText = Annotated[str, msgspec.Meta(pattern=NO_NUL)]
# W3C Trace Context: version, trace id, parent id, flags.
TraceParent = Annotated[
    str, text_rule(r"^00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}\Z", "a traceparent of version 00")
]
QueueName = Annotated[str, msgspec.Meta(min_length=1, max_length=100, pattern=NO_NUL)]
ActorName = Annotated[str, msgspec.Meta(min_length=1, max_length=100, pattern=NO_NUL)]
Reason = Annotated[str, msgspec.Meta(min_length=1, max_length=300, pattern=NO_NUL)]
RateLimit = Annotated[
    str, text_rule(r"^[1-9][0-9]{0,8}/[smh]\Z", "a rate such as 100/s, 100/m or 100/h")
]
SearchText = Annotated[str, msgspec.Meta(min_length=1, max_length=300, pattern=NO_NUL)]
Versions = Annotated[tuple[int, ...], msgspec.Meta(max_length=VERSIONS_MAX)]
MovedTo = Literal["shipped", "delivered", "cancelled", "returned"]
AdjustmentReason = Literal["received", "returned", "damaged", "lost", "found", "correction"]


class Line(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """quantity: units of sku."""

    sku: Sku
    quantity: Quantity


class Origin(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Who asked for a change by hand, for the audit log. key_id, name: of the API key."""

    key_id: Annotated[str, msgspec.Meta(max_length=100, pattern=NO_NUL)]
    name: Annotated[str, msgspec.Meta(max_length=100, pattern=NO_NUL)]
    address: Annotated[str, msgspec.Meta(max_length=100, pattern=NO_NUL)] = ""
    agent: Annotated[str, msgspec.Meta(max_length=300, pattern=NO_NUL)] = ""


class PlaceOrder(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Confirm an order if there is stock for all of it, reject it otherwise."""

    id: CommandId
    at: datetime
    customer_id: CustomerId
    lines: Annotated[list[Line], msgspec.Meta(min_length=1, max_length=LINES_MAX)]
    metadata: dict[PlainText, PlainText]
    # Where the client's own trace goes on; without one, the id stands for the trace.
    traceparent: TraceParent | None = None


class MoveOrder(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Move an order to another status. if_version: only if it is at that version, or one of
    several."""

    id: CommandId
    at: datetime
    order_id: CommandId
    to: MovedTo
    restock: bool = True
    if_version: int | Versions | None = None
    traceparent: TraceParent | None = None
    origin: Origin | None = None


class PutProduct(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Create or replace a product; a new one starts with no stock."""

    id: CommandId
    at: datetime
    sku: Sku
    name: ProductName
    unit_price: UnitPrice
    currency: Currency
    traceparent: TraceParent | None = None


class AdjustStock(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Put units on hand (delta > 0) or take them off (delta < 0)."""

    id: CommandId
    at: datetime
    sku: Sku
    delta: Delta
    reason: AdjustmentReason
    traceparent: TraceParent | None = None
    origin: Origin | None = None


class FailureFilter(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Which open failures; every member narrows it. up_to_id: none that came later than seen.

    subject: what it is about, as `order:ID`, `command:ID`, `sku:SKU` or `customer:ID`;
    text: words of its error and traceback, as a search engine takes them; actor: '' for what is no
    message of ours.
    """

    up_to_id: Annotated[int, msgspec.Meta(ge=0)]
    ids: Annotated[list[int], msgspec.Meta(max_length=FAILURES_SELECTED_MAX)] | None = None
    actor: Annotated[str, msgspec.Meta(max_length=100, pattern=NO_NUL)] | None = None
    queue: QueueName | None = None
    error_class: SearchText | None = None
    subject: SearchText | None = None
    text: SearchText | None = None
    failed_after: datetime | None = None
    failed_before: datetime | None = None


class RetryFailures(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="retry_failures", tag_field="do"
):
    """Put failures back; their commands are pending again."""

    filter: FailureFilter


class DiscardFailures(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="discard_failures", tag_field="do"
):
    """Settle failures without trying again; their commands stay `failed`."""

    filter: FailureFilter
    reason: Reason


class PauseQueue(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="pause_queue", tag_field="do"
):
    """Workers take no message from a queue until it is resumed; intake goes on."""

    queue: QueueName
    reason: Reason


class ResumeQueue(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="resume_queue", tag_field="do"
):
    """Workers take messages from a queue again."""

    queue: QueueName


class SetRateLimit(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="set_rate_limit", tag_field="do"
):
    """Limit an actor's messages, over all workers. None: what its settings say."""

    actor: ActorName
    rate_limit: RateLimit | None


Action = RetryFailures | DiscardFailures | PauseQueue | ResumeQueue | SetRateLimit


class Operate(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Something an operator does to the system itself."""

    id: CommandId
    at: datetime
    origin: Origin
    action: Action
    traceparent: TraceParent | None = None


Command = PlaceOrder | MoveOrder | PutProduct | AdjustStock | Operate
AnyCommand = TypeVar("AnyCommand", PlaceOrder, MoveOrder, PutProduct, AdjustStock, Operate)


class Route(msgspec.Struct, frozen=True):
    """Where a kind of command goes. kind: its name in the inbox and the API; ordered: whether its
    queue is a lane."""

    kind: str
    actor: str
    queue: str
    ordered: bool = False


#: One actor per kind of change. A lane is a queue that one worker at a time consumes and decides in
#: order; actors share it where the order of their changes counts.
ROUTES: Final[dict[type[Command], Route]] = {
    PlaceOrder: Route("place_order", "place_orders", "holdfast.orders"),
    MoveOrder: Route("move_order", "move_orders", "holdfast.transitions", ordered=True),
    PutProduct: Route("put_product", "put_products", "holdfast.skus", ordered=True),
    AdjustStock: Route("adjust_stock", "adjust_stock", "holdfast.skus", ordered=True),
    Operate: Route("operate", "operate", "holdfast.operations"),
}
#: Orders that would be refused before their products are set up, behind the changes of SKUs.
PLACE_BEHIND: Final = Route("place_order", "place_behind", "holdfast.skus", ordered=True)
ROUTES_BY_ACTOR: Final = {route.actor: route for route in (*ROUTES.values(), PLACE_BEHIND)}


def _actors_by_queue() -> dict[str, tuple[str, ...]]:
    actors: dict[str, tuple[str, ...]] = {}
    for route in ROUTES_BY_ACTOR.values():
        actors[route.queue] = (*actors.get(route.queue, ()), route.actor)
    return actors


ACTORS_BY_QUEUE: Final = _actors_by_queue()
#: Each queue once.
QUEUES: Final = tuple(ACTORS_BY_QUEUE)
LANES: Final = frozenset(route.queue for route in ROUTES_BY_ACTOR.values() if route.ordered)

_encoder = msgspec.json.Encoder()
_decoders: dict[type[Any], msgspec.json.Decoder[Any]] = {
    kind: msgspec.json.Decoder(types.GenericAlias(list, (kind,))) for kind in ROUTES
}


def encode(command: Command) -> bytes:
    """One command as JSON, ready to be joined into a batch."""
    return _encoder.encode(command)


def join(encoded: Sequence[bytes]) -> msgspec.Raw:
    """A batch, as the argument of a message, from commands that are encoded already."""
    return msgspec.Raw(b"[" + b",".join(encoded) + b"]")


def split(batch: msgspec.Raw) -> list[msgspec.Raw]:
    """The commands of a batch, still encoded."""
    return msgspec.json.decode(batch, type=list[msgspec.Raw])


def trace_id(command: Command) -> str:
    """The trace that a command belongs to, 32 hex digits: the client's own, or its id."""
    parent = command.traceparent
    return command.id.replace("-", "") if parent is None else parent[3:35]


def decode(kind: type[AnyCommand], batch: msgspec.Raw) -> list[AnyCommand]:
    """The commands of a batch. Raises msgspec.ValidationError where one breaks the contract."""
    commands: list[AnyCommand] = _decoders[kind].decode(batch)
    return commands


class Sketch(msgspec.Struct):
    """What every command has, readable even where the rest of it is not."""

    id: CommandId
    at: datetime
    order_id: CommandId | None = None
    sku: Sku | None = None


_sketches = msgspec.json.Decoder(list[Sketch])


def sketch(batch: msgspec.Raw) -> list[Sketch]:
    """The commands of a batch of any kind; none where they can't be read."""
    try:
        return _sketches.decode(batch)
    except (ValueError, RecursionError):
        return []
