"""What every fault works with, and the list of them."""

import contextlib
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from random import Random
from typing import Any, Final

import pika
import pika.exceptions

from actors.commands import ROUTES, PlaceOrder
from tests.torture.history import History
from tests.torture.load import Load
from tests.torture.rig import Rig, locked_stock
from tests.torture.watch import Watch

FIRES_S_MAX: Final = 20.0
#: A new queue is on disk only after half a second in which no other was made (Ra's names.dets).
ON_DISK_S: Final = 1.0
ORDERS: Final = ROUTES[PlaceOrder].queue


class NotFiredError(Exception):
    """A fault has harmed nothing, so nothing is proved by it."""


@dataclass
class Scene:
    """What a fault works with. series: how often those that come in a row are repeated."""

    rig: Rig
    load: Load
    watch: Watch
    history: History
    random: Random
    series: int
    patience_s: float
    malformed: int = 0
    broken: list[str] = field(default_factory=list)
    # What came back for long and was not shown to anybody.
    unseen: list[str] = field(default_factory=list)
    # Orders that can only fail, after their retries: meanwhile other faults come.
    doomed: list[str] = field(default_factory=list)
    # Copies of messages that come when nobody thinks of them any more.
    postponed: list[tuple[str, bytes]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._pause = threading.Event()
        self._numbers = count(1)

    def wait(self, seconds: float) -> None:
        self._pause.wait(seconds)

    def fires(self, condition: Callable[[], Any], what: str, within_s: float = FIRES_S_MAX) -> None:
        """Wait until a fault shows; raises NotFiredError."""
        for _ in range(int(within_s / 0.05)):
            if condition():
                return
            self.wait(0.05)
        raise NotFiredError(what)

    def not_failed(self, ids: list[str]) -> list[str]:
        """Which of these have another outcome than having failed, or none yet."""
        statement = (
            "SELECT id::text FROM commands WHERE id = ANY (%s::uuid[]) AND status = 'failed'"
        )
        return sorted(set(ids) - {id_ for (id_,) in self.rig.sql(statement, ids)})

    def without_doomed(self) -> None:
        """Wait until what can only fail has failed: its retries are not those that are wanted."""
        self.fires(lambda: not self.not_failed(self.doomed), "the doomed have failed", 60.0)

    def operate(self, what: str, **fields: Any) -> None:
        """Do what an operator does at the dashboard, again while it says that it can't now."""
        with self.rig.client() as client:
            self.fires(lambda: not client.post(f"/dashboard/{what}", data=fields).is_error, what)

    def name(self, kind: str) -> str:
        return f"{kind}-{next(self._numbers)}"


Fault = Callable[[Scene], str]
#: By name. Those with a colon are special cases of another one: they come only when asked for.
FAULTS: Final[dict[str, Fault]] = {}


def fault(name: str) -> Callable[[Fault], Fault]:
    """Enter a fault under its name. It returns what there is to say about how it went."""

    def entered(function: Fault) -> Fault:
        FAULTS[name] = function
        return function

    return entered


@contextmanager
def channel_of(rig: Rig) -> Iterator[Any]:
    connection = pika.BlockingConnection(pika.URLParameters(rig.broker_url))
    try:
        yield connection.channel()
    finally:
        connection.close()


@contextmanager
def retrying(scene: Scene) -> Iterator[None]:
    """Whoever wants stock runs into a time-out and is tried again."""
    scene.without_doomed()
    before = len(scene.rig.failpoints.moved())
    with locked_stock(scene.rig):
        scene.fires(lambda: len(scene.rig.failpoints.moved()) > before, "messages are tried again")
        yield


def consumers(rig: Rig, queue: str = ORDERS) -> int:
    """How many take from a queue; -1 where nobody can tell."""
    with contextlib.suppress(pika.exceptions.AMQPError), channel_of(rig) as channel:
        return int(channel.queue_declare(queue, passive=True).method.consumer_count)
    return -1
