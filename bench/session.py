"""One invocation of the bench: what is measured, in which order, on which sites.

Contenders take turns in rounds, so that whatever else the machine does hits all alike.
"""

import itertools
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from operator import itemgetter
from pathlib import Path

import psycopg2

from bench import bare, counted, latency, seed, viewers, volume
from bench.contenders import HOLDFAST, ONE_BY_ONE, USUAL, Contender, Variant
from bench.counted import Run
from bench.figures import Measured, Series
from bench.load import Orders
from bench.machine import service_programs
from bench.servers import Servers
from bench.system import Site, System
from deploy.local.errors import CannotRunError

PGBENCH_CLIENTS = (16, 8)
LOAD_PERCENTS = (10, 50, 90)
BATCH = 500
#: As many requests of a batch are on their way at once.
BATCH_CONNECTIONS = 8


@dataclass(frozen=True)
class Extent:
    """How much is done.

    seconds: of each load; batch_seconds: of order batches, which are taken in faster than they are
    decided; try_seconds: of a setting that is tried; later_rounds: of parts f and h;
    viewer_pairs: of part i.
    """

    rounds: int
    seconds: float
    batch_seconds: float
    try_seconds: float
    later_rounds: int
    latency_seconds: float
    volume_orders: int
    viewer_pairs: int


FULL = Extent(3, 6, 3, 3, 2, 10, 5_000_000, 6)
QUICK = Extent(1, 5, 2, 2, 1, 6, 200_000, 2)


class Session:
    """What is measured in one run. parts: the letters of docs/benchmarks.md."""

    def __init__(
        self, servers: Servers, peers: Path, extent: Extent, parts: set[str],
        report: Callable[[str], None],
    ) -> None:  # fmt: skip
        self.measured = Measured()
        self._servers = servers
        self._peers = peers
        self._extent = extent
        self._parts = parts
        self._report = report
        self._sites: dict[str, Site] = {}
        self._best: dict[str, Variant] = {}

    def run(self) -> Measured:
        """Everything, in order."""
        for contender in self._contenders():
            with self._noting(contender.title):
                self._try_variants(contender)
        for number in range(1, self._extent.rounds + 1):
            self._say(f"round {number} of {self._extent.rounds}")
            self._one_round()
        if "f" in self._parts:
            with self._noting("POST to decided"):
                self._latency()
        if "h" in self._parts:
            with self._noting("volume"):
                self._volume()
        if "i" in self._parts:
            with self._noting("dashboard tabs"):
                self._viewers()
        return self.measured

    # --- who takes part ---

    def _contenders(self) -> list[Contender]:
        wanted = {"aefghi": HOLDFAST, "c": USUAL, "d": ONE_BY_ONE}
        return [who for letters, who in wanted.items() if self._parts & set(letters)]

    def _shapes(self, contender: Contender) -> dict[str, Orders]:
        """Name of each series of a contender, and the load that makes it."""
        connections, seconds = self._best[contender.name].connections, self._extent.seconds
        name = contender.name
        both = {
            name: Orders(connections, seconds),
            f"{name}_hot": Orders(connections, seconds, hot=True),
        }
        if contender is not HOLDFAST:
            return both
        batch_seconds = self._extent.batch_seconds
        batches = {
            "batches": Orders(BATCH_CONNECTIONS, batch_seconds, batch=BATCH),
            "batches_hot": Orders(BATCH_CONNECTIONS, batch_seconds, hot=True, batch=BATCH),
        }
        # One after the other: their ratio is a figure of its own.
        keyed = {f"{name}_keyed": replace(both[name], keyed=True)}
        singles = {name: both[name], **keyed, **both}
        return (singles if self._parts & set("ag") else {}) | (
            batches if "e" in self._parts else {}
        )

    def _site(self, contender: Contender, database: str | None = None) -> Site:
        # The servers come with a database "holdfast" of their own.
        name = f"bench_{database or contender.name}"
        if name not in self._sites:
            programs = service_programs() if contender is HOLDFAST else self._peers
            self._sites[name] = Site(contender, self._servers, programs, database=name).build()
        return self._sites[name]

    def _started(self, site: Site) -> AbstractContextManager[System]:
        return System(site, self._best[site.contender.name].environment)

    # --- the parts ---

    def _try_variants(self, contender: Contender) -> None:
        """One short run of each setting; the best one is measured."""
        site = self._site(contender)
        tried: list[tuple[float, Variant]] = []
        by_environment = itertools.groupby(contender.variants, key=lambda v: v.environment)
        for environment, variants in by_environment:
            with System(site, environment) as system:
                counted.warm_up(system)
                for variant in variants:
                    orders = Orders(variant.connections, self._extent.try_seconds)
                    tried.append((self._counted(system, orders).orders_per_s, variant))
                    self._say(f"tried: {contender.title}, {variant}", tried[-1][0])
        self._best[contender.name] = max(tried, key=itemgetter(0))[1]
        self.measured.tried[contender.name] = {str(variant): rate for rate, variant in tried}

    def _one_round(self) -> None:
        for contender in self._contenders():
            if contender.name in self._best and (shapes := self._shapes(contender)):
                with self._noting(contender.title):
                    self._contender_round(contender, shapes)
        if "b" in self._parts:
            with self._noting("pgbench"):
                self._bare_round()

    def _contender_round(self, contender: Contender, shapes: dict[str, Orders]) -> None:
        with self._started(self._site(contender)) as system:
            counted.warm_up(system)
            for name, orders in shapes.items():
                setting = replace(self._best[contender.name], connections=orders.connections)
                self._keep(name, contender.title, str(setting), self._counted(system, orders))

    def _bare_round(self) -> None:
        site = self._site(HOLDFAST, "pgbench")
        for clients, hot in itertools.product(PGBENCH_CLIENTS, (False, True)):
            site.reset()
            run = bare.run(site, clients, self._extent.seconds, hot=hot)
            name = f"pgbench_{clients}{'_hot' if hot else ''}"
            self._note(name, run.faults)
            self._keep(name, "PostgreSQL alone, pgbench", f"{clients} clients", run)

    def _latency(self) -> None:
        site = self._site(HOLDFAST)
        capacity = self.measured.rate("holdfast")
        if capacity is None:
            capacity = max(self.measured.tried["holdfast"].values())
        for _, percent in itertools.product(range(self._extent.later_rounds), LOAD_PERCENTS):
            with self._started(site) as system:
                counted.warm_up(system)
                site.reset()
                run = latency.run(system, capacity * percent / 100, self._extent.latency_seconds)
            self.measured.latency.setdefault(percent, []).append(run)
            self._note(f"POST to decided at {percent} % load", run.faults)
            self._say(f"POST to decided at {percent} % load ({run.rate:.0f} orders/s): "
                      f"p50 {run.p50_ms:.1f} ms, p99 {run.p99_ms:.1f} ms")  # fmt: skip

    def _volume(self) -> None:
        full = self._site(HOLDFAST, "volume")
        self._say(f"filling a database with {self._extent.volume_orders:,} orders")
        seed.fill(full, self._extent.volume_orders, lambda text: self._say(f"  {text}"))
        self.measured.volume_orders = self._extent.volume_orders
        empty = self._site(HOLDFAST)
        orders = Orders(self._best[HOLDFAST.name].connections, self._extent.seconds)
        for _ in range(self._extent.later_rounds):
            for name, site in (("empty", empty), ("full", full)):
                with self._started(site) as system:
                    counted.warm_up(system)
                    if site is empty:
                        site.reset()
                    self._servers.checkpoint()
                    run = volume.run(system, orders)
                self.measured.volume.setdefault(name, []).append(run)
                self._note(f"{name} database", run.faults)
                self._say(f"{name} database: {run.reads_per_s:,.0f} reads/s",
                          run.orders.orders_per_s)  # fmt: skip
        self._note("the full database", volume.faults(full))

    def _viewers(self) -> None:
        orders = Orders(self._best[HOLDFAST.name].connections, self._extent.seconds)
        with self._started(self._site(HOLDFAST)) as system:
            counted.warm_up(system)
            for number in range(self._extent.viewer_pairs):
                found = viewers.pair(system, orders, watched_first=number % 2 == 1)
                self.measured.viewers.append(found)
                self._note("dashboard tabs", found.every_fault())
                self._say(
                    f"{viewers.TABS} tabs open: {found.ratio:.3f} of the rate with none, "
                    f"{found.events_per_s:.1f} events/s each",
                    found.watched.orders_per_s,
                )

    # --- one run, and what is kept of it ---

    def _counted(self, system: System, orders: Orders) -> Run:
        system.site.reset()
        run = counted.run(system, orders)
        self._note(f"{system.site.contender.title}, {orders}", run.faults)
        return run

    def _keep(self, name: str, title: str, setting: str, run: Run) -> None:
        self.measured.series.setdefault(name, Series(title, setting)).runs.append(run)
        self._say(f"{name}: {title}, {setting}", run.orders_per_s)

    @contextmanager
    def _noting(self, where: str) -> Iterator[None]:
        """What can't be run is a fault of the report, and the rest goes on."""
        try:
            yield
        except (CannotRunError, psycopg2.Error, subprocess.SubprocessError, OSError) as error:
            self._note(where, [str(error)])

    def _note(self, where: str, faults: list[str]) -> None:
        for fault in faults:
            self.measured.faults.append(f"{where}: {fault}")
            self._say(f"  FAULT in {where}: {fault}")

    def _say(self, text: str, orders_per_s: float | None = None) -> None:
        rate = "" if orders_per_s is None else f"  {orders_per_s:,.0f} orders/s"
        self._report(f"{time.strftime('%H:%M:%S')}  {text}{rate}")
