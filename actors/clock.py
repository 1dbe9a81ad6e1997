"""The clock: periodic work on the database, samples of the queues, metrics of the whole system.

Any number of clocks may run; one of them works, the others stand by.
"""

import contextlib
import logging
import os
import signal
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from time import monotonic
from typing import Final

import peewee

from actors.clock_metrics import ClockMetrics, Seen, health
from actors.commands import QUEUES
from actors.dropped import Collector
from actors.exposition import Exposition
from actors.policies import PoliciesUnknownError, conflicts
from actors.queues import QueueInspector, QueuesUnknownError
from actors.waiting_moves import sweep
from config import Settings
from models import housekeeping, retention
from models.database import database, discard_connection
from models.queries import (
    clocks,
    controls,
    gauges,
    partitions,
    queue_stats,
    reconciliation,
    server,
    undecided,
    waiting_moves,
    workers,
)
from models.queries.queue_stats import QueueSample

logger = logging.getLogger(__name__)

SAMPLE_EVERY_S: Final = 10.0
SURVEY_EVERY_S: Final = 60.0
SWEEP_EVERY_S: Final = 10.0
#: Months are long; an hour is soon enough, and costs nothing.
HOUSEKEEPING_EVERY_S: Final = 3_600.0
RECONCILE_FIRST_AFTER_S: Final = 60.0
RETENTION_EVERY_S: Final = 86_400.0
#: After the first reconciliation: what differs in the books stays.
RETENTION_FIRST_AFTER_S: Final = 600.0
#: It may have written whole months before it failed.
RETENTION_AGAIN_S: Final = 600.0
#: What failed is tried again, and who stands by looks again, this soon.
TRY_AGAIN_S: Final = 10.0


@dataclass(slots=True)
class Job:
    """Something to do every so often. due: the next time, on the monotonic clock."""

    name: str
    every_s: float
    run: Callable[[], None]
    due: float
    again_s: float = TRY_AGAIN_S

    def try_again(self) -> None:
        """Soon, for it failed."""
        self.due = monotonic() + min(self.every_s, self.again_s)


class Clock:
    """Does the periodic work for as long as it has the right to."""

    def __init__(self, given: Settings) -> None:
        self.seen = Seen()
        self._given = given
        self._id = f"{socket.gethostname()}:{os.getpid()}:{id(self):x}"
        self._inspector = QueueInspector(given)
        # Beside the one that works: whatever RabbitMQ drops is to be taken at once, by any clock.
        self._collector = Collector(given, QUEUES)
        self.seen.dropped = self._collector.dropped
        self._metrics = Exposition(
            given.metrics_host, given.clock_metrics_port, ClockMetrics(self.seen),
            lambda: health(self.seen),
        )  # fmt: skip
        # What takes long has a thread of its own; by the name of its job.
        self._threads: dict[str, threading.Thread] = {}
        self._jobs: list[Job] = []

    def run(self, stop: threading.Event) -> None:
        """Work until told to stop. A fault is logged and what it stopped is tried again."""
        self._collector.start()
        try:
            while not stop.is_set():
                self._beat()
                self._metrics.start()
                stop.wait(self._work())
        finally:
            self._metrics.stop()
            self._collector.stop()
            self._inspector.close()
            self._sign_off()
            discard_connection()

    def _work(self) -> float:
        """Do what is due; returns for how long there is nothing to do."""
        if not self._has_the_right():
            self.seen.active, self._jobs = False, []
            self._report()
            return TRY_AGAIN_S
        if not self._jobs:
            self.seen.active, self._jobs = True, self._all_jobs(monotonic())
        for job in self._jobs:
            # Each may take as long as a clock may be silent: together they would be too long.
            self._beat()
            if job.due <= monotonic():
                job.due = monotonic() + job.every_s
                if not self._try(job):
                    job.try_again()
                if database.is_closed():
                    # With the connection, the right is gone; the others wait for the next one.
                    break
        return max(min(job.due for job in self._jobs) - monotonic(), 0.0)

    def _report(self) -> None:
        """Say what only this process knows; whoever judges the system reads it."""
        if not self.seen.database or self.seen.read_only:
            return
        # Who stands by asks for no policies, and has old ones.
        conflicts = self.seen.policies if self.seen.active else []
        try:
            clocks.report(self._id, self._collector.held(), conflicts)
        except (peewee.DatabaseError, peewee.InterfaceError) as error:
            logger.warning("The clock can't report and tries again: %s", error)

    def _sign_off(self) -> None:
        with contextlib.suppress(peewee.DatabaseError, peewee.InterfaceError):
            clocks.remove(self._id)

    def _beat(self) -> None:
        self.seen.beat_at = monotonic()

    def _has_the_right(self) -> bool:
        try:
            right = housekeeping.may_work()
            read_only = server.is_read_only()
        except (peewee.DatabaseError, peewee.InterfaceError) as error:
            logger.warning("The clock can't reach the database and tries again: %s", error)
            self.seen.database = False
            return False
        if read_only and not self.seen.read_only:
            logger.error("The clock can't work: %s.", server.READ_ONLY)
        self.seen.database, self.seen.read_only = True, read_only
        return right

    def _all_jobs(self, now: float) -> list[Job]:
        jobs = [
            Job("housekeeping", HOUSEKEEPING_EVERY_S, self._keep_house, now),
            Job("sample", SAMPLE_EVERY_S, self.sample, now),
            Job("survey", SURVEY_EVERY_S, self.survey, now),
            Job("waiting_moves", SWEEP_EVERY_S, sweep, now),
        ]
        if self._given.reconcile_every_s:
            jobs.append(
                Job("reconcile", self._given.reconcile_every_s,
                    partial(self._start, "reconcile", self._reconcile),
                    now + RECONCILE_FIRST_AFTER_S)
            )  # fmt: skip
        if self._given.retention_months:
            jobs.append(
                Job("retention", RETENTION_EVERY_S, partial(self._start, "retention", self._retain),
                    now + RETENTION_FIRST_AFTER_S, RETENTION_AGAIN_S)
            )  # fmt: skip
        return jobs

    def _try(self, job: Job, run: Callable[[], None] | None = None) -> bool:
        try:
            (run or job.run)()
        except (peewee.DatabaseError, peewee.InterfaceError, QueuesUnknownError) as error:
            logger.warning("The clock's job %s failed and is tried again: %s", job.name, error)
        except Exception:  # the other jobs have nothing to do with it
            logger.exception("The clock's job %s failed and is tried again.", job.name)
        else:
            return True
        self.seen.faults[job.name] += 1
        return False

    def _keep_house(self) -> None:
        housekeeping.run_once(self._given.partitions_ahead)

    def sample(self) -> None:
        """Look into the queues and keep what was seen."""
        self._report()
        live = workers.live()
        self.seen.workers = len(live)
        self.seen.failures = gauges.failures_open()
        self.seen.undecided = undecided.figures()
        self.seen.waiting = waiting_moves.figures()
        self.seen.paused = frozenset(row.queue for row in controls.paused())
        try:
            queues = self.seen.queues = self._inspector.inspect(live)
        except QueuesUnknownError:
            self.seen.queues = None
            raise
        now = self.seen.sampled_at = datetime.now(UTC)
        queue_stats.record(
            [
                QueueSample(name, s.ready, s.delayed, s.unacked, s.consumers, s.age_s(now))
                for name, s in queues.items()
            ]
        )

    def survey(self) -> None:
        """Count what takes longer to count."""
        self.seen.stock_below = gauges.stock_below(self._given.low_stock_below)
        self.seen.reconciled = reconciliation.latest()
        self.seen.missing = partitions.missing(1)
        if self.seen.missing:
            partitions.ensure(self._given.partitions_ahead)
            self.seen.missing = partitions.missing(1)
        # Last, for somebody else's server is asked.
        self._survey_policies()

    def _survey_policies(self) -> None:
        try:
            found = conflicts(self._given, QUEUES)
        except PoliciesUnknownError as error:
            logger.warning("%s", error)
            return
        if found and found != self.seen.policies:
            logger.error("RabbitMQ policies drop messages, or will: %s.", "; ".join(found))
        self.seen.policies = found

    def _start(self, name: str, run: Callable[[], None]) -> None:
        # It reads whole tables; the samples go on meanwhile. No actor's work: it has to run when
        # RabbitMQ or the workers are what is wrong (docs/decisions/0014-reconciliation.md), or
        # outside of any transaction (docs/decisions/0020-retention.md).
        (job,) = [job for job in self._jobs if job.name == name]
        thread = self._threads.get(name)
        if thread is None or not thread.is_alive():
            self._threads[name] = threading.Thread(
                target=self._run_aside, args=(job, run), name=name, daemon=True
            )
            self._threads[name].start()

    def _run_aside(self, job: Job, run: Callable[[], None]) -> None:
        try:
            if not self._try(job, run):
                job.try_again()
        finally:
            discard_connection()

    def _reconcile(self) -> None:
        found = reconciliation.run(reconciliation.window())
        self.seen.reconciled = found
        for wrong in found.wrong:
            logger.error(
                "Reconciliation found %d differences between %s:\n%s",
                wrong.differences, wrong.between, "\n".join(d.line for d in wrong.examples),
            )  # fmt: skip

    def _retain(self) -> None:
        try:
            steps = retention.apply(retention.policy_of(self._given))
        except retention.AtWorkError as error:
            logger.info("Retention: %s.", error)
            return
        for step in steps:
            if step.does == "stay":
                logger.warning("%s expired and stays: %s.", step.month, "; ".join(step.why))


def run_for_ever(given: Settings, stop: threading.Event) -> None:
    """Be a clock until SIGTERM or SIGINT."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    Clock(given).run(stop)
