"""Bytes as they are, to the front door's port, and what comes back."""

import re
import socket
from typing import NamedTuple

from tests.conftest import API_KEY, System

AUTH = f"Authorization: Bearer {API_KEY}\r\n".encode()
#: Answered 200 where the connection still takes requests; the connection ends with it.
LAST = b"GET /livez HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"


class Heard(NamedTuple):
    """All that came until the server closed. statuses: of the answers in turn, but for 100."""

    statuses: list[int]
    text: bytes


def connect(system: System, timeout: float = 60) -> socket.socket:
    return socket.create_connection(("127.0.0.1", system.port), timeout=timeout)


def say(system: System, *parts: bytes) -> Heard:
    """Send bytes and listen until the server closes. Raises TimeoutError where it does not."""
    with connect(system) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            for part in parts:
                connection.sendall(part)
        except (BrokenPipeError, ConnectionResetError):
            pass  # it has heard enough
        return hear(connection)


def hear(connection: socket.socket) -> Heard:
    """What comes until the server closes."""
    text = b""
    try:
        while part := connection.recv(65_536):
            text += part
    except ConnectionResetError:
        pass
    found = re.findall(rb"HTTP/1\.1 ([2-5]\d\d) ", text)
    return Heard([int(status) for status in found], text)


def request(target: str, *headers: bytes, method: str = "POST", body: bytes = b"") -> bytes:
    """A request with the key; headers: whole lines, those of the body among them."""
    head = f"{method} {target} HTTP/1.1\r\nHost: h\r\n".encode() + AUTH
    return head + b"".join(line + b"\r\n" for line in headers) + b"\r\n" + body
