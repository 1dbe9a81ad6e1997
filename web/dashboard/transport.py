"""Where a request came from, and whether on the way nobody else could read it."""

import ipaddress
import re
from typing import Any, Final
from urllib.parse import SplitResult, urlsplit

from config import Settings, networks

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
LOOPBACK_NAMES: Final = ("localhost", "127.0.0.1", "::1")
#: Ports that browsers leave out of an Origin; some proxies write them into Host.
DEFAULT_PORTS: Final = {"http": 80, "https": 443}
#: Some routers add the client's port: `203.0.113.7:50001`, `[2001:db8::7]:443`.
_WITH_PORT: Final = re.compile(r"(?:\[(?P<v6>[^\]]*)\]|(?P<v4>[0-9.]+))(?::[0-9]{1,5})?")


def is_encrypted(req: Any) -> bool:
    """Whether the browser spoke TLS, to us or to the router in front.

    X-Forwarded-Proto is believed from anybody: all it decides is how a browser keeps its own
    cookie, so that who makes it up locks out nobody but himself.
    """
    said = (req.get_header("X-Forwarded-Proto") or "").rpartition(",")[2].strip().lower()
    return req.scheme == "https" or said == "https"


def is_loopback(req: Any) -> bool:
    """Whether the browser spoke to its own machine: nothing went over a network."""
    host = _split("//" + (req.get_header("Host") or ""))
    return host.username is None and host.hostname in LOOPBACK_NAMES


def port(req: Any) -> int | None:
    """The port that the browser spoke to, None for the usual one."""
    try:
        return _split("//" + (req.get_header("Host") or "")).port
    except ValueError:
        return None


def why_foreign(req: Any) -> str:
    """Why a request may have been sent by a page of another site; empty for a page of ours.

    Sec-Fetch-Site says it or, in older browsers, an Origin that is the site in Host.
    """
    site = req.get_header("Sec-Fetch-Site")
    if site is not None:
        return "" if site == "same-origin" else f"Its Sec-Fetch-Site header is “{site[:40]}”."
    origin, host = req.get_header("Origin") or "", req.get_header("Host") or ""
    if not origin:
        return "It has no Sec-Fetch-Site or Origin header, which browsers send."
    if _is_at(origin, host):
        return ""
    return (
        f"Its Origin header is “{origin[:200]}” and its Host header “{host[:200]}”: they are "
        "different sites. A proxy in front must pass Host on as the browser sent it."
    )


def _is_at(origin: str, host: str) -> bool:
    """Whether an origin is of the host and port that a Host header names."""
    asked = _split(origin)
    usual = DEFAULT_PORTS.get(asked.scheme)
    if usual is None:
        return False
    try:
        here = _split(f"//{host}")
        same_port = (asked.port or usual) == (here.port or usual)
    except ValueError:
        return False
    plain = asked.username is None and here.username is None and not here.path
    return plain and bool(asked.hostname) and asked.hostname == here.hostname and same_port


def _split(address: str) -> SplitResult:
    try:
        return urlsplit(address)
    except ValueError:
        return urlsplit("")


class Clients:
    """Tells who asks, by the networks of the routers in front."""

    def __init__(self, given: Settings) -> None:
        self._routers = networks(given.trusted_proxies)

    def address(self, req: Any) -> str:
        """The client's IP address.

        What a router added last to X-Forwarded-For is its client; from any other peer the header
        is hearsay.
        """
        found = self._address(req)
        return "unknown" if found is None else str(found)

    def network(self, req: Any) -> str:
        """What counts as one client for limits: an IPv4 address or, as a house has one, a /64."""
        found = self._address(req)
        if isinstance(found, ipaddress.IPv6Address):
            return str(ipaddress.ip_network((found, 64), strict=False))
        return "unknown" if found is None else str(found)

    def _address(self, req: Any) -> Address | None:
        # The scope of a neighbour's address is the name of our own interface.
        said_by, _ = req.scope.get("client") or ("", 0)
        peer = _address(said_by.partition("%")[0])
        if peer is None or not any(peer in network for network in self._routers):
            return peer
        said = (req.get_header("X-Forwarded-For") or "").rpartition(",")[2].strip()
        return _forwarded(said) or peer


def _forwarded(text: str) -> Address | None:
    """What a router says of its client, whose port is of no interest."""
    match = _WITH_PORT.fullmatch(text)
    return _address((match["v6"] or match["v4"] or "") if match else text)


def _address(text: str) -> Address | None:
    """An address without a scope, which could be any text; IPv4 in IPv6 is IPv4."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv4Address):
        return address
    return None if address.scope_id is not None else address.ipv4_mapped or address


def bearer(req: Any) -> str | None:
    """The bearer token that a request carries, None where it carries none.

    Other schemes are not for us: a proxy in front may ask for a password of its own.
    """
    scheme, _, token = (req.get_header("Authorization") or "").strip().partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None
