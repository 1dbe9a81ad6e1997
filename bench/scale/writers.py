"""`python -m bench.scale.writers`: transactions of new orders from several processes at once.

The apply step alone against PostgreSQL, by the actor as a worker has it (bench/scale/apply.py),
with 1 to 16 writers: how the rate grows, what each part costs that all of them touch at the largest
number, and what they wait for. With `--base REV` another revision takes turns with this checkout.

There are always as many orders in flight, in messages of 4: more writers have fewer each. A writer
has a thread for each of its messages, as if it had filled its transaction from its queue; another
revision has no more than `--base-threads`, a worker's 8, as before transactions filled themselves.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import machine, servers
from bench.books import Books
from bench.contenders import holdfast
from bench.machine import CHECKOUT, VAR
from bench.resources import TICKS_PER_SECOND, Meter
from bench.revisions import checked_out
from bench.servers import Servers, connected
from bench.system import Site
from deploy.local import processes
from deploy.local.errors import CannotRunError

WRITERS = (1, 2, 4, 8, 16)
MESSAGES, MESSAGE_ORDERS = 64, 4
BASE_THREADS = 8
LOADS = {"1,000 SKUs": False, "one hot SKU": True}
#: What is left out or put in, at the largest number of writers.
PARTS: Mapping[str, tuple[tuple[str, ...], Mapping[str, str]]] = {
    "without the inbox": (("inbox",), {}),
    "without figures in memory": (("figures",), {}),
    "without reports of workers": (("reports",), {}),
    "with a slot for every writer": ((), {"TRANSACTIONS_AT_ONCE": "1000"}),
    "with a rate limit": ((), {"ORDERS_RATE_LIMIT": "1000000/s"}),
}
SAMPLE_S = 0.01
SAMPLE = """
SELECT coalesce(wait_event_type || ': ' || wait_event, 'on a core, or waiting for one')
FROM pg_stat_activity
WHERE application_name LIKE 'holdfast-scale%' AND state <> 'idle'
"""
LOG_MS = "SELECT wal_write_time + wal_sync_time FROM pg_stat_wal"
WRITERS_LEFT = "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'holdfast-scale%'"
SEQUENCES = "SELECT coalesce(sum(last_value), 0) FROM pg_sequences"
LEAVE_SECONDS_MAX = 10.0


@dataclass(frozen=True)
class Job:
    """What writers do. orders: of a message; threads: messages that a writer has in flight."""

    orders: int
    lines: int = 2
    skus: int = 1000
    hot: bool = False
    processes: int = 1
    threads: int = 1
    seconds: float = 2.0
    without: tuple[str, ...] = ()


@dataclass(frozen=True)
class Written:
    """What they did. cpu: seconds; log_s: writing and flushing the log, of all of them; strangers:
    the share of all cores that went to others; found: what each writer said of itself."""

    orders: int
    seconds: float
    cpu: dict[str, float]
    log_s: float
    strangers: float
    found: list[dict[str, Any]]

    @property
    def orders_per_s(self) -> float:
        return self.orders / self.seconds

    def total(self, name: str) -> float:
        return float(sum(one[name] for one in self.found))


def measure_log(running: Servers) -> None:
    """Have PostgreSQL measure how long it writes and flushes its log."""
    running.postgres.query("ALTER SYSTEM SET track_wal_io_timing = on")
    running.postgres.query("SELECT pg_reload_conf()")


def write(site: Site, job: Job, extra: Mapping[str, str] | None = None) -> Written:
    """Run writers side by side on a site's database. extra: of their environment."""
    options = {"orders": job.orders, "lines": job.lines, "skus": job.skus, "hot": int(job.hot),
               "threads": job.threads, "seconds": job.seconds}  # fmt: skip
    command = [
        # This checkout's measure, on the site's code.
        str(site.programs / "python"), "-P", str(Path(__file__).with_name("apply.py")),
        *(f"--{name}={value}" for name, value in options.items()),
        *(f"--without={part}" for part in job.without),
    ]  # fmt: skip
    environment = {processes.OWNER_VARIABLE: str(VAR), "PYTHONPATH": str(site.checkout)}
    running = [
        subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=site.checkout,
            env=site.environment({**environment, **(extra or {})}),
        )
        for _ in range(job.processes)
    ]  # fmt: skip
    try:
        for process in running:
            _wait_ready(process)
        with connected(site.database_url) as database, database.cursor() as cursor:
            meter = Meter({"PostgreSQL": [site.servers.postgres.pid]})
            log_ms, busy, began = _number(cursor, LOG_MS), busy_s(), time.monotonic()
            for process in running:
                assert process.stdin is not None
                process.stdin.write("\n")
                process.stdin.flush()
            said = [process.communicate(timeout=job.seconds + 60)[0] for process in running]
            database_s = meter.cpu_seconds()["PostgreSQL"]
            busy, took = busy_s() - busy, time.monotonic() - began
            # They tell what they did to the log when they leave.
            deadline = time.monotonic() + LEAVE_SECONDS_MAX
            while _number(cursor, WRITERS_LEFT) and time.monotonic() < deadline:
                time.sleep(0.01)
            log_ms = _number(cursor, LOG_MS) - log_ms
    finally:
        for process in running:
            if process.poll() is None:
                process.kill()
                process.wait()
    found = [json.loads(text.splitlines()[-1]) for text in said]
    return Written(
        orders=sum(one["calls"] for one in found) * job.orders,
        seconds=max(one["seconds"] for one in found),
        cpu={"worker": sum(one["worker_s"] for one in found), "PostgreSQL": database_s},
        log_s=log_ms / 1000,
        strangers=others(busy - database_s - sum(one["cpu_s"] for one in found), took),
        found=found,
    )


def _wait_ready(process: subprocess.Popen[str]) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        if line.strip() == "ready":
            return
    raise CannotRunError("A writer did not start; what it said is above.")


def _number(cursor: Any, sql: str) -> float:
    cursor.execute(sql)
    ((value,),) = cursor.fetchall()
    return float(value)


def busy_s() -> float:
    """CPU seconds of the whole machine that were not idle, those of a hypervisor's others too."""
    fields = [int(field) for field in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    return (sum(fields) - fields[3] - fields[4]) / TICKS_PER_SECOND


def others(seconds: float, took: float) -> float:
    """The share of all cores that was not ours for so long."""
    return max(0.0, seconds) / took / (os.cpu_count() or 1)


class Waits(threading.Thread):
    """Looks at what writers wait for, until told to stop."""

    def __init__(self, url: str) -> None:
        super().__init__(daemon=True)
        self._url = url
        self._stopped = threading.Event()
        self.seen: Counter[str] = Counter()

    def run(self) -> None:
        with connected(self._url) as database, database.cursor() as cursor:
            while not self._stopped.wait(SAMPLE_S):
                cursor.execute(SAMPLE)
                self.seen.update(event for (event,) in cursor.fetchall())

    def stop(self) -> dict[str, float]:
        """Shares of what was seen, the largest first."""
        self._stopped.set()
        self.join()
        total = self.seen.total() or 1
        return {event: count / total for event, count in self.seen.most_common(6)}


class Session:
    """One run: rates by revision, load and number of writers; parts and waits by load."""

    def __init__(self, sites: Mapping[str, Site], options: argparse.Namespace) -> None:
        self._sites = sites
        self._options = options
        self.rates: dict[tuple[str, str, int], list[float]] = {}
        self.parts: dict[tuple[str, str], list[float]] = {}
        self.waits: dict[str, dict[str, float]] = {}
        self.faults: list[str] = []

    def run(self) -> None:
        for number in range(self._options.rounds):
            for load, writers in ((load, n) for load in LOADS for n in self._options.writers):
                # Who is first changes: the machine's speed does, too.
                for revision in sorted(self._sites, reverse=number % 2 == 1):
                    rate = self._rate(revision, load, writers)
                    self.rates.setdefault((revision, load, writers), []).append(rate)
            for load in LOADS:
                if len(self._sites) == 1:
                    self._parts(load, number)

    def _parts(self, load: str, number: int) -> None:
        writers = max(self._options.writers)
        for name in sorted(PARTS, reverse=number % 2 == 1):
            without, extra = PARTS[name]
            whole = self._rate("now", load, writers)
            other = self._rate("now", load, writers, without, extra)
            self.parts.setdefault((load, name), []).append(other / whole)
        site = self._sites["now"]
        waits = Waits(site.database_url)
        waits.start()
        self._rate("now", load, writers)
        self.waits[load] = waits.stop()

    def _rate(
        self, revision: str, load: str, writers: int,
        without: tuple[str, ...] = (), extra: Mapping[str, str] | None = None,
    ) -> float:  # fmt: skip
        site = self._sites[revision]
        site.reset()
        threads = max(1, MESSAGES // writers)
        job = Job(
            MESSAGE_ORDERS, hot=LOADS[load], processes=writers, seconds=self._options.seconds,
            threads=threads if revision == "now" else min(threads, self._options.base_threads),
            without=without,
        )  # fmt: skip
        with connected(site.database_url) as database, database.cursor() as cursor:
            before = _number(cursor, SEQUENCES)
            written = write(site, job, extra)
            drawn = _number(cursor, SEQUENCES) - before
            self.faults += Books(database).faults()
        if drawn:
            self.faults.append(f"{drawn:.0f} numbers drawn from sequences")
        said = " ".join([*without, *(extra or {})])
        print(f"{time.strftime('%H:%M:%S')}  {revision:5} {load:12} {writers:3} writers "
              f"{written.orders_per_s:7,.0f} orders/s  {said}", flush=True)  # fmt: skip
        return written.orders_per_s

    def report(self) -> str:
        """Medians, and of pairs the median of their ratios."""
        lines = []
        for load in LOADS:
            best = 0.0
            for writers in self._options.writers:
                now = statistics.median(self.rates["now", load, writers])
                line = f"{load:12} {writers:3} writers {now:7,.0f} orders/s"
                if best:
                    line += f"  {now / best:.2f} of the best with fewer"
                best = max(best, now)
                if "base" in self._sites:
                    pairs = zip(self.rates["now", load, writers],
                                self.rates["base", load, writers], strict=True)  # fmt: skip
                    ratios = [one / other for one, other in pairs]
                    line += f"  {statistics.median(ratios):.2f} × base"
                lines.append(line)
        for (load, name), ratios in self.parts.items():
            lines.append(f"{load:12} {name:28} {statistics.median(ratios) - 1:+.1%}")
        for load, waits in self.waits.items():
            shares = ", ".join(f"{event} {share:.0%}" for event, share in waits.items())
            lines.append(f"{load:12} waits: {shares}")
        return "\n".join([*lines, *(f"FAULT  {fault}" for fault in self.faults)])


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    with ExitStack() as stack:
        stack.enter_context(machine.alone())
        checkouts = {"now": CHECKOUT}
        if options.base:
            checkouts["base"] = stack.enter_context(checked_out(options.base))
        running = stack.enter_context(servers.running(machine.VAR))
        session = Session(dict(_sites(checkouts, running)), options)
        session.run()
    print(f"\n{session.report()}")
    return 1 if session.faults else 0


def _sites(checkouts: Mapping[str, Path], running: Servers) -> Iterable[tuple[str, Site]]:
    for name, checkout in checkouts.items():
        contender = holdfast(checkout, name)
        programs = Path(sys.executable).parent
        yield name, Site(contender, running, programs, database=name, checkout=checkout).build()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bench.scale.writers", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("--base", metavar="REV", help="a revision to compare with, such as HEAD~10")
    parser.add_argument("--base-threads", type=int, default=BASE_THREADS)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=2.0, help="of each run")
    parser.add_argument("--writers", type=_numbers, default=WRITERS, metavar="1,2,…",
                        help="how many at once")  # fmt: skip
    return parser


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(sorted(int(number) for number in text.split(",")))


if __name__ == "__main__":
    sys.exit(main())
