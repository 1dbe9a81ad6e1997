"""The machine: what the bench needs on it, and how to name it beside a figure."""

import fcntl
import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from deploy.local import processes, programs, venv
from deploy.local.errors import CannotRunError

CHECKOUT = Path(__file__).resolve().parents[1]
VAR = CHECKOUT / "var" / "bench"
PEERS_LOCK = Path(__file__).parent / "requirements.txt"
LOAD_GENERATORS = ("wrk", "pgbench")


@contextmanager
def alone() -> Iterator[None]:
    """Be the only bench of this checkout, with its load generators and nothing left of others.

    Raises CannotRunError.
    """
    programs.ensure_installed(LOAD_GENERATORS)
    VAR.mkdir(parents=True, exist_ok=True)
    with (VAR / "bench.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CannotRunError("A bench is already running in this checkout.") from None
        processes.end_leftovers(VAR)
        yield


def ensure_peers_environment() -> Path:
    """The peers' own virtual environment; returns the folder of its programs."""
    folder = VAR / "venv"
    folder.mkdir(parents=True, exist_ok=True)
    venv.ensure(folder, PEERS_LOCK)
    return folder / "bin"


def service_programs() -> Path:
    """The folder of the programs that Holdfast itself runs on: where our own Python lies."""
    return Path(sys.executable).parent


@cache
def description() -> dict[str, str]:
    """What a reader has to know of the machine."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "cores": str(os.cpu_count()),
        "processor": _processor(),
        "memory": f"{memory:.0f} GiB",
        "system": _system(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "revision": _revision(),
    }


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _system() -> str:
    for line in Path("/etc/os-release").read_text().splitlines():
        if line.startswith("PRETTY_NAME="):
            return line.partition("=")[2].strip('"')
    return platform.system()


def _revision() -> str:
    command = ["git", "-C", str(CHECKOUT), "rev-parse", "--short=12", "HEAD"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:
        return "unknown"
    return done.stdout.strip() if done.returncode == 0 else "unknown"
