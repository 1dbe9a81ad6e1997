"""HTTP/1.1 by uvicorn and llhttp, with the bounds that they leave to others."""

import asyncio
from http import HTTPStatus
from typing import Any, Final
from uuid import uuid4

import msgspec
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn_worker import UvicornWorker

from config import settings
from web.expectation import LateContinue
from web.framing import fault, repeated
from web.metrics import figures

#: Request line and headers together.
HEAD_BYTES_MAX: Final = 32 * 1024
HEADERS_MAX: Final = 100
#: For a client to take what is ready for it; one that takes nothing holds its place no longer.
TAKE_TIMEOUT_S: Final = 30.0
#: Requests that a client may send ahead on one connection.
PIPELINED_MAX: Final = 16
#: A whole message: the largest body there is, and room for the way chunks are written.
MESSAGE_BYTES_MAX: Final = 6 * 1024 * 1024

#: By status, the type of a problem and its title.
_PROBLEMS: Final = {
    400: ("bad-request", "Bad request"),
    408: ("request-timeout", "Request timed out"),
    413: ("too-large", "Too large"),
    431: ("headers-too-large", "Headers too large"),
    503: ("unavailable", "It can't be taken now"),
}
#: The same request may be taken later: it was not the request that was wrong.
_AGAIN: Final = (408, 503)


class RefusedError(Exception):
    """Raised through the parser, which then looks at nothing more of the connection."""


class BoundedProtocol(HttpToolsProtocol):
    """Refuses a head that is too large, one that does not come, one that two readers could read in
    two ways, and too many connections; gives up a client that takes nothing of its answer."""

    _message_bytes = 0
    _head_bytes = 0
    _head_done = False
    # What comes in belongs to the request of self.cycle.
    _body_due = False
    # Refused: whatever else comes in is nothing.
    _ended = False
    # Runs while a request is on its way in: for its head, then for its body.
    _timer: asyncio.TimerHandle | None = None
    # Runs while more is ready than the client takes.
    _taking: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        if len(self.connections) > settings().connections_max:
            self._refuse(503, "Too many connections; try again.")
            return
        self._start_timer(settings().header_timeout_s)

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        self._stop_taking()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._stop_taking()
        self._taking = self.loop.call_later(TAKE_TIMEOUT_S, self.transport.abort)

    def resume_writing(self) -> None:
        self._stop_taking()
        super().resume_writing()

    def _stop_taking(self) -> None:
        if self._taking is not None:
            self._taking.cancel()
            self._taking = None

    def data_received(self, data: bytes) -> None:
        if self._ended:
            return
        self._message_bytes += len(data)
        if not self._head_done:
            self._head_bytes += len(data)
        if self._message_bytes > MESSAGE_BYTES_MAX:
            self._refuse(413, "The request is larger than any may be.")
            return
        super().data_received(data)
        if self._ended or not self._message_bytes:
            return
        # It comes in parts: its head has to be small, and all of it here in time.
        if not self._head_done and self._head_bytes > HEAD_BYTES_MAX:
            self._refuse_head()
        elif self._timer is None:
            given = settings()
            self._start_timer(given.body_timeout_s if self._head_done else given.header_timeout_s)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        # What came along with the end of the request before it is not counted; that it is there is.
        self._message_bytes = self._message_bytes or 1

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._head_done:  # trailers, behind a body, are nobody's business
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._head_done = True
        self._stop_timer()
        by_name = dict(self.headers)
        self._check_head(by_name)
        if self._ended:
            raise RefusedError
        if b"expect" in by_name:
            self._expect()
        else:
            super().on_headers_complete()
        self._body_due = True
        if self.parser.should_upgrade():  # the parser reads nothing that follows
            self.cycle.keep_alive = False

    def _expect(self) -> None:
        """Begin with a request whose client waits to hear; of 100 Continue not in HTTP/1.0."""
        self.expect_100_continue &= self.parser.get_http_version() == "1.1"
        app = self.app
        late = LateContinue(app)
        self.app = late
        super().on_headers_complete()
        self.app = app
        late.cycle = self.cycle

    def _check_head(self, by_name: dict[bytes, bytes]) -> None:
        # The bytes counted may contain a body, too: only then is it worth a closer look.
        too_long = self._head_bytes > HEAD_BYTES_MAX and self._head_size() > HEAD_BYTES_MAX
        if len(self.pipeline) >= PIPELINED_MAX:
            self._refuse(400, "Too many requests at once on one connection.")
        elif too_long or len(self.headers) > HEADERS_MAX:
            self._refuse_head()
        elif wrong := self._fault(by_name):
            self._refuse(400, wrong)

    def _fault(self, by_name: dict[bytes, bytes]) -> str:
        version, upgrade = self.parser.get_http_version(), self.parser.should_upgrade()
        wrong = fault(version, self.url, self.headers, upgrade=upgrade)
        if not wrong and len(by_name) < len(self.headers):
            wrong = repeated(self.headers)
        return wrong

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._stop_timer()
        self._head_done = False
        self._body_due = False
        self._head_bytes = 0
        self._message_bytes = 0

    def _start_timer(self, seconds: float) -> None:
        self._timer = self.loop.call_later(seconds, self._on_slow_request)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _on_slow_request(self) -> None:
        if self.pipeline:  # it is not its turn, so nothing of it is read
            self._start_timer(settings().body_timeout_s)
            return
        self._refuse(408, "The request did not come in time.")

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - uvicorn's words
        """Answer bytes that are no HTTP with a problem like any other."""
        self._refuse(400, "The request is not valid HTTP/1.1 (RFC 9112).")

    def _head_size(self) -> int:
        return len(self.url) + sum(len(name) + len(value) for name, value in self.headers)

    def _refuse_head(self) -> None:
        self._refuse(
            431,
            f"Request line and headers may have {HEAD_BYTES_MAX // 1024} KiB and {HEADERS_MAX} "
            "headers.",
        )  # fmt: skip

    def _refuse(self, status: int, detail: str) -> None:
        """End the connection: with an answer, where no other one is due before it."""
        if self._ended or self.transport.is_closing():
            return
        self._ended = True
        self._stop_timer()
        figures.refused[status] += 1
        if self._is_next():
            self._answer(status, detail)

    def _is_next(self) -> bool:
        """Whether the client takes what is written now for the answer to what is refused.

        It must not be taken for the answer to an earlier request, which may have an effect: where
        one is still due, the connection ends with that.
        """
        if self.cycle is None or (self.cycle.response_complete and not self._body_due):
            return True
        if not self._body_due:
            self.cycle.keep_alive = False
            return False
        self.cycle.disconnected = True  # who is answering it need not try any more
        if self.pipeline:
            self.pipeline[0] = (self.cycle, self._close)
        elif self.cycle.response_started:
            self.transport.close()
        return not self.pipeline and not self.cycle.response_started

    async def _close(self, *_: object) -> None:
        """In a waiting request's place: once it is its turn, there is nothing to say."""
        self.transport.close()

    def _answer(self, status: int, detail: str) -> None:
        # Nothing of a request is certain yet, not even a trace that it may name.
        trace_id = uuid4().hex
        slug, title = _PROBLEMS[status]
        problem = {"type": f"/problems/{slug}", "title": title, "status": status, "detail": detail}
        body = msgspec.json.encode({**problem, "trace_id": trace_id})
        again = "Retry-After: 1\r\n" if status in _AGAIN else ""
        self.transport.write(
            f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\n"
            f"Content-Type: application/problem+json\r\nContent-Length: {len(body)}\r\n{again}"
            f"Trace-Id: {trace_id}\r\nConnection: close\r\n\r\n".encode()
            + body
        )
        self.transport.close()


class WebWorker(UvicornWorker):
    """The gunicorn worker class of the front door."""

    CONFIG_KWARGS = {  # noqa: RUF012 - uvicorn-worker's own way to set it
        "loop": "uvloop",
        "http": BoundedProtocol,
        # By default uvicorn asks whether App.__call__ is a coroutine function, which it is not.
        "interface": "asgi3",
        "ws": "none",
        "lifespan": "on",
        # Short of gunicorn's own, so that what is on its way to RabbitMQ is confirmed.
        "timeout_graceful_shutdown": 8,
        "access_log": False,
        "server_header": False,
        "proxy_headers": False,
    }
