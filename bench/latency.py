"""Time from POST to decided, while orders arrive on a schedule of their own (open loop).

wrk makes the load: arrivals of many independent customers (Poisson), sent when due whether or not
earlier ones are answered. Probes measure: 20 a second post with `Prefer: wait` and note when the
decided order is there. A probe's clock starts when it is due, not when it could be sent.
"""

import asyncio
import itertools
import random
import statistics
import threading
import time
from dataclasses import dataclass

from bench.books import Books
from bench.contenders import API_KEY
from bench.load import LoadError, OrderLoad, Orders
from bench.servers import connected
from bench.system import System

PROBES_PER_SECOND = 20
#: More than are ever on their way at once, so that the schedule of wrk is kept.
CONNECTIONS = 512
WAIT_SECONDS = 10
#: The first moments show the start, not the load.
SETTLE_SECONDS = 1.0


@dataclass(frozen=True)
class Latency:
    """Milliseconds from POST to decided. wanted, rate: orders per second due, and taken."""

    wanted: float
    rate: float
    probes: int
    p50_ms: float
    p95_ms: float
    p99_ms: float
    faults: list[str]


def run(system: System, rate: float, seconds: float) -> Latency:
    """Probe at a background of `rate` orders per second."""
    orders = Orders(CONNECTIONS, seconds + SETTLE_SECONDS, rate=rate)
    prober = Prober(system.port)
    with connected(system.site.database_url) as database:
        books = Books(database)
        before = books.orders_decided()
        with OrderLoad(system.address, orders) as load:
            first = load.first_request()
            time.sleep(SETTLE_SECONDS)
            prober.start()
            idle = load.all_answered()
            times = prober.stop()
            accepted = load.answers().accepted
        # Every probe was answered with its decision, and so all before it are decided too.
        time.sleep(1)
        missing = accepted + len(times) - int(books.orders_decided() - before)
    if not times:
        raise LoadError("no probe was answered")
    faults = [f"{missing} orders missing"] if missing else []
    if prober.failures:
        faults.append(f"{prober.failures} probes not answered with a placed order")
    return Latency(
        wanted=rate,
        rate=accepted / (idle - first),
        probes=len(times),
        p50_ms=statistics.median(times),
        p95_ms=quantile(times, 0.95),
        p99_ms=quantile(times, 0.99),
        faults=faults,
    )


def quantile(values: list[float], fraction: float) -> float:
    """The value that `fraction` of all do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * fraction))]


class Prober:
    """Posts orders on a schedule and waits for their decisions, in a thread of its own."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._times: list[float] = []
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._probe()), daemon=True)
        self.failures = 0

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> list[float]:
        """Wait for the last answers; returns the times in milliseconds."""
        self._stopped.set()
        self._thread.join()
        return self._times

    async def _probe(self) -> None:
        self._idle = [await self._connect() for _ in range(PROBES_PER_SECOND)]
        began = time.monotonic()
        async with asyncio.TaskGroup() as probes:
            for number in itertools.count(1):
                due = began + number / PROBES_PER_SECOND
                await asyncio.sleep(due - time.monotonic())
                if self._stopped.is_set():
                    break
                probes.create_task(self._one(due))
        for _, writer in self._idle:
            writer.close()

    async def _one(self, due: float) -> None:
        try:
            reader, writer = self._idle.pop() if self._idle else await self._connect()
            writer.write(_request())
            head = await reader.readuntil(b"\r\n\r\n")
            await reader.readexactly(_length(head))
        except (OSError, EOFError, ValueError):
            self.failures += 1
            return
        if head.startswith(b"HTTP/1.1 201 "):
            self._times.append((time.monotonic() - due) * 1000)
        else:
            self.failures += 1
        self._idle.append((reader, writer))

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self._port)


def _request() -> bytes:
    first, second = random.sample(range(1, 1001), 2)
    body = (
        f'{{"customer_id":"c-{random.randint(1, 100_000)}","lines":['
        f'{{"sku":"SKU-{first:04}","quantity":1}},{{"sku":"SKU-{second:04}","quantity":1}}]}}'
    )
    return (
        f"POST /v1/orders HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {API_KEY}\r\n"
        f"Content-Type: application/json\r\nPrefer: wait={WAIT_SECONDS}\r\n"
        f"Content-Length: {len(body)}\r\n\r\n{body}"
    ).encode()


def _length(head: bytes) -> int:
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return int(line.partition(b":")[2])
    raise ValueError("an answer without Content-Length")
