"""Waiting for decisions (`Prefer: wait`): all who wait share one poll."""

import asyncio
import logging

import peewee

from models.queries import reads
from models.queries.reads import FoundCommand
from models.rules.order_status import PENDING
from web.reading import Reader

logger = logging.getLogger(__name__)

#: Between two polls: short against the time a decision takes, long against what a poll costs.
POLL_S = 0.003
#: While the database is away.
PAUSE_S = 0.5


class Decisions:
    """Tells when commands are decided, and how."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
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
        if self._stopping:
            return None
        future: asyncio.Future[FoundCommand] = asyncio.get_running_loop().create_future()
        waiting = self._waiting.setdefault(command_id, [])
        waiting.append(future)
        if self._polling is None:
            self._polling = asyncio.create_task(self._poll())
        try:
            async with asyncio.timeout(seconds):
                await asyncio.wait([future])
        except TimeoutError:
            return None
        finally:
            if future in waiting:
                waiting.remove(future)
            if not waiting and self._waiting.get(command_id) is waiting:
                del self._waiting[command_id]
        return None if future.cancelled() else future.result()

    async def _poll(self) -> None:
        try:
            while self._waiting:
                try:
                    ids = list(self._waiting)
                    found = await self._reader.run(reads.commands_by_id, ids)
                except (peewee.DatabaseError, peewee.InterfaceError) as error:
                    logger.warning("Decisions can't be read: %s", error)
                    await asyncio.sleep(PAUSE_S)
                    continue
                for command_id, outcome in zip(ids, found, strict=True):
                    if outcome is None or outcome.status == PENDING:
                        continue
                    for future in self._waiting.pop(command_id, []):
                        if not future.done():
                            future.set_result(outcome)
                await asyncio.sleep(POLL_S)
        finally:
            self._polling = None
