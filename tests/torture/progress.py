"""What a run says of itself while it runs: on a terminal a line that stays current."""

import sys
import threading
from typing import Final

from tests.torture.history import Event, History
from tests.torture.load import Load
from tests.torture.schedule import Planned
from tests.torture.watch import Watch

REFRESH_S: Final = 1.0
CLEAR: Final = "\r\x1b[K"


class Progress:
    """Prints a line for every fault; on a terminal also what is going on now."""

    def __init__(self, seed: int, for_s: float, load: Load, watch: Watch, history: History) -> None:
        self._seed = seed
        self._for_s = for_s
        self._load = load
        self._watch = watch
        self._history = history
        self._doing = "starting"
        self._live = sys.stdout.isatty()
        self._lock = threading.Lock()
        if self._live:
            threading.Thread(target=self._refresh, daemon=True).start()

    def say(self, doing: str) -> None:
        """What the run does now."""
        self._doing = doing

    def event(self, planned: Planned, event: Event) -> None:
        """A fault is over."""
        how = "fired" if event.fired else "DID NOT FIRE"
        recovered = (
            f"recovered in {event.recovered_s:.1f} s" if event.recovered_s is not None
            else "NOT RECOVERED"
        )  # fmt: skip
        lasted = event.healed_s - event.began_s
        line = (
            f"{event.began_s:7.1f} s  {planned.number:3}  {event.fault:38} {how}"
            f" for {lasted:.1f} s, {recovered}{f' ({event.detail})' if event.detail else ''}"
        )
        with self._lock:
            print(f"{CLEAR if self._live else ''}{line}", flush=True)

    def _refresh(self) -> None:
        pause = threading.Event()
        while not pause.wait(REFRESH_S):
            now_s = self._history.now_s()
            share = min(now_s / self._for_s, 1.0) if self._for_s else 1.0
            bar = "#" * int(share * 20)
            line = (
                f"[{bar:20}] {now_s:5.0f} s  {self._load.accepted_orders} taken,"
                f" {self._watch.undecided(now_s)} undecided, {self._load.unknown} unknown;"
                f" {self._doing}"
            )
            with self._lock:
                sys.stdout.write(CLEAR + line[:110])
                sys.stdout.flush()
