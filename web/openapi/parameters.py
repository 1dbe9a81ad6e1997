"""What requests carry beside a body: in the path, the query and the headers."""

from typing import Any, Final

from actors.commands import ON_HAND_MAX, CommandId, PlainText, Sku
from actors.schemas import Schema, one
from web.openapi.examples import ORDER_ID, TRACE_PARENT
from web.requests import PAGE_DEFAULT, PAGE_MAX
from web.types import STATUSES, IdempotencyKey, Instant


def _path(name: str, schema: Schema, description: str, example: str) -> Schema:
    return {"name": name, "in": "path", "required": True, "description": description,
            "schema": schema, "example": example}  # fmt: skip


def _query(name: str, schema: Schema, description: str, example: Any = None) -> Schema:
    shown = {} if example is None else {"example": example}
    return {"name": name, "in": "query", "description": description, "schema": schema, **shown}


def _header(name: str, schema: Schema, description: str, example: str) -> Schema:
    return {"name": name, "in": "header", "description": description, "schema": schema,
            "example": example}  # fmt: skip


TEXT: Final[Schema] = {"type": "string"}

#: By the names that operations use for them.
PARAMETERS: Final[dict[str, Schema]] = {
    "order_id": _path("order_id", one(CommandId), "An order, by its id.", ORDER_ID),
    "command_id": _path(
        "command_id", one(CommandId), "A change, by the id that its answer gave.", ORDER_ID
    ),
    "sku": _path("sku", one(Sku), "A product, by its SKU.", "MUG-01"),
    "status": _query(
        "status", {"type": "string", "enum": STATUSES}, "Orders that are so now.", "confirmed"
    ),
    "customer_id": _query("customer_id", one(PlainText), "Orders of one customer.", "c-17"),
    "with_sku": _query("sku", one(PlainText), "Orders with a line of this SKU.", "MUG-01"),
    "placed_after": _query(
        "placed_after", one(Instant), "Orders placed then or later.", "2026-11-23T00:00:00Z"
    ),
    "placed_before": _query(
        "placed_before", one(Instant), "Orders placed before.", "2126-11-24T00:00:00Z"
    ),
    "prefix": _query(
        "prefix",
        {**TEXT, "pattern": r"^[A-Za-z0-9._-]{0,64}$"},
        "Products whose SKU begins so.",
        "MUG",
    ),
    "available_below": _query(
        "available_below",
        {"type": "integer", "minimum": 0, "maximum": ON_HAND_MAX},
        "Products with fewer units available.",
        10,
    ),
    "cursor": _query(
        "cursor", TEXT, "The `next_cursor` of the page before, as it was given. None: page one."
    ),
    "limit": _query(
        "limit",
        {"type": "integer", "minimum": 1, "maximum": PAGE_MAX, "default": PAGE_DEFAULT},
        "How many items a page has at most.",
        PAGE_DEFAULT,
    ),
    "Idempotency-Key": _header(
        "Idempotency-Key",
        one(IdempotencyKey),
        "Makes a retry safe: the same key and body, from the same API key, give the same id and "
        "one effect, for at least 30 days. The same key with another body is refused.",
        "3f1c2b9e-checkout-17",
    ),
    "Prefer": _header(
        "Prefer",
        TEXT,
        "`wait=N`: the answer waits for the decision, N seconds (30 at most). Any other preference "
        "is ignored.",
        "wait=10",
    ),
    "If-Match": _header(
        "If-Match",
        TEXT,
        "The order's `ETag`: a stale one is refused with 412. `*` or none: whatever its version.",
        '"1"',
    ),
    "If-None-Match": _header(
        "If-None-Match", TEXT, "An `ETag` known already: 304 where the order is still so.", '"7"'
    ),
    "traceparent": _header(
        "traceparent",
        TEXT,
        "W3C Trace Context: the trace that what is done goes on in. A malformed one is ignored.",
        TRACE_PARENT,
    ),
}
