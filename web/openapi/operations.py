"""What can be asked, one entry a method and address. Scopes are those that the resource names."""

from typing import Any, Final, NamedTuple

from actors.commands import ON_HAND_MAX
from models.rules.reasons import ADDING, TAKING
from web import commands, health, inventory, orders
from web.dashboard.docs import Docs
from web.openapi import examples
from web.openapi.reference import OpenApi
from web.types import (
    AcceptedOrders,
    AcceptedView,
    AdjustmentRequest,
    CommandView,
    InventoryPage,
    InventoryView,
    LiveView,
    MovementPage,
    MoveRequest,
    OrderBatchRequest,
    OrderPage,
    OrderRequest,
    OrderView,
    ProductRequest,
    ReadyView,
    ReductionRequest,
    Timeline,
)

Examples = dict[str, examples.Example]


class Body(NamedTuple):
    """What a request has to say. type: its msgspec type."""

    type: Any
    examples: Examples
    bytes_max: int = 256 * 1024


class Answer(NamedTuple):
    """An answer that grants. type: its msgspec type, None for no body; headers: by name, where
    `?` says that it may be missing; links: operations that it leads to."""

    means: str
    type: Any
    examples: Examples
    headers: tuple[str, ...] = ()
    links: tuple[str, ...] = ()
    media_type: str = "application/json"


class Operation(NamedTuple):
    """One method of one address. problems: those beside what all of its kind may answer."""

    method: str
    path: str
    resource: type
    id: str
    tag: str
    summary: str
    about: str
    answers: dict[int, Answer]
    parameters: tuple[str, ...] = ()
    body: Body | None = None
    problems: tuple[str, ...] = ()


_CHANGE: Final = ("Idempotency-Key", "Prefer", "traceparent")
_TAKEN: Final = ("Location", "Trace-Id", "Idempotent-Replayed?")
_DECIDED: Final = (*_TAKEN, "Preference-Applied")
_WAITED: Final = (*_TAKEN, "Preference-Applied?")
_AT_ONCE: Final = "Taken: RabbitMQ has confirmed it, and it will be decided once."
_FAILED: Final = "processing-failed"

_ACCEPTED: Final = Answer(
    _AT_ONCE, AcceptedView, {"taken": examples.ACCEPTED}, _WAITED, ("getCommand",)
)
_STOCK_AFTER: Final = Answer(
    "Done, for a client that waits.",
    InventoryView,
    {"stock": examples.STOCK},
    _DECIDED,
    ("getInventory", "adjustStock", "reduceStock", "listMovements"),
)


OPERATIONS: Final = (
    Operation(
        "POST", "/v1/orders", orders.Orders, "placeOrder", "Orders", "Place an order",
        "All of its lines are allocated, or none. Lines of the same SKU are summed; `metadata` has "
        "4 KiB at most. Prices are those at the decision.",
        {
            201: Answer(
                "Placed, for a client that waits.", OrderView,
                {"confirmed": examples.CONFIRMED}, (*_DECIDED, "ETag?"),
                ("getOrder", "getOrderEvents", "moveOrder"),
            ),
            202: Answer(
                _AT_ONCE, AcceptedView, {"taken": examples.ACCEPTED_ORDER}, _WAITED,
                ("getOrder", "getOrderEvents", "moveOrder"),
            ),
        },
        _CHANGE,
        Body(OrderRequest, {"order": examples.ORDER}),
        ("gone", "insufficient-stock", "unknown-sku", "mixed-currencies", _FAILED),
    ),
    Operation(
        "GET", "/v1/orders", orders.Orders, "listOrders", "Orders", "List orders",
        "The newest first; every parameter narrows the list. A page never skips or repeats what "
        "was there when paging began. It includes `pending` orders that a worker has tried and "
        "not decided; one that still waits in the queue can be found only by its id. With "
        "`updated_after` the oldest change comes first: next time, pass the highest "
        "`updated_at` minus five minutes, and no change is missed.",
        {200: Answer("A page of orders.", OrderPage, {"page": examples.ORDERS})},
    ),
    Operation(
        "POST", "/v1/order-batches", orders.OrderBatches, "placeOrders", "Orders",
        "Place up to 500 orders at once",
        "Each is decided for itself. One bad order refuses the whole request, with pointers, and "
        "nothing is taken. Each may have its own idempotency key; the header stands for all of "
        "them together. For a client that waits each comes with its outcome: the `order` if "
        "it was placed, the `problem` if it was refused, neither while it is `pending`.",
        {
            200: Answer(
                "All are decided, for a client that waits.", AcceptedOrders,
                {"decided": examples.DECIDED_ORDERS},
                ("Trace-Id", "Idempotent-Replayed?", "Preference-Applied"),
            ),
            202: Answer(
                _AT_ONCE, AcceptedOrders, {"taken": examples.ACCEPTED_ORDERS},
                ("Trace-Id", "Idempotent-Replayed?", "Preference-Applied?"),
            ),
        },
        _CHANGE,
        Body(OrderBatchRequest, {"orders": examples.ORDER_BATCH}, 4 * 1024 * 1024),
    ),
    Operation(
        "GET", "/v1/orders/{order_id}", orders.Order, "getOrder", "Orders", "Read an order",
        "Accepted and not decided yet: `pending`, and null where nothing is known. Once a "
        "worker has tried it and could not decide it, what was asked for is known. An id that was "
        "never issued: 404.",
        {
            200: Answer(
                "The order.", OrderView,
                {
                    "confirmed": examples.CONFIRMED,
                    "rejected": examples.REJECTED,
                    "pending": examples.PENDING,
                },
                ("ETag?",),
            ),
            304: Answer("It is as `If-None-Match` knows it.", None, {}, ("ETag",)),
        },
        ("order_id", "If-Match", "If-None-Match"),
        problems=("not-found", "gone", "precondition-failed"),
    ),
    Operation(
        "PATCH", "/v1/orders/{order_id}", orders.Order, "moveOrder", "Orders",
        "Ship, deliver, cancel or return an order",
        "`confirmed` can become `shipped` or `cancelled`, `shipped` can become `delivered` or "
        "`returned`, `delivered` can become `returned`. Asked for while the order is `pending`, "
        "a move waits for the decision. `restock` goes with `returned` only: whether the units are "
        "on hand again (they are, unless it says otherwise).",
        {
            200: Answer(
                "Moved, for a client that waits.", OrderView, {"shipped": examples.SHIPPED},
                (*_DECIDED, "ETag?"),
            ),
            202: _ACCEPTED,
        },
        ("order_id", "If-Match", *_CHANGE),
        Body(MoveRequest, {"ship": examples.SHIP, "return": examples.RETURN}),
        (
            "not-found", "gone", "illegal-transition", "unknown-order", "superseded",
            "precondition-failed", _FAILED,
        ),
    ),
    Operation(
        "GET", "/v1/orders/{order_id}/events", orders.OrderEvents, "getOrderEvents", "Orders",
        "Read an order's timeline", "The oldest first; none while it is `pending`.",
        {200: Answer("What became of it.", Timeline, {"timeline": examples.TIMELINE})},
        ("order_id",),
        problems=("not-found", "gone"),
    ),
    Operation(
        "PUT", "/v1/products/{sku}", inventory.Product, "putProduct", "Inventory",
        "Create or replace a product",
        "A new one starts with no stock. `unit_price` is in minor units of the currency.",
        {200: _STOCK_AFTER, 202: _ACCEPTED},
        ("sku", *_CHANGE),
        Body(ProductRequest, {"product": examples.PRODUCT}),
        ("superseded", _FAILED),
    ),
    Operation(
        "GET", "/v1/inventory", inventory.InventoryList, "listInventory", "Inventory",
        "List stock", "The newest products first.",
        {200: Answer("A page of stock.", InventoryPage, {"page": examples.STOCKS})},
    ),
    Operation(
        "GET", "/v1/inventory/{sku}", inventory.Inventory, "getInventory", "Inventory",
        "Read the stock of a product", "`available` is `on_hand` less `allocated`.",
        {200: Answer("Its stock.", InventoryView, {"stock": examples.STOCK})},
        ("sku",),
        problems=("not-found",),
    ),
    Operation(
        "POST", "/v1/inventory/{sku}/adjustments", inventory.Adjustments, "adjustStock",
        "Inventory", "Put units on hand, or take them off",
        "Refused where it would leave less on hand than is allocated to orders, or more than "
        f"{ON_HAND_MAX:,} units. The reason fits the direction: `{' '.join(ADDING)}` put units on "
        f"hand, `{' '.join(TAKING)}` take them off.",
        {200: _STOCK_AFTER, 202: _ACCEPTED},
        ("sku", *_CHANGE),
        Body(AdjustmentRequest, {"adjustment": examples.ADJUSTMENT}),
        ("insufficient-stock", "stock-limit", "unknown-sku", _FAILED),
    ),
    Operation(
        "POST", "/v1/inventory/{sku}/reductions", inventory.Reductions, "reduceStock",
        "Inventory", "Take units off hand",
        "Refused where it would leave less on hand than is allocated to orders.",
        {200: _STOCK_AFTER, 202: _ACCEPTED},
        ("sku", *_CHANGE),
        Body(ReductionRequest, {"reduction": examples.REDUCTION}),
        ("insufficient-stock", "unknown-sku", _FAILED),
    ),
    Operation(
        "GET", "/v1/inventory/{sku}/movements", inventory.Movements, "listMovements",
        "Inventory", "Read the ledger of a product",
        "Every change of its stock, the newest first. They add up to the stock, except for months "
        "that are no longer kept.",
        {200: Answer("A page of it.", MovementPage, {"page": examples.MOVEMENTS})},
        ("sku",),
        problems=("not-found",),
    ),
    Operation(
        "GET", "/v1/commands/{command_id}", commands.Command, "getCommand", "Commands",
        "Read what became of a change",
        "Of an order, too: its id is the id of the command that placed it.",
        {200: Answer("Its outcome.", CommandView, {"refused": examples.MOVE_REFUSED})},
        ("command_id",),
        problems=("not-found",),
    ),
    Operation(
        "GET", "/livez", health.Live, "live", "Health", "Does the process answer?", "",
        {200: Answer("It does.", LiveView, {"live": examples.LIVE})},
    ),
    Operation(
        "GET", "/readyz", health.Ready, "ready", "Health", "Can orders be taken?",
        "Whether there is a broker channel and a database, and the process is not draining.",
        {
            200: Answer("They can.", ReadyView, {"ready": examples.READY}),
            503: Answer(
                "They can't.", ReadyView, {"not ready": examples.NOT_READY}, ("Retry-After",)
            ),
        },
    ),
    Operation(
        "GET", "/openapi.json", OpenApi, "openapi", "Reference", "This document", "",
        {200: Answer("OpenAPI 3.1.", dict[str, Any], {})},
    ),
    Operation(
        "GET", "/docs", Docs, "docs", "Reference", "A page to read it by", "",
        {200: Answer("The page.", str, {}, media_type="text/html; charset=utf-8")},
    ),
)  # fmt: skip
