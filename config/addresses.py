"""Where a process listens: one form of an address everywhere, and why one can't be listened on."""

import errno
import re
import socket
from ipaddress import IPv6Address, ip_address
from typing import Final

from config.errors import SettingsError

_NAME: Final = re.compile(r"(?=.*[A-Za-z])[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,252}[A-Za-z0-9_.])?")


def plain_host(text: str) -> str:
    """An address or host name, IPv6 without brackets. Raises ValueError for anything else."""
    inner = text[1:-1] if text.startswith("[") and text.endswith("]") else ""
    try:
        address = ip_address(inner or text)
    except ValueError:
        address = None
    if address is None and _NAME.fullmatch(text):
        return text
    if address is None or (inner and not isinstance(address, IPv6Address)):
        raise ValueError("it must be an IPv4 or IPv6 address, or a host name, without a port")
    return str(address)


def in_url(host: str) -> str:
    """The host as URLs and `host:port` have it: IPv6 in brackets."""
    return f"[{host}]" if ":" in host else host


def reachable(host: str) -> str:
    """Where this machine reaches what listens on `host`: everywhere includes the loopback."""
    try:
        address = ip_address(host)
    except ValueError:
        return host
    if not address.is_unspecified:
        return host
    return "::1" if isinstance(address, IPv6Address) else "127.0.0.1"


def address_to_listen_on(host: str, port: int) -> tuple[socket.AddressFamily, str]:
    """The first of the host's addresses that this machine has, IPv4 first; the port may be taken.

    Raises OSError.
    """
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    found.sort(key=lambda one: one[0] != socket.AF_INET)
    problem = OSError(errno.EADDRNOTAVAIL, "Cannot assign requested address")
    for family, _, _, _, address in found:
        refused = _bind(family, address)
        if refused is None or refused.errno == errno.EADDRINUSE:
            return family, str(address[0])
        problem = refused
    raise problem


def problem_of_listening(host: str, port: int) -> OSError | None:
    """Why nothing more can listen there, EADDRINUSE if something does already; None if it can."""
    try:
        family, address = address_to_listen_on(host, port)
    except OSError as error:
        return error
    return _bind(family, (address, port))


def check_can_listen(host: str, port: int, *, host_name: str, port_name: str) -> str:
    """The address to listen on; that the port is taken may pass. Raises SettingsError."""
    try:
        return address_to_listen_on(host, port)[1]
    except OSError as error:
        raise SettingsError(
            explanation(error, host, port, host_name=host_name, port_name=port_name)
        ) from None


def explanation(error: OSError, host: str, port: int, *, host_name: str, port_name: str) -> str:
    """Why it can't listen, by the names of the settings."""
    if error.errno == errno.EACCES:
        return (
            f"{port_name} is {port}, and this user may not listen there: {error.strerror}. "
            "Choose a port from 1024."
        )
    return (
        f"{host_name} is {host!r}, and this machine can't listen there: {error.strerror}. It "
        "must be an address of this machine or a name of one; 0.0.0.0 is all IPv4 addresses, :: "
        "all IPv4 and IPv6 addresses."
    )


def _bind(family: int, address: tuple[object, ...]) -> OSError | None:
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        # As servers do, or a connection in TIME_WAIT would count as taken.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
            probe.listen()
        except OSError as error:
            return error
    return None
