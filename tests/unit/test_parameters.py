"""Query parameters: what is declared is read; what is not, or breaks a rule, is named."""

from datetime import UTC, datetime
from typing import Any, get_args

import falcon
import pytest

from web.openapi.parameters import of_query
from web.parameters import (
    PAGE_DEFAULT,
    InventoryQuery,
    MovementQuery,
    OrderQuery,
    Query,
    Status,
    read_query,
)
from web.problems import Problem
from web.types import STATUSES


def texts(query: str) -> dict[str, Any]:
    """Parameters as the front door's own app parses them."""
    return falcon.uri.parse_query_string(query, keep_blank=True)


def errors(type_: type[Query], query: str) -> dict[str, str]:
    """What a 422 says of each parameter, by its name."""
    with pytest.raises(Problem) as caught:
        read_query(type_, texts(query))
    assert caught.value.status == 422
    found: Any = caught.value.document["errors"]
    return {error["parameter"]: error["detail"] for error in found}


def test_what_is_declared_is_read() -> None:
    query = read_query(
        OrderQuery, texts("status=shipped&limit=5&customer_id=Zo%C3%AB%20&sku=MUG-01")
    )

    assert query == OrderQuery(status="shipped", limit=5, customer_id="Zoë ", sku="MUG-01")


def test_all_that_is_wrong_is_said_at_once_and_what_is_allowed() -> None:
    assert errors(OrderQuery, "dry_run=true&status=gone&limit=1&limit=2&placed_after=today") == {
        "dry_run": "is unknown; allowed: status, customer_id, sku, placed_after, "
        "placed_before, updated_after, cursor, limit",
        "limit": "must not be repeated",
        "status": "must be one of cancelled, confirmed, delivered, failed, pending, rejected, "
        "returned, shipped",
        "placed_after": "must be a time with its offset, such as 2026-11-23T14:00:00Z",
    }


@pytest.mark.parametrize(
    ("type_", "query", "name", "detail"),
    [
        (OrderQuery, "status=", "status", "must be one of cancelled, confirmed,"),
        (OrderQuery, "status=shipped%00", "status", "must be one of cancelled, confirmed,"),
        (OrderQuery, "customer_id=a%00", "customer_id", "must be a string of 1 to 64 characters"),
        (OrderQuery, "customer_id=", "customer_id", "must be a string of 1 to 64 characters"),
        (
            OrderQuery,
            f"customer_id={'c' * 65}",
            "customer_id",
            "must be a string of 1 to 64 characters",
        ),
        (OrderQuery, "sku=", "sku", "must be 1 to 64 characters of A-Z a-z 0-9"),
        (OrderQuery, "sku=..", "sku", "must be 1 to 64 characters of A-Z a-z 0-9"),
        (OrderQuery, "sku=a%2Fb", "sku", "must be 1 to 64 characters of A-Z a-z 0-9"),
        (InventoryQuery, "prefix=", "prefix", "must be 1 to 64 characters of A-Z a-z 0-9"),
        (InventoryQuery, "prefix=a%20b", "prefix", "must be 1 to 64 characters of A-Z a-z 0-9"),
        (InventoryQuery, "available_below=-1", "available_below", "must be a whole number from 0"),
        (MovementQuery, "sku=MUG-01", "sku", "is unknown; allowed: cursor, limit"),
    ],
)
def test_a_parameter_that_breaks_a_rule_is_named(
    type_: type[Query], query: str, name: str, detail: str
) -> None:
    (found,) = errors(type_, query).items()

    assert found[0] == name
    assert found[1].startswith(detail)


@pytest.mark.parametrize(
    ("query", "size"), [("", PAGE_DEFAULT), ("limit=1", 1), ("limit=200", 200)]
)
def test_how_many_items_a_page_has(query: str, size: int) -> None:
    assert read_query(MovementQuery, texts(query)).limit == size


@pytest.mark.parametrize(
    "text",
    [
        "",
        "0",
        "201",
        "-1",
        "1.5",
        "ten",
        "%2B5",
        "1e2",
        "%D9%A1",
        "99999999999999999",
        "+5",
        "%005",
    ],
)
def test_a_page_of_no_sensible_size_is_refused(text: str) -> None:
    found = errors(MovementQuery, f"limit={text}")

    assert found == {"limit": "must be a whole number from 1 to 200"}


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-11-23T14:00:00Z", datetime(2026, 11, 23, 14, tzinfo=UTC)),
        ("2026-11-23T14:00:00.5Z", datetime(2026, 11, 23, 14, 0, 0, 500_000, tzinfo=UTC)),
        ("2026-11-23T16:00:00%2B02:00", datetime(2026, 11, 23, 14, tzinfo=UTC)),
        ("2026-11-23T16:00:00+02:00", datetime(2026, 11, 23, 14, tzinfo=UTC)),
    ],
)
def test_a_time_is_read_with_its_offset_and_is_in_utc(text: str, moment: datetime) -> None:
    found = read_query(OrderQuery, texts(f"placed_after={text}")).placed_after

    assert found == moment
    assert found is not None
    assert found.tzinfo is UTC


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2026-11-23T14:00:00",
        "2026-11-23",
        "yesterday",
        "2026-13-01T00:00:00Z",
        "1732370400",
        "0001-01-01T00:00:00%2B14:00",
        "9999-12-31T23:59:59-14:00",
    ],
)
def test_what_is_no_time_is_refused(text: str) -> None:
    assert list(errors(OrderQuery, f"placed_after={text}")) == ["placed_after"]


def test_the_statuses_to_ask_for_are_those_that_there_are() -> None:
    assert list(get_args(Status)) == STATUSES


@pytest.mark.parametrize("type_", [OrderQuery, InventoryQuery, MovementQuery])
def test_openapi_has_each_parameter_that_is_read(type_: type[Query]) -> None:
    described = {parameter["name"]: parameter for parameter in of_query(type_)}

    assert list(described) == list(type_.__struct_fields__)
    for parameter in described.values():
        assert parameter["description"]
        assert {"type", "enum"} & parameter["schema"].keys()
    assert described["limit"]["schema"]["default"] == PAGE_DEFAULT
