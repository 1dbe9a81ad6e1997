"""A worker process's report, every couple of seconds: what it did, what it holds, that it lives.

(Whether it *can* work is for actors/watch.py, which waits for no server.)

A thread of its own writes it down, in one transaction on its own connection, and looks up what is
paused; and it notes the ends of attempts that could not be noted (see actors/crashes.py). While the
database is away the figures wait in memory, merged, and none is lost; those of a report whose
commit was done but not answered are counted twice.
"""

import logging
import os
import secrets
import socket
import threading
from collections import Counter
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic
from typing import Any, Final

import peewee
from dramatiq.middleware import Middleware

from actors.controls import controls
from actors.exposition import Exposition
from actors.health import Vitals
from actors.holdings import Holdings, delayed_by_actor
from actors.metrics import Folder, Process, began, database_of, exposition, serve
from actors.put_backs import put_backs
from actors.stats import Recorder, Stats, recorder
from actors.undecided import error_line
from actors.watch import Watch
from config import VERSION, Settings
from models.database import discard_connection, sqlstate, transaction
from models.host_clock import host_clock
from models.queries import server, stats, workers
from models.queries.stats import FINEST_S, Counted, step_of
from models.queries.workers import WorkerReport
from models.rules.figures import ActorFigures, total
from models.session import UnfitDatabaseError

logger = logging.getLogger(__name__)

#: Steps of figures that wait for the database at most, an hour of them; older ones are merged.
STEPS_MAX: Final = 360
#: How often this machine's clock is held beside the database's.
COMPARE_EVERY_S: Final = 60.0
#: SQLSTATE of a write to a database that takes none.
READ_ONLY_TRANSACTION: Final = "25006"
#: How long a process that stops waits for its last report.
LAST_REPORT_S_MAX: Final = 5.0
#: The process for it begins when all workers have, and that may take them a while.
UNSERVED_S_MAX: Final = 10.0


class Unwritten:
    """Figures that are not in the database yet, by step and actor."""

    def __init__(self) -> None:
        self._steps: dict[datetime, dict[str, ActorFigures]] = {}

    def add(self, figures: Iterable[ActorFigures], at: datetime) -> None:
        """Add figures that were counted until a time."""
        for one in figures:
            step = self._steps.setdefault(step_of(at, FINEST_S), {})
            _add(step, one)
        while len(self._steps) > STEPS_MAX:
            oldest, next_ = sorted(self._steps)[:2]
            for one in self._steps.pop(oldest).values():
                _add(self._steps[next_], one)

    def counted(self) -> list[Counted]:
        """All of them."""
        return [Counted(at, one) for at, step in self._steps.items() for one in step.values()]

    def clear(self) -> None:
        """They are written."""
        self._steps = {}


class Reporter(threading.Thread):
    """Reports for one worker until it is stopped."""

    def __init__(
        self, worker: Any, running: dict[int, str], given: Settings, of: Recorder,
        settle: Callable[[], None],
    ) -> None:  # fmt: skip
        super().__init__(name="reporter", daemon=True)
        self.id = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}"
        self._worker = worker
        self._running = running
        self._every_s = given.report_every_s
        self._database = database_of(given)
        self._recorder = of
        self._settle = settle
        self._written_at = monotonic()
        self._started_at = datetime.now(UTC)
        self._holdings = Holdings()
        self._unwritten = Unwritten()
        self._ever: dict[str, ActorFigures] = {}
        self._stop_wanted = threading.Event()
        self._away = False
        self._compared_at = -COMPARE_EVERY_S
        #: Why the last report was not taken; nothing while they are.
        self.database_says = ""

    def run(self) -> None:
        while not self._stop_wanted.is_set():
            self._attempt(self.report)
            self._settle_attempts()
            self._refresh()
            self._stop_wanted.wait(self._every_s)
        self._attempt(self._say_goodbye)
        self._settle_attempts()
        discard_connection()

    def stop(self) -> None:
        """Report a last time and end."""
        self._stop_wanted.set()
        self.join(LAST_REPORT_S_MAX)

    def report(self) -> None:
        """Write down what was done and what is held. Raises where that fails; nothing is lost."""
        self._take()
        if monotonic() - self._compared_at >= COMPARE_EVERY_S:
            self._compared_at = monotonic()
            server.is_read_only()
        with transaction():
            stats.record(self.id, self._unwritten.counted())
            workers.report(self._myself())
        self._written_at = monotonic()
        self._unwritten.clear()

    def unwritten_s(self) -> float:
        """For how long the database has taken no report."""
        return monotonic() - self._written_at

    def _say_goodbye(self) -> None:
        self._take()
        with transaction():
            stats.record(self.id, self._unwritten.counted())
            workers.remove(self.id)
        self._unwritten.clear()

    def _settle_attempts(self) -> None:
        if self._away:
            return
        try:
            self._settle()
        except (peewee.DatabaseError, peewee.InterfaceError) as error:
            # Reports go on: they have nothing to do with it.
            logger.debug("Ends of attempts are noted later: %s", error)
        except Exception:  # of whatever it is, the thread must not die
            logger.exception("Ends of attempts can't be noted.")

    def _refresh(self) -> None:
        try:
            controls.refresh()
        except Exception:  # an outage it says itself; of anything else the thread must not die
            logger.exception("Pauses and limits can't be read, so they stay.")

    def _attempt(self, report: Callable[[], None]) -> None:
        try:
            report()
        except (peewee.DatabaseError, peewee.InterfaceError) as error:
            if not self._away:
                logger.warning("Figures wait for the database: %s", error)
            self._away = True
            self.database_says = _reason(error)
        except Exception:  # whatever it is, the next report may do better
            logger.exception("A report failed.")
        else:
            self._away, self.database_says = False, ""

    def _take(self) -> None:
        taken = self._recorder.take()
        self._unwritten.add(taken, host_clock.now())
        for one in taken:
            _add(self._ever, one)

    def _myself(self) -> WorkerReport:
        return WorkerReport(
            id=self.id,
            host=socket.gethostname(),
            pid=os.getpid(),
            version=VERSION,
            started_at=self._started_at,
            threads=len(self._worker.workers),
            threads_busy=len(self._running),
            memory_bytes=memory_bytes(),
            holds=self._holdings.of(list(self._worker.consumers.values()), put_backs.longest()),
        )

    def process(self, vitals: Vitals) -> Process:
        """What is left for Prometheus and for who asks for health. Any thread may call it."""
        return Process(
            pid=os.getpid(),
            began=began(os.getpid()) or 0,
            database=self._database,
            figures=list(self._ever.values()),
            in_progress=dict(Counter(list(self._running.values()))),
            delayed=dict(delayed_by_actor(list(self._worker.consumers.values()))),
            threads=len(self._worker.workers),
            threads_busy=len(self._running),
            memory_bytes=memory_bytes(),
            vitals=vitals,
            clock_ahead_s=host_clock.ahead_s,
            put_backs=dict(put_backs.totals()),
            put_back=put_backs.by_actor(),
            redone=self._recorder.redone_ever(),
        )


class Left:
    """The file of a process in its group's folder; nothing where there is no metrics port."""

    def __init__(self, reporter: Reporter, given: Settings) -> None:
        self._reporter = reporter
        self._given = given
        self._folder = Folder() if given.worker_metrics_port else None
        self._served: Exposition | None = None
        self._served_at = monotonic()
        self._warned = False

    def write(self, vitals: Vitals) -> None:
        """Replace it. What fails is tried again at the next look."""
        if self._folder is None:
            return
        try:
            self._folder.write(self._reporter.id, self._reporter.process(vitals))
            if not vitals.stopping:
                self._have_it_served(self._folder)
        except OSError as error:
            if not self._warned:
                logger.warning("No metrics and no health of this process for now: %s", error)
            self._warned = True
        else:
            self._warned = False

    def remove(self) -> None:
        """It is over."""
        if self._folder is not None:
            if self._served is not None:
                self._served.stop()
                self._folder.disclaim()
            self._folder.remove(self._reporter.id)

    def _have_it_served(self, folder: Folder) -> None:
        """Serve here, once the process for it was killed: Dramatiq never starts it again."""
        if self._served is not None or folder.is_served():
            self._served_at = monotonic()
        elif monotonic() - self._served_at > UNSERVED_S_MAX:
            self._served_at = monotonic()
            served = exposition(self._given, folder)
            # Another worker of the group may have been quicker.
            if served.start():
                logger.warning("The process that served the metrics is gone; this one does now.")
                folder.claim()
                self._served = served


class Heartbeat(Middleware):
    """Starts a reporter and a watch with each worker, and ends them with the worker."""

    def __init__(self, given: Settings, counting: Stats, settle: Callable[[], None]) -> None:
        self._given = given
        self._counting = counting
        self._settle = settle
        self._beating: dict[Any, tuple[Reporter, Watch, Left]] = {}

    @property
    def forks(self) -> list[Any]:
        return [serve] if self._given.worker_metrics_port else []

    def after_worker_boot(self, _broker: Any, worker: Any) -> None:
        reporter = Reporter(worker, self._counting.running, self._given, recorder, self._settle)
        left = Left(reporter, self._given)
        watch = Watch(
            worker, self._counting, every_s=self._given.report_every_s,
            database_s=reporter.unwritten_s, database_says=lambda: reporter.database_says,
            leave=left.write,
        )  # fmt: skip
        self._beating[worker] = reporter, watch, left
        reporter.start()
        watch.start()

    def before_worker_shutdown(self, _broker: Any, worker: Any) -> None:
        if worker in self._beating:
            self._beating[worker][1].stopping = True

    def after_worker_shutdown(self, _broker: Any, worker: Any) -> None:
        if worker in self._beating:
            reporter, watch, left = self._beating.pop(worker)
            reporter.stop()
            watch.stop()
            left.remove()


def _reason(error: Exception) -> str:
    """Why the database takes no report, for anybody: the driver would name host and user."""
    if isinstance(error, UnfitDatabaseError):
        return error_line(error)
    code = sqlstate(error)
    if code == READ_ONLY_TRANSACTION:
        return server.READ_ONLY
    return f"SQLSTATE {code}; see the log" if code else "no connection; see the log"


def memory_bytes() -> int:
    """This process's resident memory; 0 where the system does not say."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except (OSError, IndexError, ValueError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def _add(to: dict[str, ActorFigures], one: ActorFigures) -> None:
    known = to.get(one.actor)
    to[one.actor] = one if known is None else total(one.actor, [known, one])
