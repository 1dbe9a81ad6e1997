"""A proxy that holds every answer back until it is whole, as some on the way to a browser do.

nginx would not do: it passes on what comes in chunks as it comes, even with `proxy_buffering on`.
"""

import contextlib
import socket
import threading
from collections.abc import Iterator
from http.client import HTTPConnection, HTTPException
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

NOT_PASSED_ON = {"connection", "transfer-encoding", "content-length", "keep-alive"}


class Handler(BaseHTTPRequestHandler):
    """Passes a request on, and its answer when that has ended."""

    upstream: int
    opened: list[HTTPConnection]

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        connection = HTTPConnection("127.0.0.1", self.upstream)
        self.opened.append(connection)
        with contextlib.closing(connection):
            try:
                connection.request(self.command, self.path, body, dict(self.headers))
                answer = connection.getresponse()
                whole = answer.read()
            except (OSError, HTTPException):
                # The proxy was closed.
                return
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in NOT_PASSED_ON:
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(whole)))
        self.end_headers()
        with contextlib.suppress(OSError):
            self.wfile.write(whole)

    do_POST = do_GET

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@contextlib.contextmanager
def buffering_proxy(upstream: int) -> Iterator[str]:
    """The address of a proxy before a port of this machine."""
    opened: list[HTTPConnection] = []
    handler = type("Upstream", (Handler,), {"upstream": upstream, "opened": opened})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = False
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        for connection in opened:
            # What it still waits for, it waits for no longer.
            with contextlib.suppress(OSError):
                if connection.sock is not None:
                    connection.sock.shutdown(socket.SHUT_RDWR)
        # Waits for its threads.
        server.server_close()
