"""/livez and /readyz: the truth, for whoever sends traffic here."""

import time
from typing import Any

import msgspec
import peewee

from models.queries import reads
from web.answers import send
from web.backlog import Backlog
from web.publisher import Publisher
from web.reading import Reader
from web.types import Checks, LiveView, ReadyView, Waiting

#: A database that answered this recently is not asked again.
PING_EVERY_S = 1.0


class Health:
    """What the process knows of its own fitness."""

    def __init__(self, publisher: Publisher, reader: Reader, backlog: Backlog) -> None:
        self.backlog = backlog
        self._publisher = publisher
        self._reader = reader
        self._pinged_at = 0.0
        self.draining = False

    async def checks(self) -> Checks:
        """What has to be true for orders to be taken."""
        return Checks(
            broker=self._publisher.ready,
            database=await self._database_answers(),
            not_draining=not self.draining,
        )

    async def _database_answers(self) -> bool:
        if time.monotonic() - self._pinged_at < PING_EVERY_S:
            return True
        try:
            await self._reader.run(reads.ping)
        except (peewee.DatabaseError, peewee.InterfaceError):
            return False
        self._pinged_at = time.monotonic()
        return True


class Live:
    """The process answers."""

    async def on_get(self, _req: Any, resp: Any) -> None:
        send(resp, LiveView())


class Ready:
    """Orders can be taken."""

    def __init__(self, health: Health) -> None:
        self._health = health

    async def on_get(self, _req: Any, resp: Any) -> None:
        checks = await self._health.checks()
        ready = all(msgspec.structs.astuple(checks))
        if not ready:
            resp.set_header("Retry-After", "1")
        view = ReadyView(
            "ok" if ready else "unavailable", checks, Waiting(self._health.backlog.length)
        )
        send(resp, view, status=200 if ready else 503)
