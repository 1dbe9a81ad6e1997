"""`python -m actors` whose threads die when told to: SIGUSR1 a worker thread, SIGUSR2 a consumer.

As trap 14 has it: of an error that no loop catches. And a consumer may be missing for so many
seconds only as MISSING_S_MAX says, so that a test need not wait for a minute.
"""

import ctypes
import os
import signal
import sys
import threading
from types import FrameType

from dramatiq.worker import ConsumerThread, WorkerThread

from actors import health
from actors.__main__ import main

VICTIMS = {signal.SIGUSR1: WorkerThread, signal.SIGUSR2: ConsumerThread}


def kill_one(number: int, _frame: FrameType | None) -> None:
    kind = VICTIMS[signal.Signals(number)]
    victim = next(thread for thread in threading.enumerate() if isinstance(thread, kind))
    ctypes.pythonapi.PyThreadState_SetAsyncExc(
        ctypes.c_ulong(victim.ident or 0), ctypes.py_object(SystemExit)
    )


if __name__ == "__main__":
    health.MISSING_S_MAX = float(os.environ.get("MISSING_S_MAX", health.MISSING_S_MAX))  # type: ignore[misc]
    # The workers are forks of this process and keep what it has set.
    for number in VICTIMS:
        signal.signal(number, kill_one)
    sys.exit(main())
