"""The same load with dashboard tabs open and with none, in turns on the same processes."""

import asyncio
import contextlib
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from secrets import token_hex

from bench import counted
from bench.counted import Run
from bench.load import Orders
from bench.servers import connected
from bench.system import System
from models.queries import api_keys

TABS = 20
#: Tabs of one person: a key may hold a few streams only.
TABS_PER_KEY = 10
PAGE = "/dashboard"
STREAM = "/dashboard/live/overview"
#: The page draws them anew every so often.
CHARTS = ("throughput", "latency", "waiting", "trouble")
CHARTS_EVERY_S = 10.0
#: What a stream has to bring at least, however busy the machine is: it is due once a second.
EVENTS_PER_S_MIN = 0.2
OPEN_SECONDS_MAX = 20.0


@dataclass(frozen=True)
class Pair:
    """Two runs one after the other. events_per_s: what each tab got, on average."""

    without: Run
    watched: Run
    events_per_s: float
    faults: list[str]

    @property
    def ratio(self) -> float:
        return self.watched.orders_per_s / self.without.orders_per_s

    def every_fault(self) -> list[str]:
        return [*self.without.faults, *self.watched.faults, *self.faults]


class Tabs:
    """Tabs on the overview: each has read its page, holds its stream open and draws charts."""

    def __init__(self, port: int, keys: Sequence[str], count: int = TABS) -> None:
        self._keys = keys
        self.events = [0] * count
        self.broken: list[str] = []
        self._port = port
        self._ready = threading.Semaphore(0)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def wait_open(self) -> None:
        """Wait for the first event of each stream, or note that it did not come."""
        deadline = time.monotonic() + OPEN_SECONDS_MAX
        for _ in self.events:
            if not self._ready.acquire(timeout=max(0.0, deadline - time.monotonic())):
                self.broken.append("a stream stayed silent")

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._cancel)
        self._thread.join()
        self._loop.close()

    def _run(self) -> None:
        async def all_tabs() -> None:
            await asyncio.gather(*(self._tab(number) for number in range(len(self.events))))

        with contextlib.suppress(asyncio.CancelledError):
            self._loop.run_until_complete(all_tabs())

    def _cancel(self) -> None:
        for task in asyncio.all_tasks(self._loop):
            task.cancel()

    async def _tab(self, number: int) -> None:
        try:
            await self._read(number, PAGE, "text/html")
            await asyncio.gather(self._read_stream(number), self._read_charts(number))
        except (OSError, asyncio.IncompleteReadError) as error:
            self.broken.append(str(error) or type(error).__name__)

    async def _read(self, number: int, path: str, accept: str) -> None:
        reader, writer = await self._ask(number, path, accept, "close")
        await reader.read()
        writer.close()

    async def _read_charts(self, number: int) -> None:
        # Not all at the same moment: people open their tabs one by one.
        await asyncio.sleep(CHARTS_EVERY_S * number / len(self.events))
        while True:
            for name in CHARTS:
                address = f"/dashboard/data/{name}.json?window=5m"
                await self._read(number, address, "application/json")
            await asyncio.sleep(CHARTS_EVERY_S)

    async def _read_stream(self, number: int) -> None:
        reader, writer = await self._ask(number, STREAM, "text/event-stream", "keep-alive")
        try:
            while chunk := await reader.read(1 << 16):
                if b"data:" not in chunk:
                    continue
                self.events[number] += 1
                if self.events[number] == 1:
                    self._ready.release()
            self.broken.append("a stream ended")
        finally:
            writer.close()

    async def _ask(
        self, number: int, path: str, accept: str, connection: str
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        key = self._keys[number // TABS_PER_KEY]
        head = (
            f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{self._port}\r\nAccept: {accept}\r\n"
            f"Authorization: Bearer {key}\r\nConnection: {connection}\r\n\r\n"
        )
        writer.write(head.encode())
        status = await reader.readline()
        if b" 200 " not in status:
            raise ConnectionError(f"{path}: {status.decode(errors='replace').strip()}")
        return reader, writer


def _new_key(system: System) -> str:
    token = api_keys.new_token()
    with connected(system.site.database_url) as database, database.cursor() as cursor:
        cursor.execute(
            "INSERT INTO api_keys (id, name, hash, scopes, created_at) "
            "VALUES (%s, 'somebody who looks', %s, '{dashboard:read}', now())",
            (f"key_{token_hex(6)}", api_keys.hash_token(token)),
        )
    return token


@contextlib.contextmanager
def opened(system: System) -> Iterator[Tabs]:
    """Tabs that are open meanwhile."""
    tabs = Tabs(system.port, [_new_key(system) for _ in range(-(-TABS // TABS_PER_KEY))])
    tabs.start()
    try:
        tabs.wait_open()
        yield tabs
    finally:
        tabs.close()


def pair(system: System, orders: Orders, *, watched_first: bool) -> Pair:
    """One run without and one with tabs; who is first changes, as a database only grows."""
    runs: dict[bool, Run] = {}
    for watched in (watched_first, not watched_first):
        system.site.reset()
        if not watched:
            runs[False] = counted.run(system, orders)
            continue
        with opened(system) as tabs:
            before, begun = sum(tabs.events), time.monotonic()
            runs[True] = counted.run(system, orders)
            seconds = time.monotonic() - begun
            events_per_s = (sum(tabs.events) - before) / seconds / len(tabs.events)
            broken = list(dict.fromkeys(tabs.broken))
    if events_per_s < EVENTS_PER_S_MIN:
        broken.append(f"each tab got {events_per_s:.2f} events a second only")
    return Pair(runs[False], runs[True], events_per_s, broken)
