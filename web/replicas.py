"""Lists from read replicas, never older than what anybody was told; else from the primary.

Each list first asks the primary for its position in the log, and is then read from a replica that
has come so far: whatever a client was told, by whichever web process, was in the log by then. What
a list may wait for that, and how far behind a replica may be to be used at all, is one setting.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from enum import StrEnum
from functools import partial
from typing import Final, ParamSpec, TypeVar

import peewee

from config import Settings, database_address
from models.database import is_transient, sqlstate
from models.queries import replication
from models.queries.replication import Standing
from web.batcher import Batcher, TooManyWaitingError
from web.metrics import figures
from web.reading import Reader

logger = logging.getLogger(__name__)

#: How often replicas are looked at, to know which are worth asking.
LOOK_EVERY_S: Final = 1.0
#: A server that takes longer to say how far it is does not answer.
ANSWER_S: Final = 2.0
#: Between two looks at how far a replica is: at first, and at most.
POLL_S: Final = (0.002, 0.05)
#: Positions that a replica has not reached yet; a thousand are a quarter of an hour.
AHEAD_MAX: Final = 1_000
#: Cancelled for its time-out: it would take as long on the primary.
QUERY_CANCELED: Final = "57014"

DATABASE_ERRORS: Final = (peewee.DatabaseError, peewee.InterfaceError)

P = ParamSpec("P")
R = TypeVar("R")


class State(StrEnum):
    """A replica's. promoted: it is no standby any more, so nothing tells how it stands; foreign:
    it is one of another primary."""

    NEW = "new"
    READY = "ready"
    BEHIND = "behind"
    AWAY = "away"
    PROMOTED = "promoted"
    FOREIGN = "foreign"


class NoReplicaError(Exception):
    """No replica can serve a list now; the message is why, in a word."""


class Lag:
    """How long ago, at most, the primary was where a replica is. Times are monotonic seconds."""

    def __init__(self, now: float) -> None:
        # Nothing is known of it but that it may be as old as that.
        self._had_at = now
        self._ahead: deque[tuple[float, int]] = deque()

    def primary(self, at: float, position: int) -> None:
        """The primary was at a position."""
        if len(self._ahead) < AHEAD_MAX:
            self._ahead.append((at, position))

    def replica(self, position: int) -> None:
        """The replica has come to a position."""
        while self._ahead and self._ahead[0][1] <= position:
            self._had_at, _ = self._ahead.popleft()

    def seconds(self, now: float) -> float:
        return now - self._had_at


class Replica:
    """A read replica: a few threads that read there, and one that looks how far it is."""

    def __init__(self, url: str, threads: int, lag_max_s: float) -> None:
        address = database_address(url)
        self.name = f"{address.get('host', '')}:{address.get('port', '5432')}"
        self.state = State.NEW
        self._lag_max_s = lag_max_s
        self._reader = Reader(threads, url)
        self._watch = Reader(1, url)
        self._lag = Lag(time.monotonic())
        self._gone = asyncio.Event()
        self._looking: asyncio.Future[Standing] | None = None

    async def read(self, position: int, until: float, read: Callable[[], R]) -> R:
        """A read of a state that has all up to a position; waits for it until then.

        Raises NoReplicaError where it can't be had here, or what the read raises.
        """
        began = time.monotonic()
        pause_s = POLL_S[0]
        while True:
            state, result = await self._unless_gone(partial(_read_if_at, position, read))
            if state is State.READY:
                return result  # type: ignore[return-value]
            next_at = time.monotonic() + pause_s
            # Nobody after it is to wait in vain, too.
            if state is State.PROMOTED or next_at - began > self._lag_max_s:
                self._becomes(state)
            if state is State.PROMOTED or next_at > until:
                raise NoReplicaError(state)
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, POLL_S[1])

    async def _unless_gone(self, read: Callable[[], R]) -> R:
        """A read; given up when the replica is found to be away, for its threads may hang."""
        work = asyncio.ensure_future(self._reader.run(read))
        gone = asyncio.ensure_future(self._gone.wait())
        try:
            await asyncio.wait({work, gone}, return_when=asyncio.FIRST_COMPLETED)
            if not work.done():
                raise NoReplicaError(State.AWAY)
            return work.result()
        except DATABASE_ERRORS as error:
            if not is_transient(error) or sqlstate(error) == QUERY_CANCELED:
                raise
            raise NoReplicaError(State.AWAY) from error
        finally:
            work.cancel()
            gone.cancel()

    async def look(self, system: int | None, position: int | None, asked_at: float) -> None:
        """See how it stands.

        system, position: which system the primary is of and where it is, None where it does not
        say; asked_at: not later than it was there.
        """
        if position is not None:
            self._lag.primary(asked_at, position)
        state = await self._reached(system, position, time.monotonic() + self._lag_max_s)
        lag_s = figures.replica_lag_s[self.name] = self._lag.seconds(time.monotonic())
        # While the primary says nothing, it stays what it was until it may be too old.
        unproved = position is None and self.state is not State.READY
        if state is State.READY and (unproved or lag_s > self._lag_max_s):
            state = State.BEHIND
        self._becomes(state)

    async def _reached(self, system: int | None, position: int | None, until: float) -> State:
        pause_s = POLL_S[0]
        while True:
            try:
                found, at = await self._ask()
            except (*DATABASE_ERRORS, TimeoutError) as error:
                self._becomes(State.AWAY, f" ({error or 'no answer'})")
                return State.AWAY
            if at is None:
                return State.PROMOTED
            if system not in (None, found):
                return State.FOREIGN
            self._lag.replica(at)
            if position is None or at >= position:
                return State.READY
            if time.monotonic() + pause_s > until:
                return State.BEHIND
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, POLL_S[1])

    async def _ask(self) -> Standing:
        """Where it is. Raises TimeoutError; one question at a time, as its thread may hang."""
        if self._looking is None or self._looking.done():
            self._looking = asyncio.ensure_future(self._watch.run(replication.standing))
            # It may fail when nobody waits for it any more: that is no news then.
            self._looking.add_done_callback(lambda asked: asked.cancelled() or asked.exception())
        async with asyncio.timeout(ANSWER_S):
            return await asyncio.shield(self._looking)

    def _becomes(self, state: State, why: str = "") -> None:
        if state is self.state:
            return
        self.state = state
        if state is State.AWAY:
            self._gone.set()
        else:
            self._gone.clear()
        if state is State.READY:
            logger.info("Replica %s is read from", self.name)
        else:
            logger.warning("Replica %s is %s and not read from%s", self.name, state, why)

    def close(self) -> None:
        self._reader.close()
        self._watch.close()


def _read_if_at(position: int, read: Callable[[], R]) -> tuple[State, R | None]:
    """Runs in a reading thread. A replica that was restarted may be further back than it was."""
    at = replication.replayed()
    if at is None:
        return State.PROMOTED, None
    return (State.READY, read()) if at >= position else (State.BEHIND, None)


class Replicas:
    """Runs reads on replicas in turn, or on the primary."""

    def __init__(self, given: Settings, primary: Reader) -> None:
        self._primary = primary
        self._lag_max_s = given.replica_lag_max_s
        self._replicas = deque(
            Replica(url, given.read_threads, self._lag_max_s) for url in given.replica_urls()
        )
        self._positions: Batcher[None, int] = Batcher(
            self._position, batch_max=given.publish_waiting_max,
            waiting_max=given.publish_waiting_max,
        )  # fmt: skip
        self._watching: list[asyncio.Task[None]] = []

    def start(self) -> None:
        self._watching = [asyncio.create_task(self._watch(one)) for one in self._replicas]

    def close(self) -> None:
        for task in self._watching:
            task.cancel()
        for replica in self._replicas:
            replica.close()

    async def run(self, read: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Run a read, all of it on one server.

        Raises peewee's errors, also where the primary can't say where it is; TooManyWaitingError.
        """
        if not self._replicas:
            return await self._primary.run(read, *args, **kwargs)
        try:
            return await self._on_a_replica(partial(read, *args, **kwargs))
        except NoReplicaError as why:
            figures.replica_fallbacks[str(why)] += 1
        figures.list_reads["primary"] += 1
        return await self._primary.run(read, *args, **kwargs)

    async def _on_a_replica(self, read: Callable[[], R]) -> R:
        why = NoReplicaError(self._replicas[0].state)
        ready = list(self._ready_in_turn())
        if not ready:
            raise why
        position = await self._positions.submit(None)
        until = time.monotonic() + self._lag_max_s
        for replica in ready:
            try:
                result = await replica.read(position, until, read)
            except NoReplicaError as error:
                why = error
                continue
            figures.list_reads[replica.name] += 1
            return result
        raise why

    def _ready_in_turn(self) -> Iterator[Replica]:
        self._replicas.rotate(1)
        return (one for one in self._replicas if one.state is State.READY)

    async def _position(self, waiting: list[None]) -> list[int]:
        """One question for all who came while the last one was under way."""
        position = await self._primary.run(replication.position)
        return [position] * len(waiting)

    async def _watch(self, replica: Replica) -> None:
        system: int | None = None
        while True:
            asked_at = time.monotonic()
            position = None
            with suppress(*DATABASE_ERRORS, TooManyWaitingError):
                if system is None:
                    system = await self._primary.run(replication.system)
                position = await self._positions.submit(None)
            await replica.look(system, position, asked_at)
            await asyncio.sleep(LOOK_EVERY_S)
