"""The machine: what the bench needs on it, and how to name it beside a figure."""

import os
import platform
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

from deploy.local import venv
from deploy.local.install import NotInstalledError, apt_get_install

CHECKOUT = Path(__file__).resolve().parents[1]
VAR = CHECKOUT / "var" / "bench"
PEERS_LOCK = Path(__file__).parent / "requirements.txt"
PROGRAMS = {"wrk": "wrk", "pgbench": "postgresql"}


def ensure_programs() -> None:
    """Make sure of the load generators; raises NotInstalledError that says what to install."""
    missing = [name for name in PROGRAMS if not shutil.which(name)]
    if not missing:
        return
    packages = [PROGRAMS[name] for name in missing]
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise NotInstalledError(
            f"The bench needs {' and '.join(missing)}. On Debian or Ubuntu: "
            f"sudo apt-get install {' '.join(packages)}"
        )
    apt_get_install(packages)


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
