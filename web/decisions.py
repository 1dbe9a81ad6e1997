"""Waiting for decisions (`Prefer: wait`): all who wait share one poll."""

import asyncio
import logging

import peewee

from models.queries import reads
from web.reading import Reader

logger = logging.getLogger(__name__)

#: Between two polls: short against the time a decision takes, long against what a poll costs.
POLL_S = 0.005
#: While the database is away.
PAUSE_S = 0.5


class Decisions:
    """Tells when commands are decided."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._waiting: dict[str, list[asyncio.Future[None]]] = {}
        self._polling: asyncio.Task[None] | None = None

    async def wait(self, command_id: str, seconds: float) -> bool:
        """Whether a command is decided within so many seconds."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiting = self._waiting.setdefault(command_id, [])
        waiting.append(future)
        if self._polling is None:
            self._polling = asyncio.create_task(self._poll())
        try:
            async with asyncio.timeout(seconds):
                await future
        except TimeoutError:
            return False
        finally:
            if future in waiting:
                waiting.remove(future)
            if not waiting and self._waiting.get(command_id) is waiting:
                del self._waiting[command_id]
        return True

    async def _poll(self) -> None:
        try:
            while self._waiting:
                try:
                    decided = await self._reader.run(reads.decided, list(self._waiting))
                except (peewee.DatabaseError, peewee.InterfaceError) as error:
                    logger.warning("Decisions can't be read: %s", error)
                    await asyncio.sleep(PAUSE_S)
                    continue
                for command_id in decided:
                    for future in self._waiting.pop(command_id, []):
                        if not future.done():
                            future.set_result(None)
                await asyncio.sleep(POLL_S)
        finally:
            self._polling = None
