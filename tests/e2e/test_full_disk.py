"""A temporary folder that is full costs metrics, and never an order."""

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest

from deploy.local.servers import Postgres, RabbitMQ
from tests.conftest import System, eventually
from tests.e2e.shop import Shop
from tests.scraping import samples

#: Room for the metrics of one web process and one worker, and for some more.
SIZE = "512k"
ACCEPTED = "holdfast_commands_accepted_total"


class Running(NamedTuple):
    """A system whose temporary folder is a small disk of its own, with a product to sell."""

    system: System
    disk: Path
    shop: Shop
    sku: str


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("disk")
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", folder],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if mounted.returncode:
        why = f"only root may mount a disk: {mounted.stderr.strip()}"
        # Where nobody reads what was skipped, it would go unshown.
        (pytest.fail if os.environ.get("CI") else pytest.skip)(why)
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


@pytest.fixture(scope="module")
def running(postgres: Postgres, rabbitmq: RabbitMQ, disk: Path) -> Iterator[Running]:
    system = System(postgres, rabbitmq, "full_disk", TMPDIR=str(disk))
    system.prepare()
    system.start()
    try:
        with system.client() as client:
            shop = Shop(client)
            running = Running(system, disk, shop, shop.product(9))
            eventually(lambda: accepted(system) == 2)
            yield running
    finally:
        system.discard()


@contextmanager
def full(disk: Path) -> Iterator[Callable[[], None]]:
    """Gives what fills it again: a file that was just being replaced leaves room for the next."""
    fill(disk)
    try:
        yield lambda: fill(disk)
    finally:
        (disk / "filler").unlink()


def fill(disk: Path) -> None:
    """Leave no room."""
    with (disk / "filler").open("ab", buffering=0) as filler:
        for size in (4096, 1):
            try:
                while True:
                    filler.write(bytes(size))
            except OSError:
                continue


def accepted(system: System) -> float:
    """Commands, as the front door's metrics have it."""
    answer = httpx.get(f"http://127.0.0.1:{system.metrics_ports['web']}/metrics")
    found = samples(answer.text)
    return sum(value for (name, _), value in found.items() if name == ACCEPTED)


def health(system: System) -> tuple[int, str]:
    answer = httpx.get(f"http://127.0.0.1:{system.metrics_ports['worker']}/healthz")
    return answer.status_code, answer.text


def processes_of_web(system: System) -> list[int]:
    """The front door's processes, by their numbers."""
    _, master = system._running["web"]
    children = Path(f"/proc/{master.pid}/task/{master.pid}/children").read_text().split()
    return [master.pid, *map(int, children)]


def test_nobody_dies_and_the_worker_says_why_it_says_no_more(running: Running) -> None:
    system, _, shop, sku = running
    before = processes_of_web(system)

    with full(running.disk) as fill_again:
        # When values come that need more room
        for path in (
            "orders", "orders/1", "inventory", f"inventory/{sku}/movements", "commands/1",
        ):  # fmt: skip
            shop.client.get(f"/v1/{path}")
        shop.confirmed((sku, 1))

        # Then the worker is left alone, too
        assert processes_of_web(system) == before
        eventually(
            lambda: fill_again() or "can't write its figures" in health(system)[1],
            what="a note in health",
        )
        assert health(system)[0] == 200
        assert "degraded" in system.run("health", "worker")

    eventually(lambda: "can't write its figures" not in health(system)[1])


def test_a_process_that_starts_meanwhile_takes_orders_and_has_metrics_later(
    running: Running,
) -> None:
    system, _, shop, sku = running
    before = processes_of_web(system)

    with full(running.disk) as fill_again:
        os.kill(before[1], signal.SIGKILL)
        fill_again()
        eventually(lambda: len(now := processes_of_web(system)) == 2 and now != before)
        eventually(system.is_ready)
        shop.confirmed((sku, 1))
        warning = "No metrics of this process for now: [Errno 28]"
        eventually(lambda: warning in system.log("web").read_text())

    confirmed = accepted(system)
    shop.confirmed((sku, 1))
    eventually(lambda: accepted(system) > confirmed)
