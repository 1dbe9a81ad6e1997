"""Processes that die, hang or are restarted, at exact moments."""

import contextlib
import os
import signal
from functools import partial
from pathlib import Path

from tests.torture.failpoints import LANE
from tests.torture.faults.scene import FAULTS, Fault, Scene, consumers, fault
from tests.torture.rig import (
    WEB_PROCESSES,
    WORKERS,
    Keeper,
    locked_stock,
)


def killed_at(moment: str) -> Fault:
    def run(scene: Scene) -> str:
        fired = len(scene.rig.failpoints.fired(moment))
        scene.rig.failpoints.arm(moment)
        try:
            scene.fires(lambda: len(scene.rig.failpoints.fired(moment)) > fired, moment)
        finally:
            scene.rig.failpoints.disarm(moment)
        return ""

    return run


def _killed_while_retrying(moment: str) -> Fault:
    at = killed_at(moment)

    def run(scene: Scene) -> str:
        # Whoever wants stock runs into a time-out, and is tried again later.
        with locked_stock(scene.rig):
            return at(scene)

    return run


for _moment in ("before-begin", "after-claim", "before-commit", "after-commit"):
    FAULTS[f"kill-worker-{_moment}"] = killed_at(_moment)
for _moment in ("publish-retry", "delayed-moved"):
    FAULTS[f"kill-worker-{_moment}"] = _killed_while_retrying(_moment)
for _moment in ("before-publish", "before-confirm", "before-answer"):
    FAULTS[f"kill-web-{_moment}"] = killed_at(_moment)


@fault("kill-worker-in-a-lane")
def kill_worker_in_a_lane(scene: Scene) -> str:
    """Whoever has the changes of SKUs, or the moves, dies; another one takes them in turn."""
    moment = scene.random.choice(("before-begin", "before-commit", "after-commit"))
    killed_at(f"{LANE}{moment}")(scene)
    return moment


@fault("stop-worker")
def stop_worker(scene: Scene) -> str:
    """A worker hangs in a transaction until RabbitMQ has given its messages away, then goes on."""
    points = scene.rig.failpoints
    moment = scene.random.choice(("before-commit", f"{LANE}before-commit"))
    before = len(points.fired(moment))
    points.arm(moment, "stop")
    try:
        scene.fires(lambda: len(points.fired(moment)) > before, moment)
        scene.fires(
            lambda: 0 <= consumers(scene.rig) < len(WORKERS), "RabbitMQ gives its messages away"
        )
    finally:
        points.disarm(moment)
        for pid in points.fired(moment)[before:]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
    return moment


@fault("rolling-restart-workers")
def rolling_restart_workers(scene: Scene) -> str:
    for _ in range(scene.series):
        for name in WORKERS:
            keeper = scene.rig.keepers[name]
            starts = keeper.starts
            keeper.send(signal.SIGTERM)
            scene.fires(partial(_started_again, keeper, starts), f"{name} comes again")
    return f"{scene.series} times"


@fault("rolling-restart-web")
def rolling_restart_web(scene: Scene) -> str:
    for _ in range(scene.series):
        log = scene.rig.log("web")
        before = log.read_bytes().count(b"Connected to RabbitMQ")
        scene.rig.keepers["web"].send(signal.SIGHUP)
        scene.fires(partial(_connected, log, before + WEB_PROCESSES), "new web processes")
    return f"{scene.series} times"


def _started_again(keeper: Keeper, starts: int) -> bool:
    return keeper.starts > starts


def _connected(log: Path, times: int) -> bool:
    return log.read_bytes().count(b"Connected to RabbitMQ") >= times
