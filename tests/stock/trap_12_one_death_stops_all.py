"""One worker process that dies stops all the others."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from deploy.local.processes import is_running
from tests.stock.rig import Facts, Rig

PROCESSES = 3


def reproduce(rig: Rig) -> Facts:
    command = [sys.executable, "-m", "dramatiq", "tests.stock.trap_12_app:broker"]
    parent = subprocess.Popen(
        [*command, "--processes", str(PROCESSES), "--threads", "1"],
        env={**os.environ, "RABBITMQ_URL": rig.rabbitmq.url, "QUEUE": rig.queue},
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        workers = _ready_workers(parent)
        os.kill(workers[0], signal.SIGKILL)
        began = time.monotonic()
        code = parent.wait(30)
    finally:
        parent.kill()
    return {
        "worker processes": PROCESSES,
        "killed": 1,
        "left after a while": sum(map(is_running, workers)),
        "seconds until the command ended": round(time.monotonic() - began),
        "its exit code": code,
    }


def _ready_workers(parent: subprocess.Popen[str]) -> list[int]:
    """The pids of the workers, once each says that it is ready."""
    assert parent.stderr is not None
    ready: list[int] = []
    while len(ready) < PROCESSES:
        line = parent.stderr.readline()
        assert line, "the command has ended"
        if "is ready for action" in line:
            ready.append(int(line.partition("[PID ")[2].partition("]")[0]))
    assert all(Path(f"/proc/{pid}").exists() for pid in ready)
    return ready
