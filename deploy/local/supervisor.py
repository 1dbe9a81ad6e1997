"""Keep programs running, and stop them in order.

Why not supervisord, which is the well-kept library for this: it doesn't end what a dead leader
leaves behind (`stopasgroup` and `killasgroup` act only on a stop it was asked for), gives up after
`startretries` with a pause that grows without bound, and its programs outlive a `kill -9` of it.
Each would need a guard of ours around every program, and ordered starting its RPC on one more port.
"""

import asyncio
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable

from deploy.local import processes
from deploy.local.processes import Program

# People notice a second; a loop of crashes must not fill the log or the processor.
PAUSE_SECONDS_MIN = 0.5
PAUSE_SECONDS_MAX = 15.0
# Who lived this long is healthy: the next death starts again with the shortest pause.
HEALTHY_SECONDS = 20.0


class Supervisor:
    """Starts a program again whenever it dies, after a pause that doubles up to a limit."""

    def __init__(self, report: Callable[[str], None]) -> None:
        self.deaths: Counter[str] = Counter()
        self._report = report
        self._running: dict[str, tuple[Program, subprocess.Popen[bytes]]] = {}
        self._keepers: dict[str, asyncio.Task[None]] = {}

    def start(self, program: Program) -> None:
        """Start `program` and keep it running until stop()."""
        self._keepers[program.name] = asyncio.create_task(self._keep(program))

    async def stop(self, seconds_max: float) -> None:
        """Stop everything, the last started first: who depends on another goes before it."""
        deadline = time.monotonic() + seconds_max
        names = list(reversed(self._keepers))
        for keeper in self._keepers.values():
            keeper.cancel()
        await asyncio.gather(*self._keepers.values(), return_exceptions=True)
        programs = [self._running[name] for name in names if name in self._running]
        for position, (program, process) in enumerate(programs):
            # Time that the earlier ones left unused is there for the later ones.
            reserved = sum(later.stop_seconds_max for later, _ in programs[position + 1 :])
            spare = deadline - time.monotonic() - reserved
            seconds = max(program.stop_seconds_max, spare)
            await asyncio.to_thread(processes.end, process, program, seconds)
        self._running.clear()
        self._keepers.clear()

    async def _keep(self, program: Program) -> None:
        pause = PAUSE_SECONDS_MIN
        while True:
            began = time.monotonic()
            process = processes.start(program)
            self._running[program.name] = (program, process)
            status = await ended(process)
            processes.kill_group(process)
            self.deaths[program.name] += 1
            if time.monotonic() - began > HEALTHY_SECONDS:
                pause = PAUSE_SECONDS_MIN
            self._report(f"{program.name} {in_words(status)}; starting it again in {pause:g} s")
            await asyncio.sleep(pause)
            pause = min(pause * 2, PAUSE_SECONDS_MAX)


async def ended(process: subprocess.Popen[bytes]) -> int:
    """The exit status of `process`, once it has one."""
    # A thread that waits for each would use up the threads that the rest of the loop needs.
    while (status := process.poll()) is None:  # noqa: ASYNC110
        await asyncio.sleep(0.1)
    return status


def in_words(status: int) -> str:
    """How a process ended."""
    if status < 0:
        return f"was killed by {signal.Signals(-status).name}"
    return f"ended with status {status}"
