"""The supervisor: what dies comes back, what stops stops in order."""

import asyncio
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from deploy.local import processes, supervisor
from deploy.local.processes import Program
from deploy.local.supervisor import Supervisor, in_words


def program(folder: Path, name: str, script: str) -> Program:
    return Program(
        name=name,
        argv=["/bin/sh", "-c", script],
        log=folder / f"{name}.log",
        owner=folder,
        environment={"PATH": os.environ["PATH"]},
        stop_seconds_max=1.0,
    )


async def eventually(condition: Callable[[], bool]) -> None:
    assert await asyncio.to_thread(processes.wait_until, condition, 60.0)


def pids_in(log: Path) -> list[int]:
    return [int(word) for word in log.read_text().split()] if log.exists() else []


def test_a_killed_program_comes_back_and_its_orphans_do_not_stay(tmp_path: Path) -> None:
    events: list[str] = []

    async def scenario() -> None:
        keeper = Supervisor(events.append)
        log = tmp_path / "worker.log"
        keeper.start(program(tmp_path, "worker", "sleep 60 & echo $$ $!; wait"))
        await eventually(lambda: len(pids_in(log)) == 2)
        leader, orphan = pids_in(log)

        os.kill(leader, signal.SIGKILL)

        await eventually(lambda: len(pids_in(log)) == 4)
        await eventually(lambda: not processes.is_running(orphan))
        await keeper.stop(10)
        await eventually(lambda: not any(map(processes.is_running, pids_in(log))))

    asyncio.run(scenario())
    assert events == ["worker was killed by SIGKILL; starting it again in 0.5 s"]


def test_the_last_started_stops_first(tmp_path: Path) -> None:
    order = tmp_path / "order"

    async def scenario() -> None:
        keeper = Supervisor(lambda _: None)
        for name in ("postgres", "rabbitmq", "web"):
            script = f"trap 'echo {name} >> {order}; exit' TERM; echo $$; sleep 60 & wait"
            keeper.start(program(tmp_path, name, script))
            log = tmp_path / f"{name}.log"
            await eventually(lambda log=log: bool(pids_in(log)))  # type: ignore[misc]
        await keeper.stop(10)

    asyncio.run(scenario())
    assert order.read_text().split() == ["web", "rabbitmq", "postgres"]


def test_a_loop_of_crashes_slows_down(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "PAUSE_SECONDS_MIN", 0.01)
    monkeypatch.setattr(supervisor, "PAUSE_SECONDS_MAX", 0.04)
    events: list[str] = []

    async def scenario() -> None:
        keeper = Supervisor(events.append)
        keeper.start(program(tmp_path, "web", "exit 3"))
        await eventually(lambda: keeper.deaths["web"] >= 5)
        await keeper.stop(10)

    asyncio.run(scenario())
    pauses = [event.rpartition(" in ")[2] for event in events[:5]]
    assert pauses == ["0.01 s", "0.02 s", "0.04 s", "0.04 s", "0.04 s"]
    assert events[0].startswith("web ended with status 3")


def test_how_a_process_ended_in_words() -> None:
    assert in_words(-signal.SIGSEGV) == "was killed by SIGSEGV"
    assert in_words(1) == "ended with status 1"
