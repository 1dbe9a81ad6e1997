"""What clients asked for and what they were told: one JSON line a request, kept for a replay."""

import threading
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from time import monotonic
from typing import Any

import msgspec


class Told(StrEnum):
    """What a client knows afterwards. Ok: one effect; refused: none; unknown: none or one."""

    OK = "ok"
    REFUSED = "refused"
    UNKNOWN = "unknown"


class Asked(msgspec.Struct, omit_defaults=True):
    """One attempt at a change. Times are seconds since the run began.

    names: what the change is known by in the database even without an answer: the customers of
    orders (each order has its own), the id of the order that is moved, the SKU. ids: as answered.
    chain: of changes that were sent one after the other, see chains.py.
    """

    kind: str
    began_s: float
    ended_s: float
    told: Told
    status: int
    names: list[str]
    units: list[dict[str, int]] = []
    ids: list[str] = []
    key: str | None = None
    to: str | None = None
    if_version: list[int] = []
    delta: int = 0
    price: int = 0
    replayed: bool = False
    final: str | None = None
    chain: str = ""


class Event(msgspec.Struct):
    """Something the rig did. Times are seconds since the run began."""

    fault: str
    began_s: float
    healed_s: float
    fired: bool
    recovered_s: float | None
    detail: str = ""


class Seen(msgspec.Struct):
    """Orders as they were at a moment: id to [status, version]."""

    at_s: float
    orders: dict[str, list[Any]]


class Blackout(msgspec.Struct):
    """Meanwhile no confirm could reach the front door. Times are seconds since the run began."""

    began_s: float
    ended_s: float


Record = Asked | Event | Seen | Blackout


class History:
    """Appends to a file as things happen; threads share it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.began = monotonic()
        # Unbuffered: it may be judged while it goes on.
        self._file = path.open("ab", buffering=0)
        self._lock = threading.Lock()
        self._encoder = msgspec.json.Encoder()

    def now_s(self) -> float:
        return monotonic() - self.began

    def add(self, record: Record) -> None:
        line = self._encoder.encode([type(record).__name__, record]) + b"\n"
        with self._lock:
            self._file.write(line)

    def close(self) -> None:
        self._file.close()


KINDS: dict[str, type[Record]] = {kind.__name__: kind for kind in (Asked, Event, Seen, Blackout)}


def read(path: Path) -> Iterator[Record]:
    """All records of a history, in the order in which they ended."""
    with path.open("rb") as file:
        for line in file:
            name, raw = msgspec.json.decode(line, type=tuple[str, msgspec.Raw])
            yield msgspec.json.decode(raw, type=KINDS[name])
