"""What llhttp lets pass although a gateway in front might read it in another way.

Where two readers differ about a request's host or its end, one of them can be made to see a request
that the other does not. None of it is what a client sends that means well.
"""

import re
from typing import Final

Headers = list[tuple[bytes, bytes]]

_HOST: Final = re.compile(rb"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._~!$&'()*+,;=%-]*)(:[0-9]{0,5})?")
_ABSOLUTE: Final = re.compile(rb"[a-z][a-z0-9+.-]*://([^/?#]*)", re.IGNORECASE)


def fault(version: str, target: bytes, headers: Headers, *, upgrade: bool) -> str:
    """What is wrong with a head, '' for nothing. headers: with their names in lower case;
    upgrade: whether it asks for another protocol."""
    if version not in ("1.0", "1.1"):
        return "HTTP/1.1 is spoken here."
    return _host_fault(version, target, headers) or _body_fault(version, headers, upgrade)


def _host_fault(version: str, target: bytes, headers: Headers) -> str:
    hosts = [value.strip() for name, value in headers if name == b"host"]
    if len(hosts) > 1 or (not hosts and version == "1.1"):
        return "A request has one Host."
    if hosts and not _HOST.fullmatch(hosts[0]):
        return "Host: a name or an address, and a port if need be."
    absolute = _ABSOLUTE.match(target)
    if absolute and [absolute[1].lower()] != [host.lower() for host in hosts]:
        return "An address that names a host names the one of Host."
    return ""


def _body_fault(version: str, headers: Headers, upgrade: bool) -> str:
    codings = [value.strip().lower() for name, value in headers if name == b"transfer-encoding"]
    if codings and (version == "1.0" or codings != [b"chunked"]):
        return "Transfer-Encoding: chunked, in HTTP/1.1, and no other."
    # The parser takes what follows for the other protocol.
    if upgrade and (codings or any(name == b"content-length" for name, _ in headers)):
        return "There is nothing to upgrade to: send a body without Upgrade."
    return ""
