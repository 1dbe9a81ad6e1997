"""`Expect: 100-continue` (RFC 9110, 10.1.1): a body is asked for once something reads it.

Falcon waits for a first part of a request before it looks at any of it, which by itself would ask
for the body. A client that is told 401 or 413 instead need not send one.
"""

from collections.abc import Awaitable, Callable
from typing import Any, Final

Event = dict[str, Any]
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]

_NOTHING_YET: Final[Event] = {"type": "http.request", "body": b"", "more_body": True}


class LateContinue:
    """An ASGI application, for a request whose client waits to hear before it sends a body."""

    def __init__(self, app: Any) -> None:
        self._app = app
        # uvicorn's, which has what came of the body; set before anything of this runs.
        self.cycle: Any = None

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        if self.cycle.body or not self.cycle.more_body:  # it did not wait
            await self._app(scope, receive, send)
            return
        calls = 0

        async def received() -> Any:
            nonlocal calls
            calls += 1
            return _NOTHING_YET if calls == 1 else await receive()

        async def sent(event: Event) -> None:
            # Nobody can tell whether a body still comes that was never asked for.
            if event["type"] == "http.response.start" and calls < 2:
                event["headers"] = [*event["headers"], (b"connection", b"close")]
            await send(event)

        await self._app(scope, received, sent)
