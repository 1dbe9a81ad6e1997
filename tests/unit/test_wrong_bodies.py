"""A body that is not taken: all that is wrong with it, where, and in no library's words."""

import json
import re
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz.effort import effort
from tests.fuzz.strategies import bodies
from web import repeated_members
from web.broken_rules import ERRORS_MAX, broken_rules
from web.problems import Problem
from web.requests import decode_body
from web.types import (
    AdjustmentRequest,
    MoveRequest,
    OrderBatchRequest,
    OrderRequest,
    ProductRequest,
    ReductionRequest,
)

ORDER = {
    "customer_id": "c-17",
    "lines": [{"sku": "MUG-01", "quantity": 2}, {"sku": "MUG-02", "quantity": 1}],
    "metadata": {"channel": "web"},
}
GOOD: dict[type[Any], Any] = {
    OrderRequest: ORDER,
    OrderBatchRequest: {"orders": [ORDER, {**ORDER, "idempotency_key": "k"}]},
    MoveRequest: {"status": "returned", "restock": True},
    ProductRequest: {"name": "Mug", "unit_price": 1250, "currency": "EUR"},
    AdjustmentRequest: {"delta": 5, "reason": "received"},
    ReductionRequest: {"quantity": 1, "reason": "damaged"},
}
SKU_RULE = "must be 1 to 64 characters of A-Z a-z 0-9 . _ -, but neither . nor .."
#: What msgspec and json say.
LIBRARY = re.compile(r"Expected|`|Object |Invalid|malformed:|\bstr\b|\bint\b|regex|enum|Traceback")


def refused(body: bytes, type_: type[Any] = OrderRequest, status: int = 422) -> dict[str, Any]:
    """The problem document for a body that is not taken."""
    with pytest.raises(Problem) as caught:
        decode_body(body, msgspec.json.Decoder(type_))
    assert caught.value.status == status, caught.value.document
    return caught.value.document


def errors(document: dict[str, Any]) -> dict[str, str]:
    return {error["pointer"]: error["detail"] for error in document["errors"]}


def test_all_that_is_wrong_with_an_order_is_said_at_once() -> None:
    order = {
        "customer_id": "",
        "lines": [{"sku": "a b", "quantity": 0}, {"sku": "MUG", "unit_price": 5}, "MUG"],
        "metadata": {"channel": 5, "a\0b": "x", "a/b~c": None},
        "coupon": "X",
    }

    document = refused(json.dumps(order).encode())

    assert errors(document) == {
        "/customer_id": "must be a string of 1 to 64 characters without NUL",
        "/lines/0/sku": SKU_RULE,
        "/lines/0/quantity": "must be a whole number from 1 to 1,000,000",
        "/lines/1/quantity": "is missing",
        "/lines/1/unit_price": "is unknown; allowed: sku, quantity",
        "/lines/2": "must be an object with sku, quantity",
        "/metadata/channel": "must be a string without NUL",
        "/metadata/a\0b": "its name must be a string without NUL",
        "/metadata/a~1b~0c": "must be a string without NUL",
        "/coupon": "is unknown; allowed: customer_id, lines, metadata",
    }
    assert document["detail"] == (
        "/customer_id: must be a string of 1 to 64 characters without NUL (9 more in errors)"
    )


def test_each_order_of_a_batch_says_all_that_is_wrong_with_it() -> None:
    orders = [ORDER, {"lines": [{"sku": "MUG"}]}, {**ORDER, "idempotency_key": "\n"}]

    document = refused(json.dumps({"orders": orders}).encode(), OrderBatchRequest)

    assert errors(document) == {
        "/orders/1/customer_id": "is missing",
        "/orders/1/lines/0/quantity": "is missing",
        "/orders/2/idempotency_key": "must be 1 to 255 printable ASCII characters",
    }


@pytest.mark.parametrize(
    ("type_", "body", "pointer", "detail"),
    [
        (AdjustmentRequest, {"delta": 1, "reason": "gift"}, "/reason", "must be one of correction, "
         "damaged, found, lost, received, returned"),
        (MoveRequest, {"status": "SHIPPED"}, "/status",
         "must be one of cancelled, delivered, returned, shipped"),
        (MoveRequest, {"status": "returned", "restock": 1}, "/restock", "must be true or false"),
        (OrderRequest, [], "", "must be an object with customer_id, lines"),
        (OrderRequest, {**ORDER, "lines": []}, "/lines", "must be a list of 1 to 100 items"),
        (OrderRequest, {**ORDER, "lines": [1] * 101}, "/lines", "must be a list of 1 to 100 items"),
        (OrderRequest, {**ORDER, "metadata": None}, "/metadata", "must be an object"),
        (OrderBatchRequest, {"orders": [{**ORDER, "idempotency_key": 5}]},
         "/orders/0/idempotency_key", "must be 1 to 255 printable ASCII characters"),
    ],
    ids=lambda value: repr(value)[:30],
)  # fmt: skip
def test_a_rule_is_said_in_full(type_: type[Any], body: Any, pointer: str, detail: str) -> None:
    assert errors(refused(json.dumps(body).encode(), type_)) == {pointer: detail}


@pytest.mark.parametrize("number", ["9" * 5000, "1e999", "-9223372036854775809", "1.0"])
def test_a_number_beyond_all_is_json_that_breaks_a_rule(number: str) -> None:
    body = f'{{"customer_id":"c","lines":[{{"sku":"A","quantity":{number}}}]}}'

    assert errors(refused(body.encode())) == {
        "/lines/0/quantity": "must be a whole number from 1 to 1,000,000"
    }


def test_no_more_is_said_than_anybody_reads() -> None:
    bad = {"customer_id": "c", "lines": [{"sku": "", "quantity": 0}] * 100}

    document = refused(json.dumps({"orders": [bad] * 500}).encode(), OrderBatchRequest)

    assert len(document["errors"]) == ERRORS_MAX


def test_metadata_of_very_many_names_is_refused() -> None:
    many = {str(number): "x" for number in range(10_000)} | {"last": 5}

    document = refused(json.dumps({**ORDER, "metadata": many}).encode())

    assert errors(document) == {"/metadata": "must have at most 4096 members"}


@pytest.mark.parametrize(
    ("body", "pointers"),
    [
        ('{"customer_id":"c","lines":[{"sku":"A","quantity":1,"quantity":1000}]}',
         ["/lines/0/quantity"]),
        ('{"customer_id":"c","lines":[{"sku":"A","quantity":1}],"customer_id":"d"}',
         ["/customer_id"]),
        ('{"customer_id":"c","lines":[{"sku":"A","quantity":1}],"metadata":{"k":"a","k":"a"}}',
         ["/metadata/k"]),
        ('{"customer_id":"c","metadata":{},"lines":[{"sku":"A","quantity":1}],"metadata":{}}',
         ["/metadata"]),
        # The same name, spelt in another way; and quotation marks that make up for it.
        (r'{"customer_id":"c","lines":[{"sku":"A","quantity":1,"quant\u0069ty":2}]}',
         ["/lines/0/quantity"]),
        (r'{"customer_id":"c\u0022\u0022","lines":[{"sku":"A","quantity":1,"quantity":2}]}',
         ["/lines/0/quantity"]),
        (r'{"customer_id":"c\"\"","lines":[{"sku":"A","quantity":1,"quantity":2}]}',
         ["/lines/0/quantity"]),
        ('{"lines":[{"sku":"A","quantity":1}],"lines":[{"sku":"A","sku":"B","quantity":1}],'
         '"customer_id":"c"}', ["/lines", "/lines/0/sku"]),
        # A rule that is broken, too, is not what is wrong first.
        ('{"customer_id":"c","lines":[{"sku":"A","quantity":0,"quantity":1000}]}',
         ["/lines/0/quantity"]),
        ('{"x":1,"x":{"y":1,"y":2}}', ["/x", "/x/y"]),
    ],
)  # fmt: skip
def test_a_member_that_is_there_twice_is_named(body: str, pointers: list[str]) -> None:
    document = refused(body.encode(), status=400)

    assert document["type"] == "/problems/repeated-member"
    assert list(errors(document)) == pointers


def test_a_member_that_is_twice_in_one_order_of_a_batch_is_named() -> None:
    written = json.dumps({"orders": [ORDER] * 500})
    at = written.rindex('"quantity": 1')

    document = refused(
        (written[:at] + '"quantity": 5, ' + written[at:]).encode(), OrderBatchRequest, 400
    )

    assert list(errors(document)) == ["/orders/499/lines/1/quantity"]


@pytest.mark.parametrize("status", [None, 422])
def test_a_large_body_without_such_a_member_is_not_read_again(
    status: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Python's own reader takes several times as long, and everybody waits meanwhile."""
    # A quotation mark as System.Text.Json of .NET writes it
    body = json.dumps(
        {**ORDER, "customer_id": "MARK" if status is None else 5, "metadata": {"k": "MARK"}}
    )
    monkeypatch.setattr(json, "loads", None)

    if status is None:
        order = decode_body(
            body.replace("MARK", r"\u0022").encode(), msgspec.json.Decoder(OrderRequest)
        )
        assert order.customer_id == '"'
    else:
        refused(body.replace("MARK", r"\u0022").encode(), status=status)


def test_of_a_body_only_what_has_such_a_member_is_kept() -> None:
    lines = [{"sku": "A", "quantity": 1}] * 100
    written = json.dumps({"orders": [{"lines": lines}] * 3}).replace('"A"', '"B", "sku": "A"', 1)

    kept = json.loads(written, object_pairs_hook=repeated_members._kept)

    assert kept == [
        (
            "orders",
            [
                [("lines", [[("sku", "B"), ("sku", "A"), ("quantity", 1)], *[None] * 99])],
                None,
                None,
            ],
        )
    ]


@pytest.mark.parametrize(
    "body",
    [
        ORDER,
        {**ORDER, "metadata": {}},
        {**ORDER, "customer_id": 'Zoë "Z" \\ u0022 \u2028'},
        {**ORDER, "metadata": {'"': '"', "customer_id": "sku"}},
    ],
    ids=["plain", "a default", "marks", "marks in names"],
)
@pytest.mark.parametrize("ascii_only", [True, False])
@pytest.mark.parametrize("separators", [(",", ":"), (" ,\n", " : ")])
def test_a_body_without_such_a_member_is_taken_however_it_is_written(
    body: Any, ascii_only: bool, separators: tuple[str, str]
) -> None:
    written = json.dumps(body, ensure_ascii=ascii_only, separators=separators).encode()

    taken = decode_body(written, msgspec.json.Decoder(OrderRequest))

    assert taken == msgspec.convert(body, OrderRequest)


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"\xef\xbb\xbf{}", "it begins with a byte order mark; send UTF-8 without one"),
        ("{}".encode("utf-16"), "it is UTF-16; send UTF-8"),
        (b" \n", "it is empty"),
        (b'{"customer_id":', "it ends too early"),
        (b"{}{}", "something follows its end, at byte 2"),
        (b"{'a':1}", "wrong character at byte 1"),
        (b'{"customer_id":"\xff"}', "it is not UTF-8, at byte 16"),
        (b"[" * 5000, "it is nested too deeply"),
        (b'{"customer_id":NaN}', "wrong character at byte 15"),
        (rb'{"quantity":1e999,"\ud800":1}', "it is malformed"),
        (rb'{"customer_id":"\ud800 and more"}', "wrong surrogate pair at byte 22"),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_what_is_not_json_is_said_to_be_so_and_where(body: bytes, why: str) -> None:
    document = refused(body, status=400)

    assert document["type"] == "/problems/not-json"
    assert document["detail"] == f"The body is not JSON: {why}."


@pytest.mark.parametrize("type_", GOOD, ids=lambda type_: type_.__name__)
def test_whatever_comes_is_taken_or_said_to_be_wrong_in_our_words(type_: type[Any]) -> None:
    decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(type_)

    @effort(300)
    @given(bodies(GOOD[type_]) | st.binary(max_size=20))
    def check(body: bytes) -> None:
        try:
            taken = decode_body(body, decoder)
        except Problem as problem:
            found: Any = problem.document.get("errors", [])
            assert problem.status == 400 or found
            said = [str(problem.document["detail"]), *(error["detail"] for error in found)]
            assert not any(LIBRARY.search(text.partition(": ")[2]) for text in said), said
        else:
            assert broken_rules(type_, msgspec.json.decode(body)) == []
            assert taken == decoder.decode(body)

    check()
