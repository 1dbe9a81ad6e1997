"""Requests that two readers might read in two ways: read in the one way that is safe, or refused.

The order that is sent is `{}`: answered 422 where its body was read as it is, 400 where it was cut.
Behind it comes a request that is to be found by nobody (404 where it is), then a last one, answered
where the connection still takes requests.
"""

import json

import httpx
import pytest

from tests.conftest import System, eventually
from tests.e2e.raw import AUTH, LAST, Heard, request, say
from tests.e2e.shop import an_order, fresh

ORDER = "/v1/orders"
JSON = b"Content-Type: application/json"
CHUNKED = b"Transfer-Encoding: chunked"
SMUGGLED = b"GET /v1/smuggled HTTP/1.1\r\nHost: h\r\n" + AUTH + b"\r\n"
END = b"0\r\n\r\n"
BODY = b"2\r\n{}\r\n" + END


def order(*headers: bytes, body: bytes = BODY) -> bytes:
    return request(ORDER, JSON, *headers, body=body)


def get(line: bytes, headers: bytes = b"Host: h\r\n") -> bytes:
    return line + b"\r\n" + headers + AUTH + b"\r\n"


def refused(heard: Heard) -> None:
    """One answer, a problem document, and the end of the connection."""
    head, _, body = heard.text.partition(b"\r\n\r\n")
    assert heard.statuses == [400], heard.text
    assert b"application/problem+json" in head
    assert b"Connection: close" in head
    assert json.loads(body)["status"] == 400
    assert b"Traceback" not in body


CODINGS = [
    b"xchunked", b"identity", b"chunked, identity", b"identity, chunked", b"chunked, chunked",
    b"gzip, chunked", b"gzip", b"chunked\t", b"\x0bchunked", b"chunked\0", b'"chunked"',
    b"chunked\x0b", b"chunked;a=b", b"chunked,", b"", b"\r\n chunked",
    b"chunked\r\nTransfer-Encoding: identity",
    b"identity\r\nTransfer-Encoding: chunked", b"chunked\r\nTransfer-Encoding: chunked",
]  # fmt: skip
LENGTHS = [
    b"2\r\nContent-Length: 2", b"2\r\nContent-Length: 3", b"2, 2", b"+2", b"-2", b"0x2", b"2 2",
    b"", b"2\0", b"2\x0b", b"\xef\xbc\x92", b"2_0", b"2e0", b"2;", b"\r\n 2", b"2.0",
    b"99999999999999999999999", b"18446744073709551618",
]  # fmt: skip
HEADERS = {
    "a folded header": b"Host: h\r\nX: a\r\n b\r\n",
    "a folded first header": b" X: a\r\nHost: h\r\n",
    "a bare line feed": b"Host: h\nX: y\n",
    "one bare line feed": b"Host: h\r\nX: y\nZ: z\r\n",
    "a bare carriage return": b"Host: h\r\nX: a\rZ: z\r\n",
    "NUL in a value": b"Host: h\r\nX: a\0b\r\n",
    "NUL in a name": b"Host: h\r\nX\0: ab\r\n",
    "a control character": b"Host: h\r\nX: \x01\r\n",
    "a space before the colon": b"Host: h\r\nX : y\r\n",
    "no colon": b"Host: h\r\nnonsense\r\n",
    "no name": b"Host: h\r\n: x\r\n",
    "a name that is none": b"Host: h\r\nX(y): z\r\n",
    "no Host": b"",
    "two Hosts": b"Host: h\r\nHost: h\r\n",
    "two other Hosts": b"Host: h\r\nHost: other\r\n",
    "a Host with a path": b"Host: h/../x\r\n",
    "a Host with a user": b"Host: a@h\r\n",
    "a Host with a space": b"Host: a h\r\n",
}
LINES = [
    b"GET http://other/livez HTTP/1.1", b"GET http://u:p@h/livez HTTP/1.1", b"GET h:80 HTTP/1.1",
    b"GET http:///livez HTTP/1.1", b"CONNECT h:80 HTTP/1.1", b"GET livez HTTP/1.1",
    b"GET /livez", b"GET /livez HTTP/0.9", b"GET /livez HTTP/1.2", b"GET /livez HTTP/2.0",
    b"GET /livez HTTP/3.0", b"GET /livez HTTP/1.", b"GET /livez HTTP/01.1", b"GET /livez http/1.1",
    b"get /livez HTTP/1.1", b"NONSENSE /livez HTTP/1.1", b"GET /livez ICE/1.0",
    b"GET /li vez HTTP/1.1", b"GET\t/livez\tHTTP/1.1", b"GET /\xff HTTP/1.1", b"GET /\0 HTTP/1.1",
    b"PRI * HTTP/2.0", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0",
    b"\0GET /livez HTTP/1.1", b"GET /livez HTTP/1.1\rX: y",
]  # fmt: skip
CHUNKS = {
    "a size beyond any": b"fffffffffffffffff\r\n{}\r\n" + END,
    "a size that wraps": b"10000000000000002\r\n{}\r\n" + END,
    "0x": b"0x2\r\n{}\r\n" + END,
    "a plus sign": b"+2\r\n{}\r\n" + END,
    "a minus sign": b"-2\r\n{}\r\n" + END,
    "a space behind": b"2 \r\n{}\r\n" + END,
    "a space before": b" 2\r\n{}\r\n" + END,
    "no size": b"\r\n{}\r\n" + END,
    "an underscore": b"0_2\r\n{}\r\n" + END,
    "more than its size": b"2\r\n{}}\r\n" + END,
    "a bare line feed": b"2\n{}\r\n" + END,
    "a bare line feed behind": b"2\r\n{}\n" + END,
    "a bare line feed in an extension": b"2;a\n{}\r\n" + END,
    "an open quote": b'2;a="\r\n{}\r\n' + END,
    "carriage returns": b"2\r{}\r0\r\r",
    "line feeds at the end": b"2\r\n{}\r\n0\n\n",
    "a length in a trailer": b"2\r\n{}\r\n0\r\nContent-Length: 9\r\n\r\n",
    "a coding in a trailer": b"2\r\n{}\r\n0\r\nTransfer-Encoding: chunked\r\n\r\n",
    "a trailer that is none": b"2\r\n{}\r\n0\r\nX y\r\n\r\n",
}
REFUSED = {
    "CL.TE": order(b"Content-Length: 5", CHUNKED, body=END + SMUGGLED),
    "TE.CL": order(CHUNKED, b"Content-Length: 4", body=b"%x\r\n" % len(SMUGGLED) + SMUGGLED + END),
    "a length and an odd coding": order(b"Content-Length: 2", b"Transfer-Encoding: x", body=b"{}"),
    "a coding in HTTP/1.0": order(CHUNKED).replace(b"HTTP/1.1", b"HTTP/1.0", 1),
    "a space before a coding's colon": order(b"Transfer-Encoding : chunked"),
    "a space before a coding": order(b" Transfer-Encoding: chunked"),
    "h2c with a body": order(
        b"Connection: Upgrade", b"Upgrade: h2c", b"Content-Length: 2", body=b"{}"
    ),
    **{f"coding {coding!r}": order(b"Transfer-Encoding: " + coding) for coding in CODINGS},
    **{f"length {value!r}": order(b"Content-Length: " + value, body=b"{}") for value in LENGTHS},
    **{name: get(b"GET /livez HTTP/1.1", headers) for name, headers in HEADERS.items()},
    **{f"{line[:40]!r}": get(line) for line in LINES},
    **{f"chunks: {name}": order(CHUNKED, body=body) for name, body in CHUNKS.items()},
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_can_be_read_in_two_ways_is_refused_and_nothing_behind_it_is_read(
    system: System, name: str
) -> None:
    refused(say(system, REFUSED[name] + SMUGGLED + LAST))


READ = {
    "a coding in capitals": (order(b"TRANSFER-ENCODING: CHUNKED"), 422),
    "blanks around a coding": (order(b"Transfer-Encoding: \t chunked "), 422),
    "blanks around a length": (order(b"Content-Length:  2 ", body=b"{}"), 422),
    "zeros before a length": (order(b"Content-Length: 0002", body=b"{}"), 422),
    "zeros before a size": (order(CHUNKED, body=b"00000000002\r\n{}\r\n" + END), 422),
    "an extension": (order(CHUNKED, body=b'2;a=b;c="d"\r\n{}\r\n' + END), 422),
    "a huge extension": (order(CHUNKED, body=b"2;" + b"a" * 200_000 + b"\r\n{}\r\n" + END), 422),
    "a trailer": (order(CHUNKED, body=b"2\r\n{}\r\n0\r\nAuthorization: x\r\nHost: z\r\n\r\n"), 422),
    "a huge trailer": (
        order(CHUNKED, body=b"2\r\n{}\r\n0\r\nX: " + b"y" * 200_000 + b"\r\n\r\n"), 422,
    ),
    "a body of a GET": (request(ORDER, b"Content-Length: 2", method="GET", body=b"{}"), 400),
    "no bytes of a GET": (request(ORDER, b"Content-Length: 0", method="GET"), 200),
    "lines before it": (b"\r\n\r\n" + order(CHUNKED), 422),
    "its own host in its address": (get(b"GET http://H/livez HTTP/1.1"), 200),
    "an empty Host": (get(b"GET /livez HTTP/1.1", b"Host:\r\n"), 200),
    "an address as Host": (get(b"GET /livez HTTP/1.1", b"Host: [::1]:8000\r\n"), 200),
    "bytes that are no ASCII": (get(b"GET /livez HTTP/1.1", b"Host: h\r\nX: \xff\xe9\r\n"), 200),
    "the server itself": (get(b"OPTIONS * HTTP/1.1"), 404),
    "no path": (get(b"GET * HTTP/1.1"), 404),
    "another host as path": (get(b"GET //other/livez HTTP/1.1"), 404),
    "a method of others": (get(b"SOURCE /livez HTTP/1.1"), 400),
    "TRACE": (get(b"TRACE /livez HTTP/1.1"), 405),
    "an expectation": (order(CHUNKED, b"Expect: 100-continue"), 422),
}  # fmt: skip


@pytest.mark.parametrize("name", READ)
@pytest.mark.parametrize("whole", [True, False], ids=["whole", "in bytes"])
def test_what_is_odd_but_clear_is_read_whole_and_what_follows_is_a_request(
    system: System, name: str, whole: bool
) -> None:
    sent, status = READ[name]
    parts = [sent] if whole else [bytes([byte]) for byte in sent[:2000]] + [sent[2000:]]

    heard = say(system, *parts, SMUGGLED + LAST)

    assert heard.statuses == [status, 404, 200]


@pytest.mark.parametrize("whole", [True, False], ids=["whole", "in bytes"])
def test_an_expectation_that_nobody_knows_is_refused_and_what_follows_is_no_body(
    system: System, whole: bool
) -> None:
    sent = order(CHUNKED, b"Expect: something")
    parts = [sent] if whole else [bytes([byte]) for byte in sent]

    heard = say(system, *parts, SMUGGLED + LAST)

    # If its body is on its way still, nobody can tell whether it comes: the connection ends.
    assert heard.statuses in ([[417, 404, 200]] if whole else [[417], [417, 404, 200]])


LAST_OF_ITS_CONNECTION = {
    "Connection: close": get(b"GET /livez HTTP/1.1", b"Host: h\r\nConnection: close\r\n"),
    "HTTP/1.0": get(b"GET /livez HTTP/1.0"),
    "HTTP/1.0 without a Host": get(b"GET /livez HTTP/1.0", b""),
    "h2c": get(b"GET /livez HTTP/1.1", b"Host: h\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n"),
    "websocket": get(
        b"GET /livez HTTP/1.1",
        b"Host: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
    ),
}


@pytest.mark.parametrize("name", LAST_OF_ITS_CONNECTION)
def test_behind_a_last_request_nothing_is_read(system: System, name: str) -> None:
    assert say(system, LAST_OF_ITS_CONNECTION[name] + SMUGGLED + LAST).statuses == [200]


def test_a_body_that_nobody_reads_is_no_request(system: System) -> None:
    """Who has no key is answered before the body is read."""
    length = b"Content-Length: %d" % len(SMUGGLED)
    sent = request(ORDER, JSON, length, body=SMUGGLED).replace(AUTH, b"", 1)

    assert say(system, sent + LAST).statuses == [401, 200]


def test_requests_sent_ahead_are_answered_in_their_order(system: System) -> None:
    ahead = (get(b"GET /livez HTTP/1.1") + SMUGGLED) * 5

    assert say(system, ahead + LAST).statuses == [200, 404] * 5 + [200]


def test_of_too_many_sent_ahead_the_first_are_answered(system: System) -> None:
    heard = say(system, get(b"GET /livez HTTP/1.1") * 100 + LAST)

    assert heard.statuses == [200] * 17


@pytest.mark.parametrize(
    "behind",
    [b"nonsense\r\n\r\n", get(b"GET /livez HTTP/1.1", b""), order(CHUNKED, body=b"zz\r\n")],
    ids=["no HTTP", "no Host", "bad chunks"],
)
def test_a_refusal_is_never_the_answer_to_an_order_before_it(
    system: System, client: httpx.Client, behind: bytes
) -> None:
    """An order that was taken must not look refused."""
    customer = fresh("customer")
    body = json.dumps(an_order((fresh(), 1), customer_id=customer)).encode()
    good = order(b"Prefer: wait=10", b"Content-Length: %d" % len(body), body=body)

    heard = say(system, good + behind + SMUGGLED + LAST)

    assert heard.statuses == [409]  # there is no such product
    placed = eventually(lambda: client.get(ORDER, params={"customer_id": customer}).json()["items"])
    assert len(placed) == 1


@pytest.mark.parametrize(
    "headers",
    [b"X: " + b"x" * 1_000_000, b"x" * 1_000_000 + b": x",
     b"\r\n".join(b"X-%d: x" % number for number in range(101)), b"X: y\r\n" * 200_000],
    ids=["a value of 1 MB", "a name of 1 MB", "101 headers", "200,000 headers"],
)  # fmt: skip
def test_a_head_beyond_its_limits_is_refused(system: System, headers: bytes) -> None:
    heard = say(system, order(headers, CHUNKED) + SMUGGLED + LAST)

    assert heard.statuses in ([431], [])  # lost, where it sends on past the refusal
    assert b"smuggled" not in heard.text


def test_after_all_of_this_the_log_tells_of_no_error(system: System) -> None:
    log = system.log("web").read_text()

    assert "Traceback" not in log
    assert '"log.level":"error"' not in log
