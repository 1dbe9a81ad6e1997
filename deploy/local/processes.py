"""Start a program so that it can't outlive us, and end it with all it started.

Every program leads a process group of its own: a Ctrl-C at the terminal reaches only us, who stop
things in order, and `end()` can take what the program left behind when it died. On Linux it also
asks the kernel for a signal at our death, so that even a `kill -9` of ours leaves nothing.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

# Marks every process in /proc/<pid>/environ with what it belongs to; see leftovers().
OWNER_VARIABLE = "HOLDFAST_OWNER"
LOG_BYTES_MAX = 20 * 1024 * 1024

# The kernel sends its signal at the death of the *thread* that started the process, and a test may
# start a server from a short-lived one: so one thread, which lives as long as we do, starts all.
_starter = ThreadPoolExecutor(max_workers=1, thread_name_prefix="starter")


@dataclass(frozen=True)
class Program:
    """How to run one program. `environment` is the whole of it; nothing is inherited."""

    name: str
    argv: Sequence[str]
    log: Path
    owner: Path
    cwd: Path = Path("/")
    environment: Mapping[str, str] = field(default_factory=dict)
    user: str | None = None
    stop_signal: signal.Signals = signal.SIGTERM
    stop_seconds_max: float = 5.0
    # A folder opened before the switch to `user` and handed over as descriptor 9.
    folder: Path | None = None


def start(program: Program) -> subprocess.Popen[bytes]:
    """Start `program`, output appended to its log."""
    program.log.parent.mkdir(parents=True, exist_ok=True)
    rotate(program.log)
    with program.log.open("ab") as log:
        return _starter.submit(
            subprocess.Popen,
            command(program),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=program.cwd,
            env={**program.environment, OWNER_VARIABLE: str(program.owner)},
            start_new_session=True,
        ).result()


def command(program: Program) -> list[str]:
    """The argv that drops privileges and asks for the death signal, then becomes the program."""
    argv = list(program.argv)
    setpriv = shutil.which("setpriv")
    if setpriv:
        options = [f"--pdeathsig={program.stop_signal.name.removeprefix('SIG')}"]
        if program.user:
            options += [f"--reuid={program.user}", f"--regid={program.user}", "--clear-groups"]
        argv = [setpriv, *options, *argv]
    elif program.user:
        raise RuntimeError("running a server as another user needs `setpriv` of util-linux")
    if program.folder:
        argv = ["/bin/sh", "-c", 'exec 9<"$0" && exec "$@"', str(program.folder), *argv]
    return argv


def end(
    process: subprocess.Popen[bytes], program: Program, seconds_max: float | None = None
) -> None:
    """Stop `process` in order, within the time it has; then by force, with what it left behind."""
    if process.poll() is None:
        process.send_signal(program.stop_signal)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(program.stop_seconds_max if seconds_max is None else seconds_max)
    kill_group(process)


def kill_group(process: subprocess.Popen[bytes]) -> None:
    """Kill the process and every member of its group that is left."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def is_running(pid: int) -> bool:
    """Whether the process exists and is more than a zombie."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in "ZX"


def rotate(log: Path) -> None:
    """Keep one older log, so that a long-lived checkout doesn't fill the disk."""
    if log.exists() and log.stat().st_size > LOG_BYTES_MAX:
        log.replace(log.with_suffix(".log.1"))


def wait_until(condition: Callable[[], bool], seconds_max: float, every: float = 0.05) -> bool:
    """Whether `condition` came true in time."""
    deadline = time.monotonic() + seconds_max
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(every)
    return True


def leftovers(owner: Path) -> list[int]:
    """Pids of processes that an earlier run for `owner` started and that are still alive."""
    marker = f"{OWNER_VARIABLE}={owner}".encode()
    found = []
    for environ in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):
            if marker in environ.read_bytes().split(b"\0"):
                found.append(int(environ.parent.name))
    return [pid for pid in found if pid != os.getpid()]


def end_leftovers(owner: Path, seconds_max: float = 5.0) -> int:
    """End what an earlier run left, by pid; returns how many there were."""
    found = leftovers(owner)
    for pid in found:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
    if not wait_until(lambda: not leftovers(owner), seconds_max):
        for pid in leftovers(owner):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    return len(found)
