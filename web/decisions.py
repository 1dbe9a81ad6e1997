"""Waiting for decisions (`Prefer: wait`): all who wait share one poll."""

import asyncio
import logging
import time
from collections.abc import Sequence
from itertools import islice

import peewee

from models.queries import reads
from models.queries.reads import FoundCommand
from models.rules.order_status import PENDING
from web.reading import READ_BATCH_MAX, Reader

logger = logging.getLogger(__name__)

#: Between two polls: short against the time a decision takes, long against what a poll costs.
POLL_S = 0.003
#: While the database is away.
PAUSE_S = 0.5


class Decisions:
    """Tells when commands are decided, and how. waiting_max: commands that may wait at once."""

    def __init__(self, reader: Reader, waiting_max: int) -> None:
        self._reader = reader
        self._waiting_max = waiting_max
        #: Those that were asked for longest ago come first.
        self._waiting: dict[str, list[asyncio.Future[FoundCommand]]] = {}
        self._polling: asyncio.Task[None] | None = None
        self._stopping = False

    def give_up(self) -> None:
        """Let all who wait go, now and from now on: the process is about to stop."""
        self._stopping = True
        for waiting in list(self._waiting.values()):
            for future in waiting:
                future.cancel()

    async def wait(self, command_id: str, seconds: float) -> FoundCommand | None:
        """The outcome of a command, None if there is none within so many seconds."""
        return (await self.wait_all([command_id], seconds)).get(command_id)

    async def wait_all(self, command_ids: Sequence[str], seconds: float) -> dict[str, FoundCommand]:
        """By id, the outcomes that there are within so many seconds, or when all are there.

        None, and at once, where more would wait than may.
        """
        if self._stopping or len(self._waiting) + len(command_ids) > self._waiting_max:
            return {}
        loop = asyncio.get_running_loop()
        futures: dict[str, asyncio.Future[FoundCommand]] = {
            id_: loop.create_future() for id_ in command_ids
        }
        for id_, future in futures.items():
            self._waiting.setdefault(id_, []).append(future)
        if self._polling is None:
            self._polling = asyncio.create_task(self._poll())
        try:
            await asyncio.wait(futures.values(), timeout=seconds)
        finally:
            for id_, future in futures.items():
                self._forget(id_, future)
        decided = (each for each in futures.items() if each[1].done() and not each[1].cancelled())
        return {id_: future.result() for id_, future in decided}

    def _forget(self, command_id: str, future: asyncio.Future[FoundCommand]) -> None:
        waiting = self._waiting.get(command_id, [])
        if future in waiting:
            waiting.remove(future)
            if not waiting:
                del self._waiting[command_id]

    def _tell(self, command_id: str, outcome: FoundCommand | None) -> None:
        """Let those go who wait for a command, if it is decided; else it is the others' turn."""
        waiting = self._waiting.pop(command_id, [])
        if outcome is None or outcome.status == PENDING:
            if waiting:
                self._waiting[command_id] = waiting
            return
        for future in waiting:
            if not future.done():
                future.set_result(outcome)

    async def _poll(self) -> None:
        try:
            while self._waiting:
                began_at = time.monotonic()
                try:
                    ids = list(islice(self._waiting, READ_BATCH_MAX))
                    found = await self._reader.run(reads.commands_by_id, ids)
                except (peewee.DatabaseError, peewee.InterfaceError) as error:
                    logger.warning("Decisions can't be read: %s", error)
                    await asyncio.sleep(PAUSE_S)
                    continue
                for command_id, outcome in zip(ids, found, strict=True):
                    self._tell(command_id, outcome)
                # To look for many ids takes a while: leave the database some room.
                await asyncio.sleep(max(POLL_S, (time.monotonic() - began_at) / 2))
        finally:
            self._polling = None
