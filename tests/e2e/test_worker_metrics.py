"""What Prometheus reads of real workers and of the clock, on their own ports."""

import json
import os
import sys
from collections.abc import Iterator
from subprocess import Popen

import httpx
import pytest

from actors.commands import ROUTES
from deploy.local import ports, processes
from deploy.local.processes import Program
from tests.conftest import CHECKOUT, ROOT, TEMPORARY, System, eventually
from tests.e2e.shop import Shop
from tests.scraping import Samples, samples

ORDERS = {"queue_name": "holdfast.orders", "actor_name": "place_orders"}


def scrape(port: int) -> Samples:
    """What Prometheus reads; nothing while nobody answers."""
    try:
        answer = httpx.get(f"http://127.0.0.1:{port}/metrics")
    except httpx.TransportError:
        return {}
    return samples(answer.text)


def read(port: int, name: str, **labels: str) -> float:
    return scrape(port).get((name, frozenset(labels.items())), 0.0)


def test_a_workers_metrics_count_what_it_decided(system: System, shop: Shop) -> None:
    port = system.metrics_ports["worker"]
    refused = {"actor": "place_orders", "outcome": "rejected"}
    before = read(port, "holdfast_commands_decided_total", **refused)
    sku = shop.product(1)
    shop.confirmed((sku, 1))
    shop.place((sku, 1))

    eventually(lambda: read(port, "holdfast_commands_decided_total", **refused) > before)

    found = scrape(port)
    messages = found["dramatiq_messages_total", frozenset(ORDERS.items())]
    assert messages >= 2
    durations = found["dramatiq_message_duration_milliseconds_count", frozenset(ORDERS.items())]
    assert durations == messages
    assert found["holdfast_decision_seconds_count", frozenset({("actor", "place_orders")})] >= 2
    assert found["holdfast_worker_processes", frozenset()] == 1
    assert found["holdfast_worker_threads", frozenset()] == 8
    assert found["holdfast_worker_resident_memory_bytes", frozenset()] > 1_000_000


@pytest.fixture
def group(system: System) -> Iterator[tuple[Popen[bytes], Program, int]]:
    """Two more worker processes beside the system's own, and the port of their metrics."""
    (port,) = ports.free_ports(1)
    program = Program(
        name="two-workers",
        argv=[sys.executable, "-m", "actors", "--processes", "2", "--threads", "1"],
        log=ROOT / "log" / "two-workers.log",
        owner=ROOT,
        cwd=CHECKOUT,
        environment={**system.environment, "WORKER_METRICS_PORT": str(port)},
        stop_seconds_max=20,
    )
    process = processes.start(program)
    yield process, program, port
    processes.end(process, program)


def test_processes_of_a_group_share_a_port_and_leave_nothing_behind(
    system: System, group: tuple[Popen[bytes], Program, int]
) -> None:
    process, program, port = group
    eventually(lambda: read(port, "holdfast_worker_processes") == 2)
    assert read(port, "holdfast_worker_threads") == 2
    (folder,) = TEMPORARY.glob(f"holdfast-worker-{os.getuid()}-{process.pid}-*")
    pids = {json.loads(file.read_bytes())["pid"] for file in folder.glob("*.json")}
    assert {pid for (pid,) in system.sql("SELECT pid FROM workers")} >= pids

    processes.end(process, program)

    assert not folder.exists()
    left = {pid for (pid,) in system.sql("SELECT pid FROM workers")}
    assert not left & pids


@pytest.fixture
def clock(system: System) -> Iterator[tuple[Popen[bytes], Program]]:
    """The clock of the system, which the other tests do without."""
    program = Program(
        name="a-clock",
        argv=[sys.executable, "-m", "holdfast", "clock"],
        log=ROOT / "log" / "a-clock.log",
        owner=ROOT,
        cwd=CHECKOUT,
        environment=system.environment,
    )
    process = processes.start(program)
    yield process, program
    processes.end(process, program)


def test_the_clock_tells_of_the_queues_and_the_workers_and_stops_in_order(
    system: System, shop: Shop, clock: tuple[Popen[bytes], Program]
) -> None:
    process, program = clock
    port = system.metrics_ports["clock"]
    # A worker that another test has killed counts for 15 s more, and is looked for every 10 s.
    eventually(lambda: read(port, "holdfast_workers") == 1, what="one worker")

    for route in ROUTES.values():
        consumers = read(port, "holdfast_queue_consumers", queue_name=route.queue)
        assert consumers == 1
    assert system.sql("SELECT count(*) > 0 FROM queue_stats") == [(True,)]

    processes.end(process, program)
    assert process.returncode == 0
