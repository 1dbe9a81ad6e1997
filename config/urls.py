"""Checks the URLs of servers: readers split what is not percent-encoded in different places.

A password with a raw `@` makes its second half a host name, which logs show. So a URL is refused
before anything cuts it, and no message has any of it.
"""

import re
from typing import Final

ENCODING: Final = (
    "in its user name and password, percent-encode everything but letters, digits and "
    "-._~: @ as %40, / as %2F, ? as %3F, # as %23, % as %25"
)
_OCTET: Final = "%[0-9A-Fa-f]{2}"
_USER: Final = rf"(?:[^\s:/@?#\[\]%]|{_OCTET})*"
#: The first `:` ends the user name; any other belongs to the password (RFC 3986).
_PASSWORD: Final = rf"(?:[^\s/@?#\[\]%]|{_OCTET})*"
_HOST: Final = rf"(?:\[[0-9A-Fa-f:.]+\]|(?:[^\s:/@?#\[\]%,]|{_OCTET})*)(?::\d*)?"
_URL: Final = re.compile(
    rf"[a-z][a-z0-9+]*://(?:{_USER}(?::{_PASSWORD})?@)?"
    rf"(?P<hosts>{_HOST}(?:,{_HOST})*)(?:[/?](?:[^@#%]|{_OCTET})*)?"
)
PORT_MAX: Final = 65_535


def check_url(url: str, schemes: tuple[str, ...], form: str) -> None:
    """Make sure that every reader cuts a URL in the same places.

    schemes: those that it may have. form: how to write it. Raises ValueError with nothing of the
    URL in its message.
    """
    if url.partition("://")[0] not in schemes or "://" not in url:
        raise ValueError(f"it must be {form}")
    match = _URL.fullmatch(url)
    ports = re.findall(r":(\d+)(?=,|$)", match["hosts"]) if match else []
    if match is None or any(not 0 < int(port) <= PORT_MAX for port in ports):
        raise ValueError(f"it must be {form}; {ENCODING}")
