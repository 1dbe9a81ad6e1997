"""`Expect: 100-continue`: what is refused by its head is refused before its body is asked for."""

import pytest

from tests.conftest import System
from tests.e2e.raw import AUTH, LAST, connect, hear, say
from tests.e2e.shop import an_order, fresh

EXPECT = b"Expect: 100-continue"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
JSON = b"Content-Type: application/json"
LENGTH = b"Content-Length: 20"
LARGE = b"Content-Length: 307200"
BODY = str(an_order((fresh(), 1))).replace("'", '"').encode()


def head(
    *headers: bytes, target: str = "/v1/orders", auth: bytes = AUTH, method: str = "POST"
) -> bytes:
    lines = b"".join(line + b"\r\n" for line in (EXPECT, *headers))
    return f"{method} {target} HTTP/1.1\r\nHost: h\r\n".encode() + auth + lines + b"\r\n"


REFUSED = {
    "a bad key": (head(JSON, LENGTH, auth=b"Authorization: Bearer x\r\n"), 401),
    "no key": (head(JSON, LENGTH, auth=b""), 401),
    "300 KiB": (head(JSON, LARGE), 413),
    "text": (head(b"Content-Type: text/plain", LENGTH), 415),
    "a coding": (head(JSON, LENGTH, b"Content-Encoding: gzip"), 415),
    "a charset": (head(JSON + b"; charset=utf-16", LENGTH), 415),
    "a parameter": (head(JSON, LENGTH, target="/v1/orders?dry_run=true"), 422),
    "a bad idempotency key": (head(JSON, LENGTH, b"Idempotency-Key: " + b"x" * 256), 422),
    "no such address": (head(JSON, LENGTH, target="/v1/nothing"), 404),
    "no such method": (head(JSON, LENGTH, target="/v1/inventory"), 405),
    "a key twice": (head(JSON, LENGTH, b"Idempotency-Key: a", b"Idempotency-Key: b"), 400),
    "an expectation that nobody meets": (
        head(JSON, LENGTH).replace(b"100-continue", b"200-ok"), 417
    ),
    "in capitals": (head(JSON, LARGE).replace(b"100-continue", b"100-CONTINUE"), 413),
}  # fmt: skip
ADDRESSES = {
    ("PATCH", "/v1/orders/nope"): 404,
    ("PUT", "/v1/products/a%20b"): 422,
    ("POST", "/v1/inventory/a%20b/adjustments"): 422,
    ("POST", "/v1/inventory/a%20b/reductions"): 422,
}
REFUSED |= {
    f"{method} {target}": (head(JSON, LENGTH, target=target, method=method), status)
    for (method, target), status in ADDRESSES.items()
} | {
    f"a bad idempotency key, {target}": (
        head(JSON, LENGTH, b"Idempotency-Key: " + b"x" * 256, target=target, method=method), 422
    )
    for method, target in (
        ("PUT", "/v1/products/a"), ("POST", "/v1/inventory/a/adjustments"),
        ("POST", "/v1/inventory/a/reductions"), ("POST", "/v1/order-batches"),
    )
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_its_head_refuses_is_refused_without_its_body(system: System, name: str) -> None:
    """No 100 Continue, no wait for a byte, and the end of the connection: no body was asked for."""
    request, status = REFUSED[name]

    heard = say(system, request)

    assert heard.statuses == [status]
    assert b"100 Continue" not in heard.text
    assert b"connection: close" in heard.text.lower()


def test_a_body_is_asked_for_and_the_connection_goes_on(system: System) -> None:
    with connect(system) as connection:
        connection.sendall(head(JSON, b"Content-Length: %d" % len(BODY)))
        assert connection.recv(len(CONTINUE)) == CONTINUE
        connection.sendall(BODY)
        connection.sendall(LAST)
        heard = hear(connection)

    assert heard.statuses == [202, 200]
    assert b"100 Continue" not in heard.text


def test_a_body_that_came_along_is_taken(system: System) -> None:
    heard = say(system, head(JSON, b"Content-Length: %d" % len(BODY)) + BODY + LAST)

    assert heard.statuses == [202, 200]


def test_http_1_0_is_never_told_to_continue(system: System) -> None:
    with connect(system) as connection:
        request = head(JSON, b"Content-Length: %d" % len(BODY))
        connection.sendall(request.replace(b"HTTP/1.1", b"HTTP/1.0", 1))
        connection.sendall(BODY)
        heard = hear(connection)

    assert heard.statuses == [202]
    assert b"100 Continue" not in heard.text
