"""Bad input of every kind: the right problem, and nothing changed."""

import itertools
import json
import socket
from typing import Any

import httpx
import pytest

from tests.conftest import API_KEY, System
from tests.e2e.shop import Shop, an_order, fresh, pointers, problem

JSON = {"Content-Type": "application/json"}
GOOD = json.dumps(an_order(("MUG-01", 1))).encode()


def with_customer(value: bytes) -> bytes:
    """A good order but for the JSON of its customer."""
    return GOOD.replace(b'"c-17"', value)


DEEP = 100_000
NOT_JSON = {
    "empty": b"",
    "blank": b" \n",
    "truncated": GOOD[:-10],
    "half a word": b"tru",
    "two documents": GOOD + GOOD,
    "something after": GOOD + b"x",
    "single quotes": GOOD.replace(b'"', b"'"),
    "a trailing comma": GOOD[:-1] + b",}",
    "a comment": b"/* order */" + GOOD,
    "NaN": with_customer(b"NaN"),
    "Infinity": with_customer(b"-Infinity"),
    "NaN as a quantity": GOOD.replace(b"1}", b"NaN}"),
    "a lone high surrogate": with_customer(rb'"\ud800"'),
    "a lone low surrogate": with_customer(rb'"x\udc00x"'),
    "a lone surrogate in metadata": GOOD[:-1] + rb',"metadata":{"\ud83d":"x"}}',
    "bytes that are not UTF-8": with_customer(b'"\xff\xfe"'),
    "an encoded surrogate": with_customer(b'"\xed\xa0\x80"'),
    "UTF-16": GOOD.decode().encode("utf-16"),
    "a bare newline in a string": with_customer(b'"a\nb"'),
    "a leading zero": GOOD.replace(b"1}", b"01}"),
    "arrays 100,000 deep": b"[" * DEEP + b"]" * DEEP,
    "arrays 100,000 deep and no end": b"[" * DEEP,
    "objects 40,000 deep": b'{"a":' * 40_000 + b"1" + b"}" * 40_000,
    "depth in a known member": with_customer(b"[" * DEEP + b"]" * DEEP),
    "depth in an unknown member": GOOD[:-1] + b',"x":' + b"[" * DEEP + b"]" * DEEP + b"}",
    "depth in metadata": GOOD[:-1] + b',"metadata":{"x":' + b"[" * DEEP + b"]" * DEEP + b"}}",
}


@pytest.mark.parametrize("body", NOT_JSON.values(), ids=NOT_JSON.keys())
@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", "/v1/orders"), ("POST", "/v1/order-batches"), ("PUT", "/v1/products/MUG-01")],
    ids=["order", "batch", "product"],
)
def test_what_is_not_json_is_refused(
    client: httpx.Client, method: str, path: str, body: bytes
) -> None:
    answer = client.request(method, path, content=body, headers=JSON)

    problem(answer, 400, "not-json")


def each(member: str, pointer: str, *bad: Any) -> list[tuple[str, Any, str]]:
    return [(member, value, pointer) for value in bad]


BROKEN = [
    *each("customer_id", "/customer_id", "", "x" * 65, "a\0b", "\0", 5, 1.5, True, None, [], {}),
    *each("lines", "/lines", [], None, {}, "x", 5, [{}] * 101),
    *each("lines", "/lines/0", [None], [[]], ["MUG"], [5]),
    *each("sku", "/lines/1/sku", "", "x" * 65, "a b", "é", "a/b", "a\n", "a\0", "a,b", "٣"),
    *each("sku", "/lines/1/sku", 5, None, True),
    *each("quantity", "/lines/1/quantity", 0, -1, 1_000_001, 10**19, 10**30, -(10**30)),
    *each("quantity", "/lines/1/quantity", 1.5, 1.0, 1e3, "1", "", True, False, None, [1]),
    *each("metadata", "/metadata", None, [], "x", 5, {"k": 5}, {"k": None}, {"k": {}}),
    *each("metadata", "/metadata", {"k": True}, {"k": "a\0"}, {"a\0": "v"}, {"k": "x" * 5000}),
    *each("metadata", "/metadata", {"k" * 5000: ""}, {"k": "é" * 2100}),
    *each("metadata", "/metadata", {str(number): "x" * 50 for number in range(100)}),
    *[(name, 1, f"/{name}") for name in ("nonsense", "status", "id", "idempotency_key", "")],
    ("unit_price in a line", 1, "/lines/1/unit_price"),
]


def broken_order(member: str, value: Any) -> dict[str, Any]:
    order = an_order(("MUG-01", 1), ("MUG-02", 1))
    if member in ("sku", "quantity"):
        order["lines"][1][member] = value
    elif member.endswith(" in a line"):
        order["lines"][1][member.partition(" ")[0]] = value
    else:
        order[member] = value
    return order


@pytest.mark.parametrize(("member", "value", "pointer"), BROKEN, ids=lambda value: repr(value)[:30])
def test_an_order_that_breaks_a_rule_is_refused_and_told_where(
    client: httpx.Client, member: str, value: Any, pointer: str
) -> None:
    order = broken_order(member, value)

    alone = problem(client.post("/v1/orders", json=order), 422, "invalid-request")
    in_batch = client.post("/v1/order-batches", json={"orders": [an_order(("MUG", 1)), order]})

    # `/metadata/k` would be as good as `/metadata`.
    assert pointers(alone)[0].startswith(pointer)
    if member != "idempotency_key":
        assert pointers(problem(in_batch, 422))[0].startswith(f"/orders/1{pointer}")


@pytest.mark.parametrize("body", ["[]", "5", "null", '"x"', "true"])
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1/orders"), ("POST", "/v1/order-batches"), ("PUT", "/v1/products/MUG-01"),
        ("POST", "/v1/inventory/MUG-01/adjustments"), ("POST", "/v1/inventory/MUG-01/reductions"),
    ],
)  # fmt: skip
def test_json_that_is_no_such_request_is_refused(
    client: httpx.Client, method: str, path: str, body: str
) -> None:
    answer = client.request(method, path, content=body, headers=JSON)

    assert pointers(problem(answer, 422, "invalid-request")) == [""]


@pytest.mark.parametrize("missing", ["customer_id", "lines"])
def test_a_member_that_is_missing_is_named(client: httpx.Client, missing: str) -> None:
    order = an_order(("MUG-01", 1))
    del order[missing]

    document = problem(client.post("/v1/orders", json=order), 422)

    assert document["errors"] == [{"pointer": f"/{missing}", "detail": "is missing"}]


@pytest.mark.parametrize(
    "body",
    [
        {"status": "confirmed"}, {"status": "pending"}, {"status": "failed"}, {"status": 5},
        {"status": ""}, {"status": None}, {"status": "SHIPPED"}, {"status": "shipped\0"}, {},
        {"status": "shipped", "restock": True}, {"status": "cancelled", "restock": False},
        {"status": "returned", "restock": "yes"}, {"status": "returned", "restock": 1},
        {"status": "returned", "restock": None}, {"status": "shipped", "note": "x"}, [],
    ],
    ids=str,
)  # fmt: skip
def test_a_move_that_breaks_a_rule_is_refused(shop: Shop, body: Any) -> None:
    order_id = shop.confirmed((shop.product(1), 1))["id"]

    problem(shop.client.patch(f"/v1/orders/{order_id}", json=body), 422, "invalid-request")

    assert shop.order(order_id)["status"] == "confirmed"
    assert len(shop.events(order_id)) == 1


@pytest.mark.parametrize("sent", ["with its length", "in chunks"])
@pytest.mark.parametrize(
    ("path", "kib"),
    [("/v1/orders", 256), ("/v1/order-batches", 4096), ("/v1/inventory/MUG/adjustments", 256)],
)
def test_a_body_that_is_too_large_is_refused(
    client: httpx.Client, path: str, kib: int, sent: str
) -> None:
    chunks = itertools.chain([GOOD[:-1]], itertools.repeat(b" " * 1024, kib), [b"}"])

    content = b"".join(chunks) if sent == "with its length" else chunks
    answer = client.post(path, content=content, headers=JSON)

    problem(answer, 413, "too-large")


def test_a_body_of_256_kib_is_not_too_large(shop: Shop) -> None:
    sku = shop.product(1)
    body = json.dumps(an_order((sku, 1))).ljust(256 * 1024)

    assert shop.client.post("/v1/orders", content=body, headers=JSON).status_code == 202


def test_a_body_in_chunks_is_as_good_as_another(shop: Shop) -> None:
    body = json.dumps(an_order((shop.product(1), 1))).encode()

    answer = shop.client.post("/v1/orders", content=iter([body[:9], body[9:]]), headers=JSON)

    assert answer.status_code == 202


@pytest.mark.parametrize(
    "media_type",
    [None, "", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x",
     "application/xml", "nonsense", "application/jsonx"],
)  # fmt: skip
def test_a_body_of_another_media_type_is_refused(
    client: httpx.Client, media_type: str | None
) -> None:
    headers = {} if media_type is None else {"Content-Type": media_type}

    problem(client.post("/v1/orders", content=GOOD, headers=headers), 415)


@pytest.mark.parametrize(
    "media_type", ["application/json; charset=utf-8", "Application/JSON", "application/json;"]
)
def test_json_may_say_its_charset(client: httpx.Client, media_type: str) -> None:
    answer = client.post("/v1/orders", content=GOOD, headers={"Content-Type": media_type})

    assert answer.status_code == 202


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PUT", "/v1/orders", {"GET", "POST"}), ("DELETE", "/v1/orders", {"GET", "POST"}),
        ("GET", "/v1/order-batches", {"POST"}), ("POST", "/v1/orders/{id}", {"GET", "PATCH"}),
        ("PUT", "/v1/orders/{id}", {"GET", "PATCH"}), ("POST", "/v1/orders/{id}/events", {"GET"}),
        ("POST", "/v1/products/MUG", {"PUT"}), ("DELETE", "/v1/products/MUG", {"PUT"}),
        ("PUT", "/v1/inventory/MUG", {"GET"}), ("PUT", "/v1/inventory/MUG/adjustments", {"POST"}),
        ("GET", "/v1/inventory/MUG/reductions", {"POST"}), ("POST", "/v1/inventory", {"GET"}),
        ("POST", "/v1/inventory/MUG/movements", {"GET"}), ("PATCH", "/v1/commands/{id}", {"GET"}),
        ("POST", "/livez", {"GET"}), ("DELETE", "/readyz", {"GET"}),
    ],
)  # fmt: skip
def test_a_method_that_is_none_is_refused_with_those_that_are(
    shop: Shop, method: str, path: str, allowed: set[str]
) -> None:
    order_id = shop.place((fresh(), 1)).json()["id"] if "{id}" in path else ""

    answer = shop.client.request(method, path.format(id=order_id))

    problem(answer, 405, "method-not-allowed")
    assert allowed <= set(answer.headers["allow"].replace(",", " ").split())


@pytest.mark.parametrize(
    "path", ["/v1", "/v1/", "/v2/orders", "/v1/nonsense", "/v1/orders/", "/v1/inventory/a/b",
             "/%00", "/v1/orders/a/b/c", "/.env", "/..%2f..%2fetc/passwd"],
)  # fmt: skip
def test_a_path_that_leads_nowhere_is_not_found(client: httpx.Client, path: str) -> None:
    problem(client.get(path), 404, "not-found")


@pytest.mark.parametrize(
    "headers",
    [{"X-Large": "x" * 40_000}, {f"X-{number}": "x" for number in range(150)}],
    ids=["one large header", "many headers"],
)
def test_headers_that_are_too_large_are_refused(
    client: httpx.Client, headers: dict[str, str]
) -> None:
    problem(client.get("/v1/orders", headers=headers), 431)


def test_an_address_that_is_too_long_is_refused(client: httpx.Client) -> None:
    answer = client.get("/v1/orders?customer_id=" + "x" * 60_000)

    problem(answer, answer.status_code)
    assert answer.status_code in (414, 431)


@pytest.mark.parametrize(
    "raw",
    [b"nonsense\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc",
     b"GET /v1/orders HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n",
     b"POST /v1/orders HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n"
     b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
     b"POST /v1/orders HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"],
    ids=["no HTTP", "no such version", "TLS", "a bad length", "two lengths", "bad chunks"],
)  # fmt: skip
def test_what_is_not_http_is_refused_and_nobody_else_notices(
    system: System, client: httpx.Client, raw: bytes
) -> None:
    with socket.create_connection(("127.0.0.1", system.port), timeout=60) as connection:
        connection.sendall(raw)
        connection.shutdown(socket.SHUT_WR)
        answer = b"".join(iter(lambda: connection.recv(4096), b""))

    assert b"Traceback" not in answer
    assert answer == b"" or answer.split()[1] in (b"400", b"401")
    assert client.get("/livez").status_code == 200


def test_bad_input_leaves_no_trace_of_an_error_in_the_log(system: System) -> None:
    """After all of the above: whatever a client sends is no fault of ours."""
    log = system.log("web").read_text()

    assert "Traceback" not in log
    assert API_KEY not in log
