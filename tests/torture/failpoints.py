"""Exact moments at which a process can be told to die, stop or fail.

The product has none of this: `saboteur.py` puts these moments around functions of the product, by
their names, in processes that only the rig starts. A failpoint is armed by a file, which the
process that gets there first takes away, so that each arming fires once; what fired is a file, too.
"""

import os
import signal
import time
from pathlib import Path
from typing import Final

FOLDER_VARIABLE: Final = "HOLDFAST_TORTURE_FAILPOINTS"

#: Moments in a worker's life, and what is at stake at each.
WORKER: Final = (
    "before-begin",
    "after-claim",
    "before-commit",
    "after-commit",
    "publish-retry",
    "delayed-moved",
)
#: The same in a worker's life as what takes the changes of SKUs, and the moves, in turn.
LANE: Final = "lane-"
#: And in a web process's.
WEB: Final = ("before-publish", "before-confirm", "before-answer")
MOVED: Final = "moved.log"
SIGNALS: Final = {"kill": signal.SIGKILL, "stop": signal.SIGSTOP}


class Failpoints:
    """The failpoints of a rig: arms them, and says which have fired."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def arm(self, name: str, action: str = "kill") -> None:
        """The next process that gets there is sent SIGKILL ("kill") or SIGSTOP ("stop")."""
        # Renamed into place: a process must not find it half written.
        draft = self.folder / f".{name}"
        draft.write_text(action)
        draft.replace(self.folder / name)

    def disarm(self, name: str) -> None:
        (self.folder / name).unlink(missing_ok=True)

    def moved(self) -> list[str]:
        """Every move of a delayed message so far, as `pid message-id due`."""
        log = self.folder / MOVED
        return log.read_text().splitlines() if log.exists() else []

    def fired(self, name: str) -> list[int]:
        """Pids of the processes that got there while it was armed, in order."""
        found = sorted(self.folder.glob(f"{name}.fired-*"), key=lambda path: path.name)
        return [int(path.name.rpartition("-")[2]) for path in found]


def note_moved(message_id: str, eta_ms: int) -> None:
    """Note that this process has moved a delayed message on, which it does once."""
    with Path(os.environ[FOLDER_VARIABLE], MOVED).open("a") as file:
        file.write(f"{os.getpid()} {message_id} {eta_ms}\n")


def reach(name: str) -> None:
    """Say that this process is at a failpoint: a system call, unless it is armed."""
    folder = os.environ[FOLDER_VARIABLE]
    claimed = f"{folder}/{name}.fired-{time.time_ns()}-{os.getpid()}"
    try:
        os.rename(f"{folder}/{name}", claimed)  # noqa: PTH104 - the cheapest call there is
    except FileNotFoundError:
        return
    os.kill(os.getpid(), SIGNALS[Path(claimed).read_text()])
