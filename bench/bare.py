"""Bare PostgreSQL: pgbench, one transaction per order in Holdfast's own tables, nothing else on."""

import re
import subprocess
from pathlib import Path

from bench.books import Books, differences
from bench.counted import Run
from bench.resources import Meter
from bench.servers import connected
from bench.system import Site
from deploy.local.errors import CannotRunError

SCRIPT = Path(__file__).parent / "pgbench" / "order.sql"
PROCESSED = re.compile(r"transactions actually processed: (\d+)")
RATE = re.compile(r"tps = ([\d.]+) \(without initial connection time\)")


class PgbenchError(CannotRunError):
    """pgbench failed; the message is what it said."""


def run(site: Site, clients: int, seconds: float, *, hot: bool) -> Run:
    """One run in the tables of `site`, whose processes don't run."""
    with connected(site.database_url) as database:
        books = Books(database)
        before = books.counts()
        meter = Meter(site.servers.components())
        output = _pgbench(site.database_url, clients, seconds, hot=hot)
        cpu, memory = meter.cpu_seconds(), meter.memory()
        processed = int(_found(PROCESSED, output))
        return Run(
            orders_per_s=float(_found(RATE, output)),
            accepted=processed,
            seconds=seconds,
            drain_seconds=0.0,
            accepted_p50_ms=0.0,
            accepted_p99_ms=0.0,
            cpu={name: used / processed * 1000 for name, used in cpu.items()},
            memory=memory,
            faults=differences(before, books.counts(), processed) + books.faults(),
        )


def _pgbench(url: str, clients: int, seconds: float, *, hot: bool) -> str:
    command = [
        "pgbench", "--no-vacuum", "--protocol", "prepared", "--client", str(clients),
        "--jobs", "1", "--time", f"{seconds:.0f}", "--define", f"first_max={1 if hot else 1000}",
        "--file", str(SCRIPT), url,
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise PgbenchError(done.stderr)
    return done.stdout


def _found(pattern: re.Pattern[str], text: str) -> str:
    match = pattern.search(text)
    if not match:
        raise PgbenchError(text)
    return match[1]
