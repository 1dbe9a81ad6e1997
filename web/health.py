"""/livez and /readyz: the truth, for whoever sends traffic here."""

import logging
import time
from typing import Any

import msgspec
import peewee

from models.queries import server
from web.answers import send
from web.backlog import Backlog
from web.publisher import Publisher
from web.reading import Reader
from web.types import Checks, LiveView, ReadyView, Waiting

logger = logging.getLogger(__name__)

#: A database that answered this recently is not asked again.
PING_EVERY_S = 1.0


class Health:
    """What the process knows of its own fitness."""

    def __init__(self, publisher: Publisher, reader: Reader, backlog: Backlog) -> None:
        self.backlog = backlog
        self._publisher = publisher
        self._reader = reader
        self._pinged_at = 0.0
        #: Why the database is of no use, as last said.
        self._trouble = ""
        self.draining = False

    async def checks(self) -> Checks:
        """What has to be true for orders to be taken."""
        return Checks(
            broker=self._publisher.ready,
            database=await self._database_writes(),
            not_draining=not self.draining,
        )

    async def _database_writes(self) -> bool:
        """Whether it answers and can be written to: what it can't keep is not decided."""
        if time.monotonic() - self._pinged_at < PING_EVERY_S:
            return True
        try:
            read_only = await self._reader.run(server.is_read_only)
        except (peewee.DatabaseError, peewee.InterfaceError) as error:
            return self._say(str(error).strip())
        if read_only:
            return self._say(server.READ_ONLY)
        self._pinged_at = time.monotonic()
        return self._say("")

    def _say(self, trouble: str) -> bool:
        """In the log, once; whether there is none."""
        if trouble and trouble != self._trouble:
            logger.error("Not ready: %s", trouble)
        self._trouble = trouble
        return not trouble


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
