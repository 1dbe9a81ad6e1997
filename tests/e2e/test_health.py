"""Health as a platform asks for it, of real processes; and that who can't work goes."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import Popen
from typing import Any

import httpx
import pytest

from actors.commands import QUEUES
from deploy.local import ports, processes
from deploy.local.postgres import children
from deploy.local.processes import Program
from deploy.local.server import NAME
from deploy.local.servers import Postgres, RabbitMQ
from tests.conftest import CHECKOUT, ROOT, System, eventually

#: As in actors/watch.py; it is not for a test to load the broker.
EXIT_STATUS = os.EX_SOFTWARE


class Group:
    """A group of worker processes, and what is said of its health.

    alone: in a temporary folder of its own, where no other group leaves anything.
    """

    def __init__(self, system: System, alone: Path, **settings: str) -> None:
        (self.port,) = ports.free_ports(1)
        self.environment = {
            **system.environment,
            "WORKER_METRICS_PORT": str(self.port),
            "REPORT_EVERY_S": "0.3",
            "TMPDIR": str(alone),
            **settings,
        }
        self.program = Program(
            name="mortal",
            argv=[sys.executable, "-m", "tests.e2e.mortal_worker", "--processes", "2",
                  "--threads", "2"],
            log=ROOT / "log" / f"mortal-{self.port}.log",
            owner=ROOT,
            cwd=CHECKOUT,
            environment=self.environment,
            stop_seconds_max=20,
        )  # fmt: skip
        self.process: Popen[bytes] = processes.start(self.program)

    def healthz(self) -> tuple[int, dict[str, Any]]:
        """(status, what is said); (0, nothing) while nobody answers."""
        try:
            answer = httpx.get(f"http://127.0.0.1:{self.port}/healthz", timeout=20)
        except httpx.TransportError:
            return 0, {}
        return answer.status_code, answer.json()

    def status(self) -> str:
        return str(self.healthz()[1].get("status"))

    def command(self, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "holdfast", "health", *arguments],
            cwd=CHECKOUT, env={**self.environment, **settings}, check=False, capture_output=True,
            text=True,
        )  # fmt: skip

    def workers(self) -> list[int]:
        return [one["pid"] for one in self.healthz()[1].get("processes", [])]

    def is_up(self) -> bool:
        return self.healthz()[0] == 200 and len(self.workers()) == 2 and self.status() == "ok"

    def log(self) -> str:
        return self.program.log.read_text()


@pytest.fixture
def start_group(system: System, tmp_path: Path) -> Iterator[Callable[..., Group]]:
    groups: list[Group] = []

    def start(of: System = system, **settings: str) -> Group:
        groups.append(Group(of, tmp_path, **settings))
        eventually(groups[-1].is_up, what=f"up; see {groups[-1].program.log}")
        return groups[-1]

    yield start
    for group in groups:
        processes.kill_group(group.process)


def test_workers_that_work_are_said_to_until_they_stop(start_group: Callable[..., Group]) -> None:
    group = start_group()

    status, said = group.healthz()

    assert (status, said["status"], said["ready"], said["reasons"]) == (200, "ok", True, [])
    for one in said["processes"]:
        assert one["threads"] == one["threads_alive"] == 2
        # Of each queue and its delayed messages.
        assert one["consumers"] == 2 * len(QUEUES)
        assert one["database_s"] < 10
    told = group.command("worker")
    assert (told.returncode, told.stdout) == (0, "worker: ok\n")
    as_json = json.loads(group.command("worker", "--json").stdout)
    assert as_json["status"] == "ok"
    assert {one["pid"] for one in as_json["processes"]} == set(group.workers())

    # Who asks for another deployment on this machine is told nothing of these.
    elsewhere = group.command("worker", DATABASE_URL=f"{group.environment['DATABASE_URL']}_2")
    assert (elsewhere.returncode, "no worker process" in elsewhere.stdout) == (1, True)

    processes.end(group.process, group.program)

    assert group.process.returncode == 0
    told = group.command("worker")
    assert (told.returncode, told.stdout) == (1, "worker: unhealthy: there is no worker process\n")


def test_without_a_metrics_port_it_is_said_what_to_set(
    system: System, start_group: Callable[..., Group]
) -> None:
    group = start_group()
    for kind in ("worker", "clock"):
        name = f"{kind.upper()}_METRICS_PORT"
        told = group.command(kind, **{name: "0"})
        assert told.returncode == 1
        assert name in told.stderr


@pytest.mark.parametrize(
    ("number", "word"), [(signal.SIGUSR1, "1 of 2 worker threads died"),
                         (signal.SIGUSR2, "the thread that consumes")],
)  # fmt: skip
def test_a_worker_whose_thread_dies_ends_with_all_its_group_and_says_why(
    start_group: Callable[..., Group], number: signal.Signals, word: str
) -> None:
    group = start_group()

    os.kill(group.workers()[0], number)

    assert group.process.wait(60) == EXIT_STATUS
    said = [line for line in group.log().splitlines() if "can't work" in line]
    assert len(said) == 1
    assert word in said[0]


def test_when_the_process_that_serves_metrics_is_killed_a_worker_takes_over(
    start_group: Callable[..., Group],
) -> None:
    group = start_group()
    workers = set(group.workers())
    (server,) = set(children(group.process.pid)) - workers

    os.kill(server, signal.SIGKILL)

    # Its port is closed with it, so that who answers now is another.
    eventually(group.is_up, what="served again")
    assert set(group.workers()) == workers
    processes.end(group.process, group.program)
    assert not list(Path(group.environment["TMPDIR"]).glob("holdfast-worker-*"))


def test_a_worker_that_is_halted_is_unhealthy_and_well_again_when_it_goes_on(
    start_group: Callable[..., Group],
) -> None:
    group = start_group()
    victim = group.workers()[0]
    os.kill(victim, signal.SIGSTOP)
    try:
        eventually(lambda: group.healthz()[0] == 503, what="unhealthy")
        assert "it said nothing" in group.command("worker").stdout
    finally:
        os.kill(victim, signal.SIGCONT)

    eventually(group.is_up, what="well again")
    assert group.process.poll() is None


@pytest.fixture
def own_rabbitmq(tmp_path: Path) -> Iterator[RabbitMQ]:
    with RabbitMQ(tmp_path) as server:
        yield server


def test_an_outage_is_sat_out_but_who_alone_is_refused_ends(
    postgres: Postgres, own_rabbitmq: RabbitMQ, start_group: Callable[..., Group]
) -> None:
    # Given workers that may have no consumer for three seconds, and try every half
    system = System(postgres, own_rabbitmq, "ailing")
    system.run("migrate")
    group = start_group(system, MISSING_S_MAX="3", dramatiq_restart_delay="500")

    # When RabbitMQ is away for longer than that
    own_rabbitmq.kill()
    tries = 2 * 10 * 8
    eventually(lambda: group.log().count("Restarting consumer") > tries)

    # Then they wait for it, say so, and are no reason for a restart
    told = group.command("worker")
    assert (told.returncode, told.stdout.split(": ")[1]) == (0, "degraded")
    assert "no consumer on" in told.stdout
    assert "holdfast.orders" in told.stdout
    status, said = group.healthz()
    assert (status, said["ready"]) == (200, False)

    # And when it is back, so are they, the same ones
    own_rabbitmq.start()
    eventually(group.is_up, what="well again")
    assert group.process.poll() is None

    # When RabbitMQ takes their connections but lets them consume nothing
    own_rabbitmq.ctl("set_permissions", "--vhost", "ailing", NAME, ".*", ".*", "^$")
    own_rabbitmq.ctl("close_all_connections", "--vhost", "ailing", "a test")

    # Then to wait longer is of no use
    assert group.process.wait(60) == EXIT_STATUS
    assert "though RabbitMQ takes connections" in group.log()
