"""Looks, every couple of seconds, whether this worker process can do its work, and says so.

What it sees goes into the group's folder (see actors/metrics.py), where `GET /healthz` and
`holdfast health worker` find it. A worker that can't work ends: Dramatiq never replaces a thread
that died, and its process would look alive for ever. It asks nobody who may keep it waiting, so
that it goes on while the servers are away; and it adds up the time that it saw pass, so that one
that was halted for a while (SIGSTOP, a machine that slept) has missed nothing.
"""

import logging
import os
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from time import monotonic
from typing import Any, Final

import pika.exceptions
from dramatiq.common import dq_name

from actors.controls import controls
from actors.health import DATABASE_S_MAX, PutBack, Vitals, broken
from actors.nodes import connect
from actors.put_backs import put_backs
from actors.stats import Stats
from models.host_clock import host_clock

logger = logging.getLogger(__name__)

EVERY_S_MAX: Final = 2.0
PROBE_EVERY_S: Final = 5.0
#: What Dramatiq's master ends with, too: an internal error, in BSD's numbers.
EXIT_STATUS: Final = os.EX_SOFTWARE


def end_process(reasons: Sequence[str]) -> None:
    """End now: what it holds goes back to its queues with the connections."""
    logger.critical("This worker can't work and ends: %s.", "; ".join(reasons))
    # An orderly stop waits for the threads and ends with status 0, as if all were well.
    os._exit(EXIT_STATUS)


class Probe:
    """Whether RabbitMQ takes connections; asked by a thread that lives as long as one attempt."""

    def __init__(self, parameters: Any) -> None:
        self._parameters = parameters
        self._attempt: threading.Thread | None = None
        self._asked_at = -PROBE_EVERY_S
        self.answers = False

    def ask(self) -> None:
        """Begin an attempt, unless one goes on or has just been made."""
        busy = self._attempt is not None and self._attempt.is_alive()
        if not busy and monotonic() - self._asked_at >= PROBE_EVERY_S:
            self._asked_at = monotonic()
            self._attempt = threading.Thread(target=self._try, name="probe", daemon=True)
            self._attempt.start()

    def _try(self) -> None:
        try:
            connect(self._parameters).close()
        except (pika.exceptions.AMQPError, OSError, AssertionError):
            self.answers = False
        else:
            self.answers = True


class Watch(threading.Thread):
    """Watches one worker until it is stopped.

    database_s: says for how long the database has taken no report; database_says: why. leave:
    where what it sees goes.
    """

    def __init__(
        self, worker: Any, counting: Stats, *, every_s: float, database_s: Callable[[], float],
        leave: Callable[[Vitals], None], database_says: Callable[[], str] = str,
        give_up: Callable[[Sequence[str]], None] = end_process,
    ) -> None:  # fmt: skip
        super().__init__(name="watch", daemon=True)
        self.stopping = False
        self._worker = worker
        self._counting = counting
        self._every_s = min(every_s, EVERY_S_MAX)
        self._database_s = database_s
        self._database_says = database_says
        self._leave = leave
        self._give_up = give_up
        self._probe = Probe(worker.broker.parameters)
        self._missing: dict[str, float] = {}
        self._stuck_s = 0.0
        self._finished = 0
        self._looked_at = monotonic()
        self._stop_wanted = threading.Event()

    def run(self) -> None:
        while not self._stop_wanted.is_set():
            try:
                self.look()
            except Exception:  # whatever it is, the next look may see more
                logger.exception("This worker could not be looked at.")
            self._stop_wanted.wait(self._every_s)

    def stop(self) -> None:
        """Look no more."""
        self._stop_wanted.set()
        self.join(EVERY_S_MAX)

    def look(self) -> None:
        """See what there is, leave it, and end the process if it can't work."""
        vitals = self._vitals()
        reasons = list(broken(vitals))
        self._leave(vitals)
        # A stop may have begun meanwhile, and its threads end.
        if reasons and not self.stopping:
            self._give_up(reasons)

    def _vitals(self) -> Vitals:
        stopping = self.stopping
        passed_s = self._passed_s()
        threads, consumers = self._worker.workers, list(self._worker.consumers.values())
        alive = sum(thread.is_alive() for thread in threads)
        dead = [thread.queue_name for thread in consumers if not thread.is_alive()]
        self._count_missing(consumers, passed_s)
        self._count_stuck(passed_s)
        return Vitals(
            at=monotonic(), stopping=stopping, threads=len(threads), threads_alive=alive,
            consumers=len(consumers), dead=dead, missing=self._missing,
            database_s=self._database_s(), oldest_s=_oldest_s(consumers), stuck_s=self._stuck_s,
            put_back=self._came_back(), database_says=self._database_says(),
            troubles=[host_clock.words] if host_clock.is_wrong else [],
        )  # fmt: skip

    def _came_back(self) -> list[PutBack]:
        if self._database_s() > DATABASE_S_MAX:
            put_backs.forgive()
        return put_backs.longest()

    def _passed_s(self) -> float:
        """The time since the last look, but for what this process was halted."""
        before, self._looked_at = self._looked_at, monotonic()
        return min(self._looked_at - before, 2 * self._every_s)

    def _count_missing(self, consumers: Iterable[Any], passed_s: float) -> None:
        missing = [t.queue_name for t in consumers if t.is_alive() and not _is_attached(t)]
        if missing:
            self._probe.ask()
        else:
            self._probe.answers = False
        # While RabbitMQ is away, nobody is to blame; when it is back, all have their time again.
        passed_s = passed_s if self._probe.answers else 0.0
        known = self._missing if self._probe.answers else {}
        self._missing = {queue: known.get(queue, 0.0) + passed_s for queue in missing}

    def _count_stuck(self, passed_s: float) -> None:
        goes_on = self._counting.finished != self._finished or not self._counting.running
        self._finished = self._counting.finished
        # While the database is away, nobody is to blame; then all have their time again.
        away = self._database_s() > DATABASE_S_MAX
        self._stuck_s = 0.0 if goes_on or away else self._stuck_s + passed_s


def _is_attached(thread: Any) -> bool:
    consumer = thread.consumer
    if consumer is None or not (consumer.connection.is_open and consumer.channel.is_open):
        return False
    return bool(consumer.attached or controls.is_paused(thread.queue_name))


def _oldest_s(consumers: Iterable[Any]) -> float | None:
    """Delayed messages are held for as long as they have to wait: they don't count."""
    stamps = [
        message.message_timestamp
        for thread in consumers
        if thread.queue_name != dq_name(thread.queue_name)
        for message in list(getattr(thread.consumer, "held", {}).values())
    ]
    return max(time.time() - min(stamps) / 1000, 0.0) if stamps else None
