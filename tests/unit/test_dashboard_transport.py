"""Where a request came from, as far as it can be believed."""

from typing import Any

import falcon.asgi
import pytest
from falcon import testing

from config import parse
from web.dashboard import transport

PUBLIC = "198.51.100.7"


def a_request(peer: str = "127.0.0.1", **headers: str) -> Any:
    scope = testing.create_scope()
    scope["client"] = (peer, 1)
    scope["headers"] = [
        (name.replace("_", "-").lower().encode(), value.encode()) for name, value in headers.items()
    ]
    return falcon.asgi.Request(scope, testing.ASGIRequestEventEmitter())


@pytest.fixture
def clients() -> transport.Clients:
    variables = {"DATABASE_URL": "postgresql://h/d", "RABBITMQ_URL": "amqp://h"}
    trusted = "127.0.0.0/8, 10.1.0.0/16,fd00::/8"
    return transport.Clients(
        parse({**variables, "SECRET_KEY": "x" * 32, "TRUSTED_PROXIES": trusted})
    )


@pytest.mark.parametrize(
    ("peer", "forwarded", "address"),
    [
        ("203.0.113.9", "", "203.0.113.9"),
        # From anybody but a router it is hearsay, whatever network he is in.
        ("8.8.8.8", PUBLIC, "8.8.8.8"),
        ("10.2.0.1", PUBLIC, "10.2.0.1"),
        ("192.168.1.1", PUBLIC, "192.168.1.1"),
        ("10.1.0.1", "8.8.8.8", "8.8.8.8"),
        ("::ffff:10.1.0.1", PUBLIC, PUBLIC),
        # What came first a client may have made up.
        ("10.1.0.1", f"1.1.1.1, {PUBLIC}", PUBLIC),
        ("127.0.0.1", "", "127.0.0.1"),
        ("127.0.0.1", "<script>", "127.0.0.1"),
        ("", PUBLIC, "unknown"),
        ("fd00::1", "2001:db8:1:2::3", "2001:db8:1:2::3"),
        # As it is written once and for all; a scope could be any text of any length.
        ("fd00::1", "2001:0DB8:0:0::3", "2001:db8::3"),
        ("fd00::1", "::ffff:198.51.100.7", PUBLIC),
        ("127.0.0.1", "fe80::1%<script>", "127.0.0.1"),
        ("127.0.0.1", "fe80::1%" + "x" * 1000, "127.0.0.1"),
        ("fe80::1%eth0", PUBLIC, "fe80::1"),
        # With the client's port, as some routers send it, and as IPv6 then is written.
        ("127.0.0.1", f"{PUBLIC}:50001", PUBLIC),
        ("127.0.0.1", f"1.1.1.1:1, {PUBLIC}:50001", PUBLIC),
        ("127.0.0.1", "[2001:db8:1:2::3]:443", "2001:db8:1:2::3"),
        ("127.0.0.1", "[2001:db8:1:2::3]", "2001:db8:1:2::3"),
        ("127.0.0.1", f"[::ffff:{PUBLIC}]:443", PUBLIC),
        ("::ffff:127.0.0.1", f"{PUBLIC}:50001", PUBLIC),
        # Nothing else becomes a client's address.
        ("127.0.0.1", f"{PUBLIC}:", "127.0.0.1"),
        ("127.0.0.1", f"{PUBLIC}:http", "127.0.0.1"),
        ("127.0.0.1", f"{PUBLIC}:1:2", "127.0.0.1"),
        ("127.0.0.1", "[203.0.113.7:1", "127.0.0.1"),
        ("127.0.0.1", "[fe80::1%eth0]:443", "127.0.0.1"),
        ("127.0.0.1", "[]:443", "127.0.0.1"),
        ("127.0.0.1", "unknown", "127.0.0.1"),
        ("127.0.0.1", f'"{PUBLIC}"', "127.0.0.1"),
        ("127.0.0.1", f"for={PUBLIC}", "127.0.0.1"),
    ],
)
def test_the_client_is_who_the_nearest_router_saw(
    clients: transport.Clients, peer: str, forwarded: str, address: str
) -> None:
    assert clients.address(a_request(peer, X_Forwarded_For=forwarded)) == address


def test_the_header_forwarded_is_not_read(clients: transport.Clients) -> None:
    asked = a_request("127.0.0.1", Forwarded=f"for={PUBLIC}")

    assert clients.address(asked) == "127.0.0.1"


def test_a_router_that_sends_the_header_twice_said_the_last(clients: transport.Clients) -> None:
    asked = a_request("127.0.0.1")
    asked.scope["headers"] = [
        (b"x-forwarded-for", b"1.1.1.1:5"),
        (b"x-forwarded-for", b"8.8.8.8:6"),
    ]
    asked = falcon.asgi.Request(asked.scope, testing.ASGIRequestEventEmitter())

    assert clients.address(asked) == "8.8.8.8"


def test_a_house_counts_once(clients: transport.Clients) -> None:
    seen = {
        clients.network(a_request("10.1.0.1", X_Forwarded_For=f"2001:db8:1:2::{n}"))
        for n in range(1, 5)
    }
    assert seen == {"2001:db8:1:2::/64"}
    assert clients.network(a_request("198.51.100.7")) == "198.51.100.7"
    assert clients.network(a_request("")) == "unknown"


@pytest.mark.parametrize(
    ("header", "token"),
    [("Bearer hf_x", "hf_x"), ("bearer  hf_x ", "hf_x"), ("Bearer", ""), ("Basic aGk6aG8=", None),
     ("", None), ("hf_x", None)],
)  # fmt: skip
def test_only_a_bearer_key_counts_as_one(header: str, token: str | None) -> None:
    assert transport.bearer(a_request(Authorization=header)) == token


@pytest.mark.parametrize(
    ("headers", "why"),
    [
        ({"Sec_Fetch_Site": "same-origin"}, ""),
        ({"Sec_Fetch_Site": "same-site"}, "Its Sec-Fetch-Site header is “same-site”."),
        ({"Sec_Fetch_Site": "cross-site", "Origin": "https://shop.example"}, "“cross-site”"),
        ({"Origin": "https://shop.example"}, ""),
        ({"Origin": "https://shop.example:443"}, ""),
        ({"Origin": "HTTPS://Shop.example"}, ""),
        ({"Origin": "https://shop.example:8443"}, "Host header “shop.example”"),
        ({"Origin": "https://evil.example"}, "Origin header is “https://evil.example”"),
        ({"Origin": "https://me@shop.example"}, "different sites"),
        ({"Origin": "null"}, "Origin header is “null”"),
        ({"Origin": "https://["}, "Origin header is “https://[”"),
        ({"Origin": "https://shop.example:x"}, "different sites"),
        ({}, "no Sec-Fetch-Site or Origin header"),
    ],
)
def test_only_our_own_pages_count_as_ours(headers: dict[str, str], why: str) -> None:
    said = transport.why_foreign(a_request(Host="shop.example", **headers))

    assert why in said if why else said == ""


@pytest.mark.parametrize(
    ("host", "origin", "ours"),
    [
        ("shop.example:443", "https://shop.example", True),
        ("shop.example:80", "http://shop.example", True),
        ("shop.example:8443", "https://shop.example:8443", True),
        ("[::1]:8000", "http://[::1]:8000", True),
        ("shop.example:80", "https://shop.example", False),
        ("shop.example:443", "http://shop.example", False),
        ("shop.example:8443", "https://shop.example", False),
        ("shop.example/x", "https://shop.example", False),
        ("me@shop.example", "https://shop.example", False),
        ("[", "https://shop.example", False),
        ("", "https://shop.example", False),
    ],
)
def test_a_proxy_may_write_the_usual_port_into_host(host: str, origin: str, ours: bool) -> None:
    said = transport.why_foreign(a_request(Host=host, Origin=origin))

    assert (said == "") is ours
    assert ours or ("Origin" in said and "Host" in said)


@pytest.mark.parametrize(
    ("host", "loopback", "port"),
    [
        ("localhost:8000", True, 8000), ("127.0.0.1", True, None), ("[::1]:8000", True, 8000),
        ("shop.example", False, None), ("127.0.0.1.evil.example:80", False, 80),
        ("@localhost", False, None), ("[", False, None), ("localhost:x", True, None),
    ],
)  # fmt: skip
def test_loopback_is_what_the_browser_spoke_to(host: str, loopback: bool, port: int | None) -> None:
    req = a_request(Host=host)

    assert (transport.is_loopback(req), transport.port(req)) == (loopback, port)


@pytest.mark.parametrize(
    ("proto", "encrypted"),
    [("https", True), ("http, https", True), ("https, http", False), ("", False), ("HTTPS", True)],
)
def test_tls_is_what_the_nearest_router_saw(proto: str, encrypted: bool) -> None:
    assert transport.is_encrypted(a_request(X_Forwarded_Proto=proto)) is encrypted
