"""What is measured: whole runs of the service, transactions alone, and RabbitMQ's queue alone."""

import itertools
import re
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import pika

from bench import counted, latency
from bench.books import Books, differences
from bench.contenders import HOLDFAST, Contender, catalogue
from bench.latency import Latency
from bench.load import Orders
from bench.machine import service_programs
from bench.resources import Meter
from bench.scale.writers import Job, busy_s, measure_log, others, write
from bench.servers import Servers, connected
from bench.system import Site, System
from deploy.local import ports

MANY_SKUS = 20_000
MANY_MONTHS = 60
#: A web process gathers its figures once a second, a worker reports every two.
GATHERED_SECONDS = 1.1
STATS_SECONDS_MAX = 6.0

COUNTED = """
SELECT coalesce(sum(decided), 0)::bigint,
       coalesce(sum((SELECT sum(b) FROM unnest(batch) AS b)), 0)::bigint
FROM actor_stats WHERE actor = 'place_orders' AND resolution_s = 10
"""
#: A command's time of decision is when its transaction began.
BEGUN_MS = """
SELECT 1000 * percentile_cont(0.5) WITHIN GROUP
       (ORDER BY extract(epoch FROM decided_at - placed_at)::float8) FROM commands
"""
WRITTEN = """
SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn, (SELECT wal_fpi FROM pg_stat_wal),
       pg_database_size(current_database()),
       (SELECT count(*) FROM pg_stat_activity
        WHERE datname = current_database() AND pid <> pg_backend_pid())
"""


@dataclass(frozen=True)
class Shape:
    """A load on a system. check: held out from the fit, to be predicted.

    flash: every order is for one unit of the same SKU, of which there are as many as a tenth of the
    orders.
    """

    name: str
    web: int = 1
    workers: int = 1
    connections: int = 128
    lines: int = 2
    skus: int = 1000
    hot: bool = False
    batch: int = 1
    rate: float = 0.0
    flash: bool = False
    check: bool = False


#: The two axes, each in all combinations with these loads.
WEBS, WORKERS = (1, 2, 4), (1, 2, 4, 8)
GRID_LOADS: dict[str, dict[str, Any]] = {
    "1,000 SKUs": {},
    "one hot SKU": {"hot": True},
    "flash sale": {"hot": True, "lines": 1, "flash": True},
}
#: What the fit sees of it: the corners of the plainest load.
GRID_FITTED = {(web, workers) for web in (1, 4) for workers in (1, 8)}
FLASH_SHARE = 0.1


def cell(web: int, workers: int, load: str) -> "Shape":
    """A load on so many processes of each."""
    held_out = load != "1,000 SKUs" or (web, workers) not in GRID_FITTED
    return Shape(f"{web} × {workers}, {load}", web, workers, connections=256, check=held_out,
                 **GRID_LOADS[load])  # fmt: skip


#: Grouped by what has to be started anew.
SHAPES = [
    Shape("8 connections", connections=8),
    Shape("32 connections", connections=32),
    Shape("256 connections", connections=256),
    Shape("1 line", connections=64, lines=1),
    Shape("8 lines", lines=8),
    Shape("batches of 10", connections=16, batch=10),
    Shape("batches of 500", connections=8, batch=500),
    Shape("batches of 500, 6 lines", connections=4, batch=500, lines=6),
    Shape("20 orders/s", connections=64, rate=20),
    Shape("600 orders/s", connections=64, rate=600),
    Shape("web 1, worker 1", check=True),
    Shape("64 connections", connections=64, check=True),
    Shape("one hot SKU", hot=True, check=True),
    Shape("4 lines", lines=4, check=True),
    Shape("batches of 100", connections=8, batch=100, check=True),
    Shape("2 workers", workers=2, connections=64),
    Shape("web 2, worker 2, 64 connections", web=2, workers=2, connections=64),
    Shape("20,000 SKUs", skus=MANY_SKUS, connections=64),
    Shape("20,000 SKUs, worker 2", workers=2, skus=MANY_SKUS, connections=256, check=True),
]


@dataclass(frozen=True)
class Step:
    """Transactions alone, in so many processes at once. sold_out: every order is refused."""

    orders: int
    lines: int = 2
    skus: int = 1000
    hot: bool = False
    processes: int = 1
    months: int = 3
    sold_out: bool = False
    check: bool = False


STEPS = [
    Step(1),
    Step(20),
    Step(100),
    Step(400),
    Step(100, lines=1),
    Step(100, lines=8),
    Step(100, skus=MANY_SKUS),
    Step(200, processes=2),
    Step(100, months=MANY_MONTHS),
    Step(100, lines=1, skus=1, sold_out=True),
    Step(50, check=True),
    Step(100, lines=4, check=True),
    Step(100, hot=True, processes=2, check=True),
    Step(20, processes=2, check=True),
    Step(100, processes=2, check=True),
    Step(100, skus=MANY_SKUS, processes=2, check=True),
    Step(20, skus=MANY_SKUS, processes=4, check=True),
]


@dataclass(frozen=True)
class Observation:
    """One run of a shape. posted_s: for how long orders were posted; seconds: until the last was
    decided; cpu: seconds; bytes: of each link, and written; strangers: the share of all cores that
    went to others: kernel, hypervisor, whoever else is on the machine."""

    shape: Shape
    orders: int
    orders_per_s: float
    posted_s: float
    seconds: float
    messages: int
    transactions: int
    publish_s: float
    cpu: dict[str, float]
    bytes: dict[str, float]
    connections: int
    strangers: float
    refused: int = 0
    faults: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Applied:
    """One run of transactions alone; seconds in them. Stages are sums over all processes.

    stages: time without and with stock rows, and of both what the log took; trips: statements of a
    transaction, without and with stock rows.
    """

    step: Step
    transactions: int
    seconds: float
    cpu: dict[str, float]
    stages: dict[str, float]
    trips: dict[str, float]
    strangers: float = 0.0

    @property
    def orders_per_s(self) -> float:
        return self.transactions * self.step.orders / self.seconds


@dataclass(frozen=True)
class Waits(Latency):
    """begun_p50_ms: of all orders, from when one was taken to the begin of its transaction;
    publish_s: from a publish to its confirm, mean."""

    begun_p50_ms: float
    publish_s: float


@dataclass
class Measured:
    """All that was measured in one go."""

    runs: list[Observation] = field(default_factory=list)
    applied: list[Applied] = field(default_factory=list)
    latency: list[Waits] = field(default_factory=list)
    queue: list[dict[str, float]] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, found: dict[str, Any]) -> "Measured":
        return cls(
            [Observation(**{**run, "shape": Shape(**run["shape"])}) for run in found["runs"]],
            [Applied(**{**one, "step": Step(**one["step"])}) for one in found["applied"]],
            [Waits(**one) for one in found["latency"]],
            found["queue"],
            found["faults"],
        )


@dataclass(frozen=True)
class Extent:
    """How much is measured. seconds: of each load."""

    rounds: int
    seconds: float
    grid_rounds: int
    grid_seconds: float
    webs: tuple[int, ...] = WEBS
    workers: tuple[int, ...] = WORKERS

    def units(self) -> int:
        """How many single measurements that makes."""
        grid = self.grid_rounds * len(self.webs) * len(self.workers) * len(GRID_LOADS)
        return 2 + self.rounds * len(SHAPES) + grid + len(STEPS) + 3 * (self.rounds + 1)


FULL = Extent(2, 2.0, 3, 1.5)
QUICK = Extent(1, 1.0, 1, 1.0)


class Measurement:
    """Measures everything once a round. say: tells how far it is."""

    def __init__(self, servers: Servers, extent: Extent, say: Callable[[str], None]) -> None:
        self.measured = Measured()
        self._servers = servers
        self._extent = extent
        self._seconds = extent.seconds
        self._say = say
        self._sites: dict[str, Site] = {}
        self._done, self._units = 0, extent.units()

    def run(self) -> Measured:
        measure_log(self._servers)
        self._queue()
        for _ in range(self._extent.rounds):
            self._runs()
        for number in range(self._extent.grid_rounds):
            self._grid(reverse=number % 2 == 1)
        for step in STEPS:
            self._step(step)
        self._latency()
        return self.measured

    def _tell(self, text: str) -> None:
        self._done += 1
        self._say(f"{self._done:3} of {self._units}  {text}")

    # --- whole runs ---

    def _runs(self) -> None:
        for (web, workers, skus), shapes in itertools.groupby(
            SHAPES, key=lambda shape: (shape.web, shape.workers, shape.skus)
        ):
            with self._started(skus, web, workers) as (system, port):
                for shape in shapes:
                    self._observe(system, port, shape, self._seconds)

    def _grid(self, *, reverse: bool) -> None:
        """Every combination of processes, under each load; who is first changes."""
        cells = [(web, workers) for web in self._extent.webs for workers in self._extent.workers]
        for web, workers in sorted(cells, reverse=reverse):
            with self._started(1000, web, workers) as (system, port):
                rate = 0.0
                for load in GRID_LOADS:
                    shape = cell(web, workers, load)
                    stock = int(FLASH_SHARE * rate * self._extent.grid_seconds)
                    rate = self._observe(system, port, shape, self._extent.grid_seconds, stock)

    def _observe(
        self, system: System, port: int, shape: Shape, seconds: float, stock: int = 0
    ) -> float:
        seen = observe(system, port, shape, seconds, stock)
        self.measured.runs.append(seen)
        self.measured.faults += [f"{shape.name}: {fault}" for fault in seen.faults]
        self._tell(f"{shape.name}: {seen.orders_per_s:,.0f} orders/s")
        return seen.orders_per_s

    @contextmanager
    def _started(
        self, skus: int = 1000, web: int = 1, workers: int = 1
    ) -> Iterator[tuple[System, int]]:
        """A warm system, and the port of its web processes' metrics."""
        web_port, worker_port = ports.free_ports(2)
        environment = {
            "WEB_CONCURRENCY": str(web),
            "WORKER_PROCESSES": str(workers),
            "METRICS_HOST": "127.0.0.1",
            "WEB_METRICS_PORT": str(web_port),
            "WORKER_METRICS_PORT": str(worker_port),
        }
        with System(self._site(skus), environment) as system:
            counted.warm_up(system)
            # What the warm-up did is reported by then, and does not count for the first run.
            time.sleep(2 * GATHERED_SECONDS)
            yield system, web_port

    def _site(self, skus: int = 1000, months: int = 3) -> Site:
        name = f"scale_{skus}_{months}"
        if name not in self._sites:
            self._sites[name] = Site(
                _contender(name, skus, months), self._servers, service_programs(), database=name
            ).build()
        return self._sites[name]

    # --- transactions alone ---

    def _step(self, step: Step) -> None:
        site = self._site(step.skus, step.months)
        site.reset()
        done = apply(site, step, self._seconds / 2)
        self.measured.applied.append(done)
        self._tell(f"transactions, {step}: {done.orders_per_s:,.0f} orders/s")

    # --- latency ---

    def _latency(self) -> None:
        """Nearly idle, and at a quarter and half of what one of each does."""
        rates = [r.orders_per_s for r in self.measured.runs if r.shape.name == "web 1, worker 1"]
        for share in (0.0, 0.25, 0.5):
            rate = max(20.0, share * sum(rates) / len(rates))
            for _ in range(self._extent.rounds + 1):
                self._latency_at(rate)

    def _latency_at(self, rate: float) -> None:
        with self._started() as (system, port):
            system.site.reset()
            published = _publishes(port)
            found = latency.run(system, rate, max(3.0, 2 * self._seconds))
            time.sleep(GATHERED_SECONDS)
            number, seconds = (b - a for a, b in zip(published, _publishes(port), strict=True))
            with connected(system.site.database_url) as database, database.cursor() as cursor:
                cursor.execute(BEGUN_MS)
                ((begun_ms,),) = cursor.fetchall()
        waits = Waits(**asdict(found), begun_p50_ms=begun_ms, publish_s=seconds / max(1.0, number))
        self.measured.latency.append(waits)
        self.measured.faults += found.faults
        self._tell(
            f"POST to decided at {rate:,.0f} orders/s: p50 {found.p50_ms:.1f} ms,"
            f" {begun_ms:.1f} ms to the transaction"
        )

    # --- RabbitMQ's queue ---

    def _queue(self) -> None:
        url = self._servers.rabbitmq.create_vhost("scale_queue")
        for size, number in ((1_000, 4_000), (50_000, 800)):
            meter = Meter({"RabbitMQ": [self._servers.rabbitmq.pid]})
            saturate(url, size, number)
            cpu = meter.cpu_seconds()["RabbitMQ"]
            self.measured.queue.append({"bytes": size, "messages": number, "cpu_s": cpu})
            self._tell(f"queue, {size:,} bytes: {cpu / number * 1e6:,.0f} µs a message")


def _contender(name: str, skus: int, months: int) -> Contender:
    migrate, *rest = HOLDFAST.prepare
    return replace(
        HOLDFAST,
        name=name,
        catalogue=catalogue(skus),
        prepare=(f"env PARTITIONS_AHEAD={months} {migrate}", *rest),
    )


def observe(
    system: System, metrics_port: int, shape: Shape, seconds: float, stock: int = 0
) -> Observation:
    """One run of a shape on a system that is warm. stock: units on hand in a flash sale."""
    system.site.reset()
    orders = Orders(shape.connections, seconds, shape.hot, shape.batch, shape.rate, shape.lines,
                    shape.skus)  # fmt: skip
    servers = system.site.servers
    links = {"PostgreSQL": servers.postgres.port, "RabbitMQ": servers.rabbitmq.port}
    with connected(system.site.database_url) as database, database.cursor() as cursor:

        def ask(sql: str) -> list[float]:
            cursor.execute(sql)
            (row,) = cursor.fetchall()
            return [float(value) for value in row]

        if shape.flash:
            stock_up(cursor, stock)
        decided, committed = ask(COUNTED)
        publishes = _publishes(metrics_port)
        wal, fpi, disk, _ = ask(WRITTEN)
        passed, loopback = {name: _passed(port) for name, port in links.items()}, _loopback()
        books = Books(database, shape.lines, scarce=shape.flash)
        counts = books.counts()
        busy, began = busy_s(), time.monotonic()
        run = counted.run(system, orders, check=False, scarce=shape.flash)
        busy, took = busy_s() - busy, time.monotonic() - began
        sent = _loopback() - loopback
        grown = {name: _grown(passed[name], _passed(port)) for name, port in links.items()}
        wal_after, fpi_after, disk_after, connections = ask(WRITTEN)
        time.sleep(GATHERED_SECONDS)
        _wait_until(lambda: ask(COUNTED)[0] >= decided + run.accepted)
        _, committed_after = ask(COUNTED)
        published = _publishes(metrics_port)
        confirmed = min(stock, run.accepted) if shape.flash else run.accepted
        wrong = differences(counts, books.counts(), run.accepted, shape.lines, confirmed)
        wrong += books.faults()
    number = max(1.0, published[0] - publishes[0])
    ours = sum(run.cpu.values()) * run.accepted / 1000
    return Observation(
        shape=shape,
        orders=run.accepted,
        orders_per_s=run.orders_per_s,
        posted_s=run.seconds - run.drain_seconds,
        seconds=run.seconds,
        messages=int(number),
        transactions=int(committed_after - committed),
        publish_s=(published[1] - publishes[1]) / number,
        cpu={name: value * run.accepted / 1000 for name, value in run.cpu.items()},
        bytes={
            "all links": sent,
            **grown,
            "WAL": wal_after - wal,
            "disk": disk_after - disk,
            "full pages": fpi_after - fpi,
        },
        connections=int(connections),
        strangers=others(busy - ours, took),
        refused=run.accepted - confirmed,
        faults=run.faults + wrong,
    )


def _wait_until(reported: Callable[[], bool]) -> None:
    """Until workers have reported all they did."""
    deadline = time.monotonic() + STATS_SECONDS_MAX
    while not reported() and time.monotonic() < deadline:
        time.sleep(0.05)


def _publishes(port: int) -> tuple[float, float]:
    """Messages that were confirmed so far, and the seconds that took."""
    address = f"http://127.0.0.1:{port}/metrics"
    with urllib.request.urlopen(address, timeout=5) as response:  # nosec B310
        text = response.read().decode()
    found = {
        name: sum(map(float, re.findall(rf"^holdfast_publish_seconds_{name} (\S+)", text, re.M)))
        for name in ("count", "sum")
    }
    return found["count"], found["sum"]


def _passed(port: int) -> dict[str, int]:
    """Bytes of each open connection to a port, both ways."""
    if not shutil.which("ss"):
        return {}
    command = ["ss", "-tinHO", "state", "established", f"( sport = :{port} )"]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    return {
        line.split()[3]: sum(map(int, re.findall(r"bytes_(?:sent|received):(\d+)", line)))
        for line in lines
    }


def _grown(before: dict[str, int], after: dict[str, int]) -> float:
    return float(sum(count - before.get(peer, 0) for peer, count in after.items()))


def _loopback() -> float:
    """Bytes that went over the loopback, headers included; whoever sent them."""
    for line in Path("/proc/net/dev").read_text().splitlines():
        name, _, figures = line.partition(":")
        if name.strip() == "lo":
            return float(figures.split()[0])
    return 0.0


def apply(site: Site, step: Step, seconds: float) -> Applied:
    """Run the writers of a step."""
    if step.sold_out:
        with connected(site.database_url) as database, database.cursor() as cursor:
            stock_up(cursor, 0)
    job = Job(step.orders, step.lines, step.skus, step.hot, step.processes, seconds=seconds)
    done = write(site, job)
    calls = done.orders // step.orders
    return Applied(
        step,
        calls,
        done.total("wall_s") / len(done.found),
        done.cpu,
        {"free_s": done.total("free_s"), "held_s": done.total("held_s"), "log_s": done.log_s},
        {name: done.total(f"trips_{name}") / max(calls, 1) for name in ("free", "held")},
        done.strangers,
    )


def stock_up(cursor: Any, units: int) -> None:
    """So many units on hand of the first SKU, which nobody has ordered yet."""
    cursor.execute("UPDATE stock SET on_hand = %s WHERE sku = 'SKU-0001'", (units,))
    cursor.execute("UPDATE stock_movements SET on_hand_delta = %s WHERE sku = 'SKU-0001'", (units,))


def saturate(url: str, size: int, number: int) -> None:
    """So many messages into a quorum queue as fast as they go, then out again."""
    with pika.BlockingConnection(pika.URLParameters(url)) as connection:
        channel = connection.channel()
        queue = f"of_{size}"
        channel.queue_declare(queue, durable=True, arguments={"x-queue-type": "quorum"})
        body, properties = bytes(size), pika.BasicProperties(delivery_mode=2)
        for _ in range(number):
            channel.basic_publish("", queue, body, properties)
        channel.basic_qos(prefetch_count=16)
        for method, _, _ in channel.consume(queue, inactivity_timeout=30):
            if method is None:
                break
            channel.basic_ack(method.delivery_tag)
            if method.delivery_tag == number:
                break
        channel.cancel()
        channel.queue_delete(queue)
