"""Processes that end when they should: in order, by force, or because we died."""

import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from deploy.local import ports, processes
from deploy.local.errors import CannotRunError
from deploy.local.processes import Program

ROOT = Path(__file__).resolve().parents[2]
PATH = os.environ["PATH"]


def program(folder: Path, script: str, **options: float) -> Program:
    return Program(
        name="test",
        argv=["/bin/sh", "-c", script],
        log=folder / "log",
        owner=folder,
        environment={"PATH": PATH},
        stop_seconds_max=options.get("stop_seconds_max", 5.0),
    )


def pids_in(log: Path, count: int) -> list[int]:
    assert processes.wait_until(lambda: len(log.read_text().split()) >= count, 60)
    return [int(word) for word in log.read_text().split()]


def gone(pids: list[int]) -> bool:
    return processes.wait_until(lambda: not any(map(processes.is_running, pids)), 60)


def test_a_program_that_ignores_the_request_is_killed_with_its_children(tmp_path: Path) -> None:
    script = "trap '' TERM; sleep 60 & echo $$ $!; wait"
    stubborn = program(tmp_path, script, stop_seconds_max=0.2)
    process = processes.start(stubborn)
    pids = pids_in(tmp_path / "log", 2)

    processes.end(process, stubborn)

    assert gone(pids)


def test_what_a_killed_leader_leaves_behind_is_taken(tmp_path: Path) -> None:
    process = processes.start(program(tmp_path, "sleep 60 & echo $$ $!; wait"))
    leader, child = pids_in(tmp_path / "log", 2)
    os.kill(leader, signal.SIGKILL)
    process.wait()
    assert processes.is_running(child)

    processes.kill_group(process)

    assert gone([child])


def test_a_program_outlives_the_thread_that_started_it(tmp_path: Path) -> None:
    started: list[subprocess.Popen[bytes]] = []
    sleeper = program(tmp_path, "exec sleep 60")
    thread = threading.Thread(target=lambda: started.append(processes.start(sleeper)))
    thread.start()
    thread.join()

    with pytest.raises(subprocess.TimeoutExpired):
        started[0].wait(0.3)

    processes.end(started[0], sleeper)


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's death signal is Linux's")
def test_nothing_outlives_our_own_kill(tmp_path: Path) -> None:
    log = tmp_path / "log"
    script = f"""
from pathlib import Path
from deploy.local import ports, processes
folder = Path({str(tmp_path)!r})
argv = ["/bin/sh", "-c", "echo $$; exec sleep 60"]
path = {{"PATH": {PATH!r}}}
processes.start(processes.Program("test", argv, folder / "log", folder, environment=path))
import os, signal, time
while not (folder / "log").read_text():
    time.sleep(0.01)
os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=False)
    assert done.returncode == -signal.SIGKILL
    assert gone(pids_in(log, 1))


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_leftovers_are_told_from_the_processes_of_others(tmp_path: Path) -> None:
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    started = [processes.start(program(folder, "exec sleep 60")) for folder in (ours, theirs)]

    assert processes.wait_until(lambda: processes.leftovers(ours) == [started[0].pid], 60)
    assert processes.end_leftovers(ours) == 1

    assert started[0].wait(60) == -signal.SIGTERM
    assert started[1].poll() is None
    processes.kill_group(started[1])


def test_a_port_that_somebody_listens_on_is_not_free() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert not ports.is_free(port)
        assert not ports.is_free(port, "0.0.0.0")
    assert ports.is_free(port)


def test_free_ports_lie_below_those_of_outgoing_connections() -> None:
    chosen = ports.free_ports(20)
    assert len(set(chosen)) == 20
    assert set(chosen) <= set(ports.PORTS)


def test_free_ports_are_of_those_that_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    # Which the other tests, who choose at the same time, never do.
    monkeypatch.setenv(ports.PORTS_VARIABLE, "32000-32009")

    assert {*ports.free_ports(5), *ports.free_ports(5)} == set(range(32_000, 32_010))
    with pytest.raises(CannotRunError, match="not 1 free ports from 32000 to 32009"):
        ports.free_ports(1)


@pytest.mark.parametrize("given", ["20000", "20000-", "30000-20000", "a-b"])
def test_what_is_no_range_of_ports_is_said(given: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ports.PORTS_VARIABLE, given)
    with pytest.raises(CannotRunError, match="PRIVATE_PORTS is"):
        ports.free_ports(1)


def test_a_log_that_grew_too_long_makes_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "LOG_BYTES_MAX", 10)
    log = tmp_path / "web.log"
    log.write_text("more than ten bytes")

    processes.rotate(log)

    assert not log.exists()
    assert (tmp_path / "web.log.1").read_text() == "more than ten bytes"
