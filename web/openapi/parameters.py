"""What requests carry beside a body: in the path, the query and the headers."""

from typing import Final

import msgspec

from actors.commands import CommandId
from actors.schemas import Schema, one, portable
from web.openapi.examples import ORDER_ID, TRACE_PARENT
from web.parameters import Query
from web.types import AddressableSku, IdempotencyKey


def _path(name: str, schema: Schema, description: str, example: str) -> Schema:
    return {"name": name, "in": "path", "required": True, "description": description,
            "schema": schema, "example": example}  # fmt: skip


def _header(name: str, schema: Schema, description: str, example: str) -> Schema:
    """Its example belongs to its schema: tools fill in a parameter's own, and the second order that
    somebody tries would have the first one's Idempotency-Key."""
    shown = {**schema, "examples": [example]}
    return {"name": name, "in": "header", "description": description, "schema": shown}


TEXT: Final[Schema] = {"type": "string"}

#: By the names that operations use for them.
PARAMETERS: Final[dict[str, Schema]] = {
    "order_id": _path("order_id", one(CommandId), "An order, by its id.", ORDER_ID),
    "command_id": _path(
        "command_id", one(CommandId), "A change, by the id that its answer gave.", ORDER_ID
    ),
    "sku": _path("sku", one(AddressableSku), "A product, by its SKU.", "MUG-01"),
    "Idempotency-Key": _header(
        "Idempotency-Key",
        one(IdempotencyKey),
        "Makes a retry safe: the same key and body, from the same API key, give the same id and "
        "one effect, for at least 30 days. The same key with another body, or another `If-Match`, "
        "is refused. A key keeps its first decision, even a refusal.",
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
        {**TEXT, "pattern": r'^(\*|"[!#-~]*"(, *"[!#-~]*")*)$'},
        "The order's `ETag`, or a list of them: at any other version the change is refused with "
        "412. `*` or none: at any version. A weak tag matches nothing.",
        '"1"',
    ),
    "If-None-Match": _header(
        "If-None-Match",
        TEXT,
        "An `ETag` that you know, or a list of them: 304 if the order has not changed.",
        '"7"',
    ),
    "traceparent": _header(
        "traceparent",
        TEXT,
        "W3C Trace Context: the trace that what is done goes on in. A malformed one is ignored.",
        TRACE_PARENT,
    ),
}


def of_query(type_: type[Query]) -> list[Schema]:
    """The parameters that a resource declares for a query."""
    (schema,) = msgspec.json.schema(type_)["$defs"].values()
    return [_of_member(name, schema["properties"][name]) for name in type_.__struct_fields__]


def _of_member(name: str, schema: Schema) -> Schema:
    about = schema.pop("description")
    for choice in schema.pop("anyOf", ()):
        # Only to us is null what was left out.
        schema |= {} if choice == {"type": "null"} else choice
    if not schema.get("default"):
        schema.pop("default", None)
    return {"name": name, "in": "query", "description": about, "schema": portable(schema)}
