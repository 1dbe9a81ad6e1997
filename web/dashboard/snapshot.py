"""How things stand, taken once a second at most per process, for all who look, while they look.

What can't be asked is unknown, with the time since when: never zero.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Final, Generic, NamedTuple, TypeVar

from actors.queues import QueueInspector, QueueState
from actors.situation import Situation
from models.queries import facts
from models.queries.facts import Facts, Seldom
from models.queries.workers import WorkerRow
from web.reading import Reader

logger = logging.getLogger(__name__)

EVERY_S: Final = 1.0
#: A part that takes longer is unknown for now; while it is, nobody is kept waiting for long.
PATIENCE_S: Final = 2.0
PATIENCE_UNKNOWN_S: Final = 0.3
#: What is dear to count, or changes by the hour, is asked for less often.
SELDOM_S: Final = 5.0

T = TypeVar("T")


class Part(NamedTuple, Generic[T]):
    """A part of a snapshot: its value, or since when it is unknown."""

    value: T | None
    unknown_since: datetime | None = None

    @property
    def known(self) -> bool:
        return self.unknown_since is None


Queues = Mapping[str, QueueState]


class Counts(NamedTuple):
    """What stands beside the navigation; None for what was never known. at: when it was; old:
    whether that was earlier, for now it can't be asked."""

    failures: int | None = None
    paused: int | None = None
    at: datetime | None = None
    old: bool = False


class Snapshot(NamedTuple):
    """number: counts up, so that a viewer knows a newer one; at: by the database's clock;
    counted: what the last one before knew to count."""

    number: int
    at: datetime
    facts: Part[Facts]
    queues: Part[Queues]
    counted: Counts = Counts()

    def situation(self) -> Situation:
        """The same for the verdict."""
        return Situation(
            self.at, self.facts.value, self.queues.value,
            self.facts.unknown_since, self.queues.unknown_since,
        )  # fmt: skip

    def counts(self) -> Counts:
        """What stands beside the navigation."""
        facts = self.facts.value
        if facts is None:
            return self.counted._replace(old=self.counted.at is not None)
        return Counts(facts.seldom.failures, len(facts.paused), facts.at)


class Probe(Generic[T]):
    """Asks for one part, one question at a time."""

    def __init__(
        self, what: str, ask: Callable[[], Awaitable[T]], now: Callable[[], datetime]
    ) -> None:
        self._what = what
        self._ask = ask
        self._now = now
        self._asking: asyncio.Future[T] | None = None
        self._unknown_since: datetime | None = None

    async def part(self) -> Part[T]:
        """The part as it is now, or unknown."""
        if self._asking is None or self._asking.done():
            self._asking = asyncio.ensure_future(self._ask())
            # It may end when nobody waits for it any more; its fault is no news then.
            self._asking.add_done_callback(lambda asked: asked.cancelled() or asked.exception())
        patience_s = PATIENCE_S if self._unknown_since is None else PATIENCE_UNKNOWN_S
        await asyncio.wait([self._asking], timeout=patience_s)
        if not self._asking.done():
            return self._unknown("no answer in time")
        error = self._asking.exception()
        if error is not None:
            return self._unknown(error)
        self._unknown_since = None
        return Part(self._asking.result())

    def _unknown(self, why: object) -> Part[T]:
        if self._unknown_since is None:
            logger.warning("%s can't be asked: %s", self._what, why)
            self._unknown_since = self._now()
        return Part(None, self._unknown_since)


class Snapshots:
    """Takes them when asked; RabbitMQ is asked in a thread of its own."""

    def __init__(self, reader: Reader, inspector: QueueInspector) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="queues")
        self._inspector = inspector
        self._latest: Snapshot | None = None
        self._taken_at = 0.0
        self._taking: asyncio.Task[Snapshot] | None = None
        self._seldom: tuple[float, Seldom] | None = None
        self._alive: Sequence[WorkerRow] = ()
        self._held: Mapping[str, int] = {}
        # How far the database's clock is ahead of this host's.
        self._ahead = timedelta()
        self._facts: Probe[Facts] = Probe(
            "The database", lambda: reader.run(self._collect), self._now
        )
        self._queues: Probe[Queues] = Probe("RabbitMQ", self._inspect, self._now)

    async def get(self) -> Snapshot:
        """How things stand, a second old at most."""
        if self._latest is not None and time.monotonic() - self._taken_at < EVERY_S:
            return self._latest
        if self._taking is None:
            self._taking = asyncio.create_task(self._take())
        return await asyncio.shield(self._taking)

    async def fresh(self) -> Snapshot:
        """How things stand now: asked for after this call, all of it."""
        if self._taking is not None:
            await asyncio.shield(self._taking)
        self._seldom = None
        self._taken_at = 0.0
        return await self.get()

    def last_counts(self) -> Counts:
        """What was last known to count, without asking."""
        known = self._latest.counts() if self._latest else Counts()
        return known._replace(old=known.at is not None)

    async def newer(self, than: int) -> Snapshot:
        """The first snapshot with a higher number."""
        while True:
            snapshot = await self.get()
            if snapshot.number > than:
                return snapshot
            await asyncio.sleep(max(0.01, self._taken_at + EVERY_S - time.monotonic()))

    def close(self) -> None:
        """Let go of RabbitMQ, in the thread that holds the connection."""
        self._thread.submit(self._inspector.close)
        self._thread.shutdown(wait=False)

    async def _take(self) -> Snapshot:
        began = time.monotonic()
        try:
            known = await self._facts.part()
            # What workers and clocks hold belongs to the queues; the rest is told without.
            self._alive = known.value.alive() if known.value else ()
            self._held = known.value.clocks.held if known.value else {}
            queues = await self._queues.part()
            number = self._latest.number + 1 if self._latest else 1
            counted = self._latest.counts() if self._latest else Counts()
            self._latest = Snapshot(number, self._now(), known, queues, counted)
            self._taken_at = began
            return self._latest
        finally:
            self._taking = None

    def _now(self) -> datetime:
        """The time by the database's clock, as far as it is known."""
        return datetime.now(UTC) + self._ahead

    async def _inspect(self) -> Queues:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(
            self._thread, self._inspector.inspect, self._alive, self._held
        )

    def _collect(self) -> Facts:
        """Runs in a reading thread."""
        now = time.monotonic()
        fresh = self._seldom is None or now - self._seldom[0] >= SELDOM_S
        found = facts.collect(None if fresh or self._seldom is None else self._seldom[1])
        if fresh:
            self._seldom = now, found.seldom
        self._ahead = found.at - datetime.now(UTC)
        return found
