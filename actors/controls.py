"""What operators have switched at run time, as this process last saw it: pauses and rate limits.

And what this process holds by itself: a queue whose actor's limit is reached, for a moment.
"""

import logging
from time import monotonic
from typing import Any, Final

import peewee
from dramatiq.common import q_name
from dramatiq.middleware import Middleware, SkipMessage

from actors.commands import ROUTES, Operate
from models.database import database, discard_connection
from models.queries import controls as queries

logger = logging.getLogger(__name__)

#: What resumes the others must go on.
NEVER_PAUSED: Final = ROUTES[Operate].queue


class Controls:
    """The switches. Asked for every message, so they are plain look-ups.

    Until they were read once every queue counts as paused; later, while the database is away, they
    stay as they were.
    """

    def __init__(self) -> None:
        self._paused: frozenset[str] | None = None
        self._limits: dict[str, str] = {}
        self._held: dict[str, float] = {}
        self._limits_version = 0
        self._away = False

    def refresh(self) -> None:
        """Read the switches; what is read holds from then on."""
        try:
            paused = frozenset(row.queue for row in queries.paused())
            limits = {row.actor: row.rate_limit for row in queries.limits()}
        except (peewee.DatabaseError, peewee.InterfaceError) as error:
            if not self._away:
                logger.warning("Pauses and limits can't be read, so they stay: %s", error)
            self._away = True
            return
        for queue in paused ^ (self._paused or frozenset()):
            logger.info("Queue %s is %s.", queue, "paused" if queue in paused else "resumed")
        changed = limits != self._limits
        self._paused, self._limits, self._away = paused, limits, False
        if changed:
            # Whoever waits for a limit that is no more has waited long enough; and a thread that
            # has just met that limit is not to hold its queue from now on.
            self._limits_version += 1
            self._held = {}

    def is_paused(self, queue: str) -> bool:
        """Whether workers may take nothing from a queue. Delay queues go on."""
        if queue == NEVER_PAUSED or queue != q_name(queue):
            return False
        return self._paused is None or queue in self._paused

    def rate_limit(self, actor: str) -> str | None:
        """The limit that was set for an actor, None where its settings hold."""
        return self._limits.get(actor)

    @property
    def limits_version(self) -> int:
        """Changes with any of the limits, and after them: read it before what it belongs to."""
        return self._limits_version

    def hold(self, queue: str, for_s: float, limits_version: int) -> None:
        """Have no message of a queue begin for a while; its worker still fetches a few ahead.

        limits_version: of the limits that say so. When they have changed since, nothing happens.
        """
        held = self._held  # before the look at the version: `refresh` changes it after that
        if limits_version == self._limits_version:
            held[queue] = monotonic() + for_s

    def lift(self, queue: str) -> None:
        """End the hold of a queue."""
        self._held.pop(queue, None)

    def held_for_s(self, queue: str) -> float:
        """How long a queue is held from now on, 0 for one that is not."""
        until = self._held.get(queue)
        return 0.0 if until is None else max(0.0, until - monotonic())


#: The switches of this process; its reporter reads them every couple of seconds.
controls: Final = Controls()


class Pausing(Middleware):
    """Hands back the messages of a paused or held queue that wait in this process for a thread."""

    def before_worker_boot(self, _broker: Any, _worker: Any) -> None:
        had_connection = not database.is_closed()
        controls.refresh()
        if not had_connection:
            discard_connection()

    def before_process_message(self, _broker: Any, message: Any) -> None:
        if controls.is_paused(message.queue_name) or controls.held_for_s(message.queue_name):
            message.put_back = message.at_once = True
            # The one error of a hook that keeps the actor from running; see Consumer.ack.
            raise SkipMessage(f"{message.queue_name} is paused")
