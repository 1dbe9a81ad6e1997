"""Every answer that refuses: its status, its headers, its problem document."""

from collections.abc import Iterable
from typing import Annotated, Final, NamedTuple

import msgspec

from actors.commands import ON_HAND_MAX, CommandId
from actors.schemas import Schema
from models.rules import refusals
from models.rules.refusals import refuse
from web.openapi.examples import LATER_ID, PROBLEM_MEMBERS, TRACE_ID
from web.problems import MEDIA_TYPE
from web.types import OrderStatus, Shortage


class Kind(NamedTuple):
    """A problem type. detail: as it may read."""

    status: int
    title: str
    detail: str


def _decided(slug: str, detail: str) -> Kind:
    refusal = refuse(slug, detail)
    return Kind(refusal.status, refusal.title, detail)


#: By slug: a type is `/problems/<slug>`.
KINDS: Final[dict[str, Kind]] = {
    "bad-request": Kind(400, "Bad request", "Host must appear exactly once."),
    "not-json": Kind(400, "Not JSON", "The body is not JSON: it ends too early."),
    "repeated-member": Kind(
        400,
        "A member is repeated",
        "/lines/0/quantity: appears more than once. Send each member once.",
    ),
    "unauthorized": Kind(
        401, "Not signed in", "Send a valid API key: `Authorization: Bearer <key>`."
    ),
    "forbidden": Kind(403, "Not allowed", "This key lacks the scope orders:write."),
    "not-found": Kind(404, "Not found", "There is no order 00000000-0000-8000-8000-000000000000."),
    "method-not-allowed": Kind(405, "Method not allowed", "DELETE is not a method of /v1/orders."),
    "request-timeout": Kind(408, "Request timed out", "The request did not come in time."),
    "gone": Kind(
        410,
        "No longer kept",
        "The order 00000000-0000-8000-8000-000000000000 is of a month that is no longer kept.",
    ),
    "insufficient-stock": _decided(
        refusals.INSUFFICIENT_STOCK, "Not enough stock: 9 of MUG-01 asked, 3 available."
    ),
    "stock-limit": _decided(
        refusals.STOCK_LIMIT,
        f"MUG-01 has {ON_HAND_MAX} units on hand; with 1 more there would be more than "
        f"{ON_HAND_MAX}.",
    ),
    "unknown-sku": _decided(refusals.UNKNOWN_SKU, "There is no product MUG-99."),
    "mixed-currencies": _decided(
        refusals.MIXED_CURRENCIES,
        "One order has one currency; these products are in EUR, USD.",
    ),
    "illegal-transition": _decided(
        refusals.ILLEGAL_TRANSITION,
        "The order is shipped; it can become delivered, returned, not cancelled.",
    ),
    "unknown-order": _decided(refusals.UNKNOWN_ORDER, "This order was not decided within 30 days."),
    "superseded": _decided(
        refusals.SUPERSEDED,
        f"The change {LATER_ID} was accepted later and has taken effect already.",
    ),
    "precondition-failed": _decided(
        refusals.PRECONDITION_FAILED, "The order is at version 2. Read it again."
    ),
    "too-large": Kind(413, "Too large", "A body may have 256 KiB here at most."),
    "unsupported-media-type": Kind(
        415, "Unsupported media type", "Set Content-Type: application/json, not text/plain."
    ),
    "expectation-failed": Kind(
        417, "Expectation failed", "The only supported expectation is 100-continue, not 200-ok."
    ),
    "invalid-request": Kind(
        422,
        "The request breaks a rule",
        "/lines/0/quantity: must be a whole number from 1 to 1,000,000",
    ),
    "idempotency-key-reused": Kind(
        422,
        "The idempotency key was used for something else",
        "The key stands for another request. Send a fresh key with a new request.",
    ),
    "rate-limited": Kind(
        429, "Too many requests", "This key may ask 100/second. Try again in 1 s."
    ),
    "headers-too-large": Kind(
        431,
        "Headers too large",
        "Request line and headers may have 32 KiB and 100 headers.",
    ),
    "internal-error": Kind(
        500, "An error on our side", "It is logged. Nothing of it is shown here."
    ),
    "processing-failed": _decided(
        refusals.PROCESSING_FAILED, "It failed again and again. It is on record."
    ),
    "unavailable": Kind(
        503,
        "It can't be taken now",
        "The database can't answer now. Try again; with the same Idempotency-Key that is always "
        "safe.",
    ),
}

_MEANS: Final = {
    400: "Malformed HTTP, a body that is not JSON, or one with a member twice.",
    401: "No API key, or one that is not valid.",
    403: "The API key lacks the scope.",
    404: "There is none.",
    408: "The request did not come in time: its head within 15 s, its body within 30 s.",
    409: "Decided against; nothing has changed.",
    410: "The order is of a month that is no longer kept.",
    412: "`If-Match` names a version that the order is not at any more.",
    413: "The body is larger than it may be.",
    415: "The body is not `application/json` in UTF-8, or it is compressed.",
    417: "`Expect` says anything but `100-continue`.",
    422: "JSON, a parameter or a header that breaks a rule, or an idempotency key in other use.",
    429: "The API key asks more often than it may.",
    431: "The request's head is over 32 KiB, or has more than 100 headers.",
    500: "Our fault. A command that failed stays on record and can be put back.",
    503: "We can't confirm or look it up now. With the same `Idempotency-Key` a retry is "
    "always safe.",
}
_SENT: Final[dict[int, tuple[str, ...]]] = {
    401: ("WWW-Authenticate",),
    408: ("Retry-After",),
    429: ("Retry-After", "RateLimit", "RateLimit-Policy"),
    503: ("Retry-After",),
}


class BrokenRule(msgspec.Struct):
    """pointer: into the body; parameter: of the query, or a header."""

    detail: str
    pointer: str | msgspec.UnsetType = msgspec.UNSET
    parameter: str | msgspec.UnsetType = msgspec.UNSET


class Problem(msgspec.Struct):
    """RFC 9457. trace_id: leads to the log lines, and to the failure where there is one."""

    type: Annotated[
        str, msgspec.Meta(extra_json_schema={"enum": [f"/problems/{slug}" for slug in KINDS]})
    ]
    title: str
    status: int
    detail: str
    trace_id: Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{32}\Z")]
    errors: list[BrokenRule] | msgspec.UnsetType = msgspec.UNSET
    # Of the command that was decided against.
    id: CommandId | msgspec.UnsetType = msgspec.UNSET
    lines: list[Shortage] | msgspec.UnsetType = msgspec.UNSET
    status_now: OrderStatus | msgspec.UnsetType = msgspec.UNSET
    # The command that was accepted later and took effect first.
    superseded_by: CommandId | msgspec.UnsetType = msgspec.UNSET
    # Units, where an adjustment would leave more than on_hand_max.
    on_hand: int | msgspec.UnsetType = msgspec.UNSET
    on_hand_max: int | msgspec.UnsetType = msgspec.UNSET


def by_status(slugs: Iterable[str]) -> dict[int, list[str]]:
    """Problem types by the status they come with, in the order of the table."""
    wanted = set(slugs)
    sorted_: dict[int, list[str]] = {}
    for slug, kind in KINDS.items():
        if slug in wanted:
            sorted_.setdefault(kind.status, []).append(slug)
    return sorted_


def name(slugs: Iterable[str]) -> str:
    """What a response with one of these problems is called in the document."""
    return "Or".join("".join(word.title() for word in slug.split("-")) for slug in slugs)


def response(status: int, slugs: list[str]) -> Schema:
    """The response with one of these problems."""
    schema = {
        "allOf": [
            {"$ref": "#/components/schemas/Problem"},
            {"properties": {
                "type": {"enum": [f"/problems/{slug}" for slug in slugs]},
                "status": {"const": status},
            }},
        ]
    }  # fmt: skip
    examples = {slug: {"value": example(slug)} for slug in slugs}
    return {
        "description": _MEANS[status],
        "headers": {
            name: {"$ref": f"#/components/headers/{name}"}
            for name in (*_SENT.get(status, ()), "Trace-Id")
        },
        "content": {MEDIA_TYPE: {"schema": schema, "examples": examples}},
    }


def example(slug: str) -> Schema:
    """A problem document as it may come."""
    kind = KINDS[slug]
    return {
        "type": f"/problems/{slug}",
        "title": kind.title,
        "status": kind.status,
        "detail": kind.detail,
        **PROBLEM_MEMBERS.get(slug, {}),
        "trace_id": TRACE_ID,
    }
