"""Query parameters, declared once: what a route reads, refuses and tells of in /openapi.json.

A resource names, in `query`, the struct of each of its methods that takes any. All of its members
have defaults; web/request_policy.py reads them into `req.context.query`.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from functools import lru_cache
from typing import Annotated, Any, Final, Literal, TypeVar

import msgspec
from msgspec import Meta, inspect

from actors.commands import ON_HAND_MAX, SKU, SKU_RULE, CustomerId, text_rule
from web.broken_rules import broken_rules
from web.cursors import Cursors, cursors_of
from web.problems import breaks_rules
from web.types import AddressableSku, Instant

PAGE_DEFAULT: Final = 50
PAGE_MAX: Final = 200
#: Those of models/rules/order_status.py, as msgspec takes them.
Status = Literal[
    "cancelled", "confirmed", "delivered", "failed", "pending", "rejected", "returned", "shipped"
]
SkuPrefix = Annotated[str, text_rule(rf"^{SKU}\Z", SKU_RULE)]
Cursor = Annotated[
    str | None,
    Meta(description="The `next_cursor` of the previous page, unchanged. None: page one."),
]
PageSize = Annotated[
    int,
    Meta(ge=1, le=PAGE_MAX, description="The most items on a page.",
         examples=[PAGE_DEFAULT]),
]  # fmt: skip


class Query(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What an address may carry behind its `?`."""


def cursors(path: str, query: Query) -> Cursors:
    """The cursors of the list that a query is about. Pages of one list may differ in size."""
    filters = msgspec.structs.asdict(query)
    return cursors_of(path, {k: v for k, v in filters.items() if k not in ("cursor", "limit")})


AnyQuery = TypeVar("AnyQuery", bound=Query)


class OrderQuery(Query, frozen=True, forbid_unknown_fields=True):
    status: Annotated[
        Status | None,
        Meta(
            description="Orders with this status now. `pending`: those that a worker has tried "
            "and not decided. `failed`: without unreadable ones.",
            examples=["confirmed"],
        ),
    ] = None
    customer_id: Annotated[
        CustomerId | None, Meta(description="Orders of one customer.", examples=["c-17"])
    ] = None
    sku: Annotated[
        AddressableSku | None,
        Meta(description="Orders with a line of this SKU.", examples=["MUG-01"]),
    ] = None
    placed_after: Annotated[
        Instant | None,
        Meta(description="Orders placed then or later.", examples=["2026-11-23T00:00:00Z"]),
    ] = None
    placed_before: Annotated[
        Instant | None,
        Meta(description="Orders placed before.", examples=["2126-11-24T00:00:00Z"]),
    ] = None
    updated_after: Annotated[
        Instant | None,
        Meta(
            description="Orders decided or moved then or later, the oldest change first.",
            examples=["2026-11-23T00:00:00Z"],
        ),
    ] = None
    cursor: Cursor = None
    limit: PageSize = PAGE_DEFAULT


class InventoryQuery(Query, frozen=True, forbid_unknown_fields=True):
    prefix: Annotated[
        SkuPrefix | None, Meta(description="Products whose SKU begins with this.", examples=["MUG"])
    ] = None
    available_below: Annotated[
        Annotated[int, Meta(ge=0, le=ON_HAND_MAX)] | None,
        Meta(description="Products with fewer units available.", examples=[10]),
    ] = None
    cursor: Cursor = None
    limit: PageSize = PAGE_DEFAULT


class MovementQuery(Query, frozen=True, forbid_unknown_fields=True):
    cursor: Cursor = None
    limit: PageSize = PAGE_DEFAULT


def read_query(
    type_: type[AnyQuery],
    texts: Mapping[str, str | list[str]],
    wrong: Sequence[dict[str, str]] = (),
) -> AnyQuery:
    """Parameters as a resource declares them; times in UTC. texts: by name, a list where one is
    there several times; wrong: what is known to be wrong with them, as of `wrong_names`. Raises
    Problem (422) that names each that is wrong."""
    errors = [*wrong, *wrong_names(type_.__struct_fields__, texts)]
    named = {error["parameter"] for error in errors}
    kinds = _kinds(type_)
    values = {
        name: _value(kinds[name], text)
        for name, text in texts.items()
        if name in kinds and name not in named and isinstance(text, str)
    }
    if not errors:
        with suppress(msgspec.ValidationError):
            return msgspec.convert(values, type_)
    errors += (
        {"parameter": error["pointer"][1:], "detail": error["detail"]}
        for error in broken_rules(type_, values)
    )
    raise breaks_rules(errors)


def wrong_names(
    known: Collection[str], texts: Mapping[str, str | list[str]]
) -> list[dict[str, str]]:
    """What is wrong with parameters whatever they say: [{"parameter", "detail"}]."""
    errors = []
    allowed = f"allowed: {', '.join(known)}" if known else "this address takes no parameters"
    for name, text in texts.items():
        if name not in known:
            errors.append({"parameter": name[:100], "detail": f"is unknown; {allowed}"})
        elif isinstance(text, list):
            errors.append({"parameter": name, "detail": "must not be repeated"})
    return errors


@lru_cache(maxsize=64)
def _kinds(type_: type[Query]) -> dict[str, type[inspect.Type]]:
    """By name, what kind of value a parameter is."""
    info: Any = inspect.type_info(type_)
    return {field.encode_name: _kind(field.type) for field in info.fields}


def _kind(info: Any) -> type[inspect.Type]:
    while isinstance(info, inspect.Metadata | inspect.UnionType):
        info = info.type if isinstance(info, inspect.Metadata) else info.types[0]
    return type(info)


def _value(kind: type[inspect.Type], text: str) -> object:
    """What a text says; a text where it says nothing of the kind."""
    if kind is inspect.IntType and re.fullmatch(r"-?[0-9]{1,16}", text):
        return int(text)
    if kind is inspect.DateTimeType:
        return _instant(text) or ""
    return text


def _instant(text: str) -> datetime | None:
    try:
        # A plus sign in a query means a space, unless it was escaped.
        moment = msgspec.convert(text.replace(" ", "+"), datetime)
        return moment.astimezone(UTC) if moment.tzinfo else None
    except (msgspec.ValidationError, OverflowError):
        return None
