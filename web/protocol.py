"""HTTP/1.1 by uvicorn and llhttp, with the bounds that they leave to others."""

import asyncio
from typing import Any, Final

import msgspec
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn_worker import UvicornWorker

from config import settings

#: Request line and headers together.
HEAD_BYTES_MAX: Final = 32 * 1024
HEADERS_MAX: Final = 100
#: For a body to come in.
BODY_TIMEOUT_S: Final = 30.0
#: Requests that a client may send ahead on one connection.
PIPELINED_MAX: Final = 16
#: A whole message: the largest body there is, and room for the way chunks are written.
MESSAGE_BYTES_MAX: Final = 6 * 1024 * 1024


class BoundedProtocol(HttpToolsProtocol):
    """Refuses a head that is too large, one that does not come, and too many connections."""

    _message_bytes = 0
    _head_bytes = 0
    _head_done = False
    # Runs while a request is on its way in: for its head, then for its body.
    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        if len(self.connections) > settings().connections_max:
            self._refuse(503, "unavailable", "Too many connections; try again.")
            return
        self._start_timer(settings().header_timeout_s)

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._message_bytes += len(data)
        if not self._head_done:
            self._head_bytes += len(data)
        if self._message_bytes > MESSAGE_BYTES_MAX:
            self._refuse(413, "too-large", "The request is larger than any may be.")
            return
        super().data_received(data)
        if not self._message_bytes:
            return
        # It comes in parts: its head has to be small, and all of it here in time.
        if not self._head_done and self._head_bytes > HEAD_BYTES_MAX:
            self._refuse_head()
        elif self._timer is None:
            self._start_timer(BODY_TIMEOUT_S if self._head_done else settings().header_timeout_s)

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._head_done:  # trailers, behind a body, are nobody's business
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._head_done = True
        self._stop_timer()
        if len(self.pipeline) >= PIPELINED_MAX:
            self._refuse(400, "bad-request", "Too many requests at once on one connection.")
            return
        # The bytes counted may contain a body, too: only then is it worth a closer look.
        too_long = self._head_bytes > HEAD_BYTES_MAX and self._head_size() > HEAD_BYTES_MAX
        if too_long or len(self.headers) > HEADERS_MAX:
            self._refuse_head()
            return
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._stop_timer()
        self._head_done = False
        self._head_bytes = 0
        self._message_bytes = 0

    def _start_timer(self, seconds: float) -> None:
        self._timer = self.loop.call_later(seconds, self._on_slow_request)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _on_slow_request(self) -> None:
        self._refuse(408, "request-timeout", "The request did not come in time.")

    def send_400_response(self, msg: str) -> None:
        """What uvicorn answers to bytes that are no HTTP, as a problem like any other."""
        self._refuse(400, "bad-request", msg)

    def _head_size(self) -> int:
        return len(self.url) + sum(len(name) + len(value) for name, value in self.headers)

    def _refuse_head(self) -> None:
        self._refuse(
            431, "headers-too-large",
            f"Request line and headers may have {HEAD_BYTES_MAX // 1024} KiB and {HEADERS_MAX} "
            "headers.",
        )  # fmt: skip

    def _refuse(self, status: int, slug: str, detail: str) -> None:
        if self.transport.is_closing():
            return
        for cycle in (self.cycle, *(waiting for waiting, _ in self.pipeline)):
            if cycle is not None:
                cycle.disconnected = True  # who is being answered need not try any more
        body = msgspec.json.encode(
            {"type": f"/problems/{slug}", "title": detail, "status": status, "detail": detail}
        )
        self.transport.write(
            f"HTTP/1.1 {status} Refused\r\nContent-Type: application/problem+json\r\n"
            f"Content-Length: {len(body)}\r\nRetry-After: 1\r\nConnection: close\r\n\r\n".encode()
            + body
        )
        self.transport.close()


class WebWorker(UvicornWorker):
    """The gunicorn worker class of the front door."""

    CONFIG_KWARGS = {  # noqa: RUF012 - uvicorn-worker's own way to set it
        "loop": "uvloop",
        "http": BoundedProtocol,
        "ws": "none",
        "lifespan": "on",
        # Short of gunicorn's own, so that what is on its way to RabbitMQ is confirmed.
        "timeout_graceful_shutdown": 8,
        "access_log": False,
        "server_header": False,
        "proxy_headers": False,
    }
