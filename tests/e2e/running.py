"""A `make run` in a checkout of its own, seen from outside."""

import contextlib
import os
import re
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg2
import pytest

from config import env_file
from deploy.local import ports, processes
from deploy.local.demo import Client, sample_order

ROOT = Path(__file__).resolve().parents[2]
NOT_IN_A_CHECKOUT = (".git", ".venv", "var", ".env", "__pycache__", "*_cache", "node_modules")


@dataclass
class Running:
    """A `make run` in progress."""

    checkout: Path
    port: int
    make: subprocess.Popen[bytes]
    output: Path
    started: float

    @property
    def client(self) -> Client:
        key = env_file.read(self.checkout / ".env")["API_KEY"]
        return Client(f"http://127.0.0.1:{self.port}", key)

    @property
    def text(self) -> str:
        return self.output.read_text()

    def pids(self) -> list[int]:
        """All that it has started and that is alive."""
        return processes.leftovers(self.checkout / "var")

    def leader(self, word: str) -> int | None:
        """The supervised process whose command line has `word`."""
        supervisor = int((self.checkout / "var" / "run.lock").read_text())
        for pid in self.pids():
            with contextlib.suppress(OSError):
                parent = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
                line = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ")
                if parent == supervisor and word in line.decode():
                    return pid
        return None

    def wait_up(self) -> float:
        """Seconds from the start to the sample order's decision."""

        def settled() -> bool:
            return "Holdfast is running" in self.text or self.make.poll() is not None

        assert processes.wait_until(settled, 120), self.text
        assert self.make.poll() is None, self.text
        return time.monotonic() - self.started

    def stop(self, send: Callable[[], None]) -> float:
        """Seconds from the signal to the end of `make`."""
        began = time.monotonic()
        send()
        self.make.wait(100)
        return time.monotonic() - began

    def order(self) -> dict[str, Any]:
        return self.client.ask("POST", "/v1/orders", sample_order(), Prefer="wait=5").body

    def sql(self, statement: str, *params: object) -> list[tuple[Any, ...]]:
        """Rows of a statement on its database."""
        url = env_file.read(self.checkout / ".env")["DATABASE_URL"]
        with contextlib.closing(psycopg2.connect(url)) as connection:
            cursor = connection.cursor()
            cursor.execute(statement, params)
            return cursor.fetchall()

    def places_orders(self) -> bool:
        """Whether an order is accepted and decided."""
        with contextlib.suppress(OSError, ValueError):
            return self.order().get("status") == "confirmed"
        return False


def served_metrics(text: str) -> set[str]:
    """Whose metrics are where the text says."""
    found = re.findall(r"(\w+) (http://[^ ,\n]+/metrics)", text)
    return {name for name, address in found if _is_served(address)}


def _is_served(address: str) -> bool:
    try:
        return bool(urllib.request.urlopen(address, timeout=20).status == 200)
    except OSError:
        return False


@pytest.fixture
def checkout(tmp_path: Path) -> Iterator[Path]:
    copy = tmp_path / "my shop"
    shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(*NOT_IN_A_CHECKOUT))
    # As `mktemp -d` makes it: the user `postgres` can't even look into it.
    tmp_path.chmod(0o700)
    yield copy
    # Databases, too large to be kept for a look after every session.
    shutil.rmtree(copy)


@pytest.fixture
def make_run(checkout: Path) -> Iterator[Callable[..., Running]]:
    """Starts one with settings, named by their variables, over those of a newcomer."""
    port = ports.free_ports(1)[0]
    runs: list[Running] = []

    def start(**given: str) -> Running:
        output = checkout / f"output-{len(runs)}"
        settings = (
            "DATABASE_URL", "RABBITMQ_URL", "CLOUDAMQP_URL", "API_KEY", "SECRET_KEY",
            "METRICS_HOST", "WEB_METRICS_PORT", "WORKER_METRICS_PORT", "CLOCK_METRICS_PORT",
        )  # fmt: skip
        inherited = {name: value for name, value in os.environ.items() if name not in settings}
        with output.open("wb") as file:
            make = subprocess.Popen(
                ["make", "run"],
                cwd=checkout,
                env={**inherited, "VENV": sys.prefix, "PORT": str(port), **given},
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        runs.append(Running(checkout, port, make, output, time.monotonic()))
        return runs[-1]

    yield start
    for run in runs:
        if run.make.poll() is None:
            run.stop(run.make.terminate)
    processes.end_leftovers(checkout / "var")
