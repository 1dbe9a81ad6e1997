"""Puts the document together, from the types that requests are read by and answers are made of."""

from collections.abc import Iterable
from typing import Any, Final

from actors.schemas import Schema, one, read, written
from config import VERSION
from models.rules.reasons import ADDING, TAKING
from web.openapi import problems
from web.openapi.operations import OPERATIONS, Answer, Body, Operation
from web.openapi.parameters import PARAMETERS, of_query
from web.types import Refusal, Rejection

ABOUT: Final = """\
Orders and stock. Holdfast never oversells and never loses an order.

**Every change is a command.** It answers 202 once RabbitMQ has confirmed it, with an id and the
address where its outcome will be. With `Prefer: wait=N` the answer waits for the decision. With an
`Idempotency-Key` a retry is always safe.

**Errors** are problem documents (RFC 9457). An address that is not here answers 404, a method that
is not here 405. No answer has a stack trace. Unknown members of a body and unknown parameters of a
query are refused.

Times are RFC 3339 in UTC; money is an integer of minor units and an ISO 4217 currency. An integer
is written as one: `2`, not `2.0`. The `total` of an order may be above 2^53, which JavaScript
rounds."""

TAGS: Final = {
    "Orders": "Placed, moved, followed.",
    "Inventory": "Products, their stock and its ledger.",
    "Commands": "What became of a change.",
    "Health": "For whoever sends traffic here.",
    "Reference": "This document.",
}

#: Operations that an answer can lead to: by which parameter, and which member of the answer.
LEADS_TO: Final = {
    "getOrder": ("order_id", "id"),
    "getOrderEvents": ("order_id", "id"),
    "moveOrder": ("order_id", "id"),
    "getCommand": ("command_id", "id"),
    "getInventory": ("sku", "sku"),
    "adjustStock": ("sku", "sku"),
    "reduceStock": ("sku", "sku"),
    "listMovements": ("sku", "sku"),
}

SCHEME: Final = "apiKey"

_HEADERS: Final[dict[str, Schema]] = {
    "Location": {
        "description": "Where the outcome will be.",
        "schema": {"type": "string", "format": "uri-reference"},
    },
    "ETag": {
        "description": "The order's version. None while it is `pending`.",
        "schema": {"type": "string", "pattern": '^"[0-9]{1,9}"$'},
    },
    "Idempotent-Replayed": {
        "description": "It was decided before this request, which has changed nothing.",
        "schema": {"type": "string", "enum": ["true"]},
    },
    "Preference-Applied": {
        "description": "How long the answer would have waited.",
        "schema": {"type": "string", "pattern": "^wait=[0-9]{1,2}$"},
    },
    "Retry-After": {
        "description": "Seconds to wait before another try.",
        "schema": {"type": "integer", "minimum": 1, "format": "int32"},
    },
    "RateLimit": {
        "description": "Of a limited key: what is left (`r`), for how many seconds (`t`).",
        "schema": {"type": "string", "pattern": '^"key";r=[0-9]+;t=[0-9]+$'},
    },
    "RateLimit-Policy": {
        "description": "Of a limited key: its quota (`q`) for so many seconds (`w`).",
        "schema": {"type": "string", "pattern": '^"key";q=[0-9]+;w=[0-9]+$'},
    },
    "Trace-Id": {
        "description": "The trace that this belongs to, in logs and with failures.",
        "schema": {"type": "string", "pattern": "^[0-9a-f]{32}$"},
    },
    "WWW-Authenticate": {
        "description": "How to say who asks.",
        "schema": {"type": "string", "pattern": "^Bearer "},
    },
}
_LIMITED: Final = ("RateLimit", "RateLimit-Policy")

#: What any request may meet, one that needs a key, and one that has a body.
_ANY: Final = (
    "bad-request", "unsupported-media-type", "expectation-failed", "invalid-request",
    "request-timeout", "headers-too-large", "internal-error", "unavailable",
)  # fmt: skip
_KEYED: Final = ("unauthorized", "forbidden", "rate-limited")
_BODY: Final = ("not-json", "repeated-member", "too-large")


def document() -> Schema:
    """The whole document, ready to be encoded."""
    paths: dict[str, Any] = {}
    for operation in OPERATIONS:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _operation(operation)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Holdfast",
            "version": VERSION,
            "summary": "An order and inventory service.",
            "description": ABOUT,
        },
        "servers": [{"url": "/"}],
        "tags": [{"name": name, "description": about} for name, about in TAGS.items()],
        "paths": paths,
        "components": {
            "securitySchemes": {
                SCHEME: {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "An API key, with the scopes it was made with: "
                    "`Authorization: Bearer <key>`.",
                }
            },
            "parameters": PARAMETERS,
            "headers": {
                f"{name}{maybe}": {**header, "required": not maybe}
                for name, header in _HEADERS.items()
                for maybe in ("", "Maybe")
            },
            "responses": {
                problems.name(slugs): problems.response(status, slugs)
                for operation in OPERATIONS
                for status, slugs in problems.by_status(_problems(operation)).items()
            },
            "schemas": _schemas(),
        },
    }


def _schemas() -> dict[str, Schema]:
    bodies = [operation.body.type for operation in OPERATIONS if operation.body]
    answers = [
        answer.type
        for operation in OPERATIONS
        for answer in operation.answers.values()
        if answer.type is not None
    ]
    schemas = {**written([*answers, Refusal, Rejection, problems.Problem]), **read(bodies)}
    # What no type can say.
    schemas["AdjustmentRequest"]["properties"]["delta"]["not"] = {"const": 0}
    schemas["AdjustmentRequest"] |= {
        "if": {"properties": {"delta": {"minimum": 1}}},
        "then": {"properties": {"reason": {"enum": list(ADDING)}}},
        "else": {"properties": {"reason": {"enum": list(TAKING)}}},
    }
    schemas["ReductionRequest"]["properties"]["reason"]["enum"] = list(TAKING)
    schemas["MoveRequest"] |= {
        "if": {"required": ["restock"]},
        "then": {"properties": {"status": {"const": "returned"}}},
    }
    return schemas


def _operation(operation: Operation) -> Schema:
    scopes = getattr(operation.resource, "scopes", {}).get(operation.method, ())
    query = getattr(operation.resource, "query", {}).get(operation.method)
    described: Schema = {
        "operationId": operation.id,
        "tags": [operation.tag],
        "summary": operation.summary,
        "description": _about(operation, scopes),
        # Any one of the scopes is enough.
        "security": [{SCHEME: [scope]} for scope in scopes],
        "parameters": [
            *(_ref("parameters", name) for name in operation.parameters),
            *(of_query(query) if query else ()),
        ],
        "responses": {
            str(status): _answer(answer, limited=bool(scopes))
            for status, answer in operation.answers.items()
        },
    }
    if operation.body:
        described["requestBody"] = _body(operation.body)
    for status, slugs in problems.by_status(_problems(operation)).items():
        refused = _ref("responses", problems.name(slugs))
        if str(status) in described["responses"]:
            # Ready or not: who asks may also be turned away before.
            content = problems.response(status, slugs)["content"]
            described["responses"][str(status)]["content"] |= content
        else:
            described["responses"][str(status)] = refused
    return described


def _about(operation: Operation, scopes: Iterable[str]) -> str:
    parts = [operation.about]
    if scopes:
        parts.append(f"Scope: {' or '.join(f'`{scope}`' for scope in scopes)}.")
    if operation.body:
        parts.append(f"Body up to {operation.body.bytes_max // 1024:,} KiB.")
    return " ".join(filter(None, parts))


def _problems(operation: Operation) -> set[str]:
    keyed = hasattr(operation.resource, "scopes")
    met = {*_ANY, *operation.problems, *(_KEYED if keyed else ())}
    if operation.body:
        met |= {*_BODY, "idempotency-key-reused"}
    return met


def _body(body: Body) -> Schema:
    return {"required": True, "content": _content("application/json", body.type, body.examples)}


def _answer(answer: Answer, *, limited: bool) -> Schema:
    names = [*answer.headers, *(f"{name}?" for name in (_LIMITED if limited else ()))]
    shown: Schema = {
        "description": answer.means,
        "headers": {
            name.rstrip("?"): _ref("headers", name.replace("?", "Maybe")) for name in names
        },
    }
    if answer.type is not None:
        shown["content"] = _content(answer.media_type, answer.type, answer.examples)
    if answer.links:
        shown["links"] = {
            id_: {"operationId": id_, "parameters": {name: f"$response.body#/{member}"}}
            for id_ in answer.links
            for name, member in (LEADS_TO[id_],)
        }
    return shown


def _content(media_type: str, type_: Any, examples: dict[str, Schema]) -> Schema:
    shown = {name: {"value": example} for name, example in examples.items()}
    return {media_type: {"schema": one(type_), **({"examples": shown} if shown else {})}}


def _ref(kind: str, name: str) -> Schema:
    return {"$ref": f"#/components/{kind}/{name}"}
