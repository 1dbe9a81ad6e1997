"""A TCP proxy that breaks connections on purpose: one between two parts, its mode changed at will.

Written here because the registries have no maintained one that runs without a download of its own
and can drop the reply to one statement.
"""

import asyncio
import contextlib
import socket
import threading
from collections.abc import Callable
from concurrent.futures import Future
from enum import Enum
from typing import Final, TypeVar

from tests.torture import amqp

R = TypeVar("R")

CHUNK_BYTES: Final = 65_536
DRIP_BYTES: Final = 256
DRIP_PAUSE_S: Final = 0.02
SLOW_PAUSE_S: Final = 0.1
#: How psycopg2 sends it: a simple query.
COMMIT: Final = b"COMMIT\x00"


class Mode(Enum):
    """What becomes of the bytes. up: from the client to the server."""

    PASS = "pass"
    CUT = "cut"
    BLACKHOLE = "blackhole"
    LOSE_UP = "lose-up"
    LOSE_DOWN = "lose-down"
    DRIP = "drip"
    SLOW = "slow"
    # Nothing passes for now; all of it does later.
    FREEZE = "freeze"
    DROP_COMMIT_REPLY = "drop-commit-reply"


#: Streams with a hole in them must not go on afterwards as if nothing had been.
BROKEN_BY: Final = frozenset({Mode.BLACKHOLE, Mode.LOSE_UP, Mode.LOSE_DOWN})


class ProxyError(RuntimeError):
    """A proxy itself is broken."""


class Loop:
    """An event loop on a thread of its own, for all proxies of a rig."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, name="proxies", daemon=True)
        self._thread.start()

    def run(self, call: Callable[[], R]) -> R:
        """What a function returns there. Raises ProxyError when it raises anything."""
        done: Future[R] = Future()

        def called() -> None:
            try:
                done.set_result(call())
            except BaseException as error:  # it is the caller's, who would hang without it
                done.set_exception(error)

        self.loop.call_soon_threadsafe(called)
        try:
            return done.result()
        except Exception as error:
            raise ProxyError(repr(error)) from error


class Proxy:
    """Listens on a port of the loopback and forwards to another, as its mode allows.

    affected: connections or bytes that the present mode has harmed; a mode that harmed none did
    not happen.
    """

    def __init__(self, loop: Loop, port: int, target_port: int) -> None:
        self.port = port
        self.mode = Mode.PASS
        self.affected = 0
        self._target_port = target_port
        self._loop = loop
        self._pairs: set[Pair] = set()
        self.changed = asyncio.Event()
        asyncio.run_coroutine_threadsafe(
            asyncio.start_server(self._accept, "127.0.0.1", port), loop.loop
        ).result(10)

    def set(self, mode: Mode) -> None:
        """Change the mode, of the connections that there are, too."""
        self._loop.run(lambda: self._set(mode))

    def heal(self) -> int:
        """Back to normal; returns how much the mode had harmed."""
        affected = self.affected
        self.set(Mode.PASS)
        return affected

    def cancel_consumers(self, queue_ends_with: str) -> int:
        """Tell clients, in the broker's name, that their consumers are cancelled; returns how many.

        Only at a moment when nothing comes from the broker, which is between two of its frames.
        """
        return self._loop.run(
            lambda: sum(pair.cancel_consumers(queue_ends_with) for pair in self._pairs)
        )

    def _set(self, mode: Mode) -> None:
        before, self.mode, self.affected = self.mode, mode, 0
        self.changed.set()
        self.changed = asyncio.Event()
        if mode is Mode.CUT or before in BROKEN_BY:
            for pair in list(self._pairs):
                pair.abort()
                self.affected += 1

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.mode is Mode.CUT:
            self.affected += 1
            abort(writer)
            return
        try:
            server = await asyncio.open_connection("127.0.0.1", self._target_port)
        except OSError:
            abort(writer)
            return
        pair = Pair(self, writer, server[1])
        self._pairs.add(pair)
        try:
            await asyncio.gather(
                pair.pump(reader, server[1], up=True), pair.pump(server[0], writer, up=False)
            )
        finally:
            pair.abort()
            self._pairs.discard(pair)


class Pair:
    """The two ends of one connection."""

    def __init__(
        self, proxy: Proxy, client: asyncio.StreamWriter, server: asyncio.StreamWriter
    ) -> None:
        self._proxy = proxy
        self._ends = (client, server)
        self._committing = False
        self._server_open = True
        self._consumers: list[amqp.Consumer] = []

    def cancel_consumers(self, queue_ends_with: str) -> int:
        """See Proxy."""
        if not self._server_open:
            return 0
        found = [one for one in self._consumers if one.queue.endswith(queue_ends_with)]
        for consumer in found:
            self._ends[0].write(amqp.cancel(consumer))
            self._consumers.remove(consumer)
        return len(found)

    def abort(self) -> None:
        """Reset both ends: no good-bye, as when a cable is pulled and a peer has rebooted."""
        for end in self._ends:
            abort(end)

    async def pump(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, *, up: bool
    ) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while data := await source.read(CHUNK_BYTES):
                if await self._passes(data, sink, up=up):
                    sink.write(data)
                    await sink.drain()
        # One end has closed: so does the other, when it has what was sent.
        self._server_open &= up
        with contextlib.suppress(OSError, RuntimeError):
            sink.write_eof()

    async def _passes(self, data: bytes, sink: asyncio.StreamWriter, *, up: bool) -> bool:
        """Whether data goes on as it came."""
        proxy = self._proxy
        if up:
            closed = amqp.closed_channels(data)
            self._consumers = [one for one in self._consumers if one.channel not in closed]
            self._consumers += amqp.consumers(data)
        while proxy.mode is Mode.FREEZE:
            proxy.affected += 1
            await proxy.changed.wait()
        match proxy.mode:
            case Mode.BLACKHOLE:
                proxy.affected += 1
                return False
            case Mode.LOSE_UP | Mode.LOSE_DOWN:
                lost = up == (proxy.mode is Mode.LOSE_UP)
                proxy.affected += lost
                return not lost
            case Mode.DRIP:
                proxy.affected += 1
                await self._drip(data, sink)
                return False
            case Mode.SLOW:
                proxy.affected += 1
                await asyncio.sleep(SLOW_PAUSE_S)
            case Mode.DROP_COMMIT_REPLY:
                return self._passes_until_commit(data, up=up)
        return True

    async def _drip(self, data: bytes, sink: asyncio.StreamWriter) -> None:
        for start in range(0, len(data), DRIP_BYTES):
            sink.write(data[start : start + DRIP_BYTES])
            await sink.drain()
            if self._proxy.mode is Mode.DRIP:
                await asyncio.sleep(DRIP_PAUSE_S)

    def _passes_until_commit(self, data: bytes, *, up: bool) -> bool:
        if up:
            # Of what was sent last: an earlier one has had its answer.
            self._committing = COMMIT in data
        elif self._committing:
            # The server has answered, so it has committed; the client never hears of it.
            self._proxy.affected += 1
            self.abort()
            return False
        return True


def abort(writer: asyncio.StreamWriter) -> None:
    """Close with a reset."""
    opened = writer.transport.get_extra_info("socket")
    with contextlib.suppress(OSError, AttributeError):
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
    writer.transport.abort()
