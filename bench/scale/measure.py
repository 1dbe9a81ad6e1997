"""What is measured: whole runs of the service, transactions alone, and RabbitMQ's queue alone."""

import itertools
import json
import os
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
from bench.machine import VAR, service_programs
from bench.resources import TICKS_PER_SECOND, Meter
from bench.servers import Servers, connected
from bench.system import Site, System
from deploy.local import ports, processes

MANY_SKUS = 20_000
MANY_MONTHS = 60
#: A web process gathers its figures once a second, a worker reports every two.
GATHERED_SECONDS = 1.1
STATS_SECONDS_MAX = 6.0

COUNTED = """
SELECT coalesce(sum(decided), 0)::bigint, coalesce(sum(handled), 0)::bigint,
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
    """A load on a system. check: held out from the fit, to be predicted."""

    name: str
    web: int = 1
    workers: int = 1
    connections: int = 128
    lines: int = 2
    skus: int = 1000
    hot: bool = False
    batch: int = 1
    rate: float = 0.0
    check: bool = False


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
    Shape("web 1, worker 2", workers=2, connections=256, check=True),
    Shape("web 2, worker 2, 64 connections", web=2, workers=2, connections=64),
    Shape("web 2, worker 2", web=2, workers=2, connections=256, check=True),
    Shape("20,000 SKUs", skus=MANY_SKUS, connections=64),
    Shape("20,000 SKUs, worker 2", workers=2, skus=MANY_SKUS, connections=256, check=True),
]


@dataclass(frozen=True)
class Step:
    """Transactions alone, in so many processes at once."""

    orders: int
    lines: int = 2
    skus: int = 1000
    hot: bool = False
    processes: int = 1
    months: int = 3
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
    faults: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Applied:
    """One run of transactions alone; seconds in them. Stages are sums over all processes."""

    step: Step
    transactions: int
    seconds: float
    cpu: dict[str, float]
    stages: dict[str, float]
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


class Measurement:
    """Measures everything once a round. say: tells how far it is."""

    def __init__(
        self, servers: Servers, rounds: int, seconds: float, say: Callable[[str], None]
    ) -> None:
        self.measured = Measured()
        self._servers = servers
        self._rounds = rounds
        self._seconds = seconds
        self._say = say
        self._sites: dict[str, Site] = {}

    def run(self) -> Measured:
        self._queue()
        for _ in range(self._rounds):
            self._runs()
        for step in STEPS:
            self._step(step)
        self._latency()
        return self.measured

    # --- whole runs ---

    def _runs(self) -> None:
        for (web, workers, skus), shapes in itertools.groupby(
            SHAPES, key=lambda shape: (shape.web, shape.workers, shape.skus)
        ):
            with self._started(skus, web, workers) as (system, port):
                for shape in shapes:
                    seen = observe(system, port, shape, self._seconds)
                    self.measured.runs.append(seen)
                    self.measured.faults += [f"{shape.name}: {fault}" for fault in seen.faults]
                    self._say(f"{shape.name}: {seen.orders_per_s:,.0f} orders/s")

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
        self._say(f"transactions, {step}: {done.orders_per_s:,.0f} orders/s")

    # --- latency ---

    def _latency(self) -> None:
        """Nearly idle, and at a quarter and half of what one of each does."""
        rates = [r.orders_per_s for r in self.measured.runs if r.shape.name == "web 1, worker 1"]
        for share in (0.0, 0.25, 0.5):
            rate = max(20.0, share * sum(rates) / len(rates))
            for _ in range(self._rounds + 1):
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
        self._say(
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
            self._say(f"queue, {size:,} bytes: {cpu / number * 1e6:,.0f} µs a message")


def _contender(name: str, skus: int, months: int) -> Contender:
    migrate, *rest = HOLDFAST.prepare
    return replace(
        HOLDFAST,
        name=name,
        catalogue=catalogue(skus),
        prepare=(f"env PARTITIONS_AHEAD={months} {migrate}", *rest),
    )


def observe(system: System, metrics_port: int, shape: Shape, seconds: float) -> Observation:
    """One run of a shape on a system that is warm."""
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

        decided, handled, committed = ask(COUNTED)
        publishes = _publishes(metrics_port)
        wal, fpi, disk, _ = ask(WRITTEN)
        passed, loopback = {name: _passed(port) for name, port in links.items()}, _loopback()
        books = Books(database, shape.lines)
        counts = books.counts()
        busy, began = _busy_s(), time.monotonic()
        run = counted.run(system, orders, check=False)
        busy, took = _busy_s() - busy, time.monotonic() - began
        sent = _loopback() - loopback
        grown = {name: _grown(passed[name], _passed(port)) for name, port in links.items()}
        wal_after, fpi_after, disk_after, connections = ask(WRITTEN)
        time.sleep(GATHERED_SECONDS)
        _wait_until(lambda: ask(COUNTED)[0] >= decided + run.accepted)
        _, handled_after, committed_after = ask(COUNTED)
        published = _publishes(metrics_port)
        wrong = differences(counts, books.counts(), run.accepted, shape.lines) + books.faults()
    number = max(1.0, published[0] - publishes[0])
    ours = sum(run.cpu.values()) * run.accepted / 1000
    return Observation(
        shape=shape,
        orders=run.accepted,
        orders_per_s=run.orders_per_s,
        posted_s=run.seconds - run.drain_seconds,
        seconds=run.seconds,
        messages=int(handled_after - handled),
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
        strangers=_others(busy - ours, took),
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


def _busy_s() -> float:
    """CPU seconds of the whole machine that were not idle, those of a hypervisor's others too."""
    fields = [int(field) for field in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    return (sum(fields) - fields[3] - fields[4]) / TICKS_PER_SECOND


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
    """Run bench/scale/apply.py in as many processes as the step says, at once."""
    command = [
        str(site.programs / "python"), "-m", "bench.scale.apply", "--orders", str(step.orders),
        "--lines", str(step.lines), "--skus", str(step.skus), "--hot", str(int(step.hot)),
        "--seconds", str(seconds), "--stages", str(int(step.processes == 1)),
    ]  # fmt: skip
    running = [
        subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=site.checkout,
            env=site.environment({processes.OWNER_VARIABLE: str(VAR)}),
        )
        for _ in range(step.processes)
    ]  # fmt: skip
    try:
        for process in running:
            assert process.stdout is not None
            process.stdout.readline()
        meter = Meter({"PostgreSQL": [site.servers.postgres.pid]})
        busy, began = _busy_s(), time.monotonic()
        for process in running:
            assert process.stdin is not None
            process.stdin.write("\n")
            process.stdin.flush()
        found = [json.loads(process.communicate(timeout=seconds + 60)[0]) for process in running]
        database_s = meter.cpu_seconds()["PostgreSQL"]
        busy, took = _busy_s() - busy, time.monotonic() - began
    finally:
        for process in running:
            if process.poll() is None:
                process.kill()
                process.wait()
    return Applied(
        step,
        sum(one["transactions"] for one in found),
        sum(one["wall_s"] for one in found) / len(found),
        {"worker": sum(one["worker_s"] for one in found), "PostgreSQL": database_s},
        {
            name: sum(one[name] for one in found)
            for name in ("before_s", "locking_s", "locked_s", "commit_s")
        },
        _others(busy - database_s - sum(one["cpu_s"] for one in found), took),
    )


def _others(seconds: float, took: float) -> float:
    """The share of all cores that was not ours for so long."""
    return max(0.0, seconds) / took / (os.cpu_count() or 1)


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
