"""What llhttp lets pass although a gateway in front might read it in another way.

Where two readers differ about a request's host or its end, one of them can be made to see a request
that the other does not; where they differ about a header that is there twice, another key. None of
it is what a client sends that means well.
"""

import re
from typing import Final

Headers = list[tuple[bytes, bytes]]

_HOST: Final = re.compile(rb"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._~!$&'()*+,;=%-]*)(:[0-9]{0,5})?")
_ABSOLUTE: Final = re.compile(rb"[a-z][a-z0-9+.-]*://([^/?#]*)", re.IGNORECASE)


#: Of these a second one would contradict the first; whatever else we read is a list.
_ONCE: Final = {
    name.lower().encode(): name
    for name in (
        "Authorization", "Content-Length", "Content-Type", "Host", "Idempotency-Key",
        "If-Modified-Since", "If-Unmodified-Since", "Origin", "Sec-Fetch-Site", "X-CSRF-Token",
    )
}  # fmt: skip


def fault(version: str, target: bytes, headers: Headers, *, upgrade: bool) -> str:
    """What is wrong with a head, '' for nothing. headers: with their names in lower case;
    upgrade: whether it asks for another protocol."""
    if version not in ("1.0", "1.1"):
        return "Only HTTP/1.0 and HTTP/1.1 are supported."
    return _host_fault(version, target, headers) or _body_fault(version, headers, upgrade)


def _host_fault(version: str, target: bytes, headers: Headers) -> str:
    hosts = [value.strip() for name, value in headers if name == b"host"]
    if len(hosts) > 1 or (not hosts and version == "1.1"):
        return "Host must appear exactly once."
    if hosts and not _HOST.fullmatch(hosts[0]):
        return "Host must be a name or an address, optionally with a port."
    absolute = _ABSOLUTE.match(target)
    if absolute and [absolute[1].lower()] != [host.lower() for host in hosts]:
        return "The host in the address must be the one in Host."
    return ""


def _body_fault(version: str, headers: Headers, upgrade: bool) -> str:
    codings = [value.strip().lower() for name, value in headers if name == b"transfer-encoding"]
    if codings and (version == "1.0" or codings != [b"chunked"]):
        return "The only supported Transfer-Encoding is chunked, in HTTP/1.1."
    # The parser takes what follows for the other protocol.
    if upgrade and (codings or any(name == b"content-length" for name, _ in headers)):
        return "Upgrade is not supported: send the body without it."
    return ""


def repeated(headers: Headers) -> str:
    """What is there more than once although it may not be, '' for nothing."""
    names = [name for name, _ in headers]
    for name, shown in _ONCE.items():
        if names.count(name) > 1:
            return f"{shown} must appear exactly once, not {names.count(name)} times."
    return ""
