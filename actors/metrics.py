"""Prometheus metrics and health of a group of worker processes: one port for all of them.

Every process leaves its figures in a file every couple of seconds, in a folder of the group's own;
a process that Dramatiq forks beside the workers reads the files when it is asked. So counting costs
an actor nothing that the dashboard's figures don't cost already. Names that start with `dramatiq_`
are those of Dramatiq's own middleware.
"""

import contextlib
import logging
import os
import shutil
import stat
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from time import monotonic
from typing import Final

import msgspec
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from actors.commands import ROUTES, ROUTES_BY_ACTOR, PlaceOrder
from actors.exposition import Exposition
from actors.health import Vitals, answer_of_group
from config import Settings, database_address, settings
from models.rules.figures import ActorFigures, total
from models.rules.histograms import UNITS_PER_S, low, mean

logger = logging.getLogger(__name__)

LOOK_AGAIN_S: Final = 5.0
#: Where TMPDIR says nothing.
TEMPORARY: Final = "/tmp"  # noqa: S108 - who owns ours there is checked  # nosec B108
#: Where Prometheus' buckets end: two to each doubling, from 0.8 ms to 105 s.
TIME_BOUNDS: Final = range(8, 77, 2)
#: And of sizes: 1, 3, 7, 15 up to 1023.
SIZE_BOUNDS: Final = (2, *range(4, 37, 4))


class Process(msgspec.Struct):
    """What one worker process has done since it began, and does now."""

    pid: int
    # A pid comes again, in a container that was restarted the very same.
    began: int
    database: str
    figures: list[ActorFigures]
    in_progress: dict[str, int]
    delayed: dict[str, int]
    threads: int
    threads_busy: int
    memory_bytes: int
    vitals: Vitals
    # By actor: how often messages came back since it began; how many do now, and for how long (s).
    put_backs: dict[str, int] = {}
    put_back: dict[str, tuple[int, float]] = {}
    clock_ahead_s: float = 0.0
    # By actor: transactions that it did again since it began.
    redone: dict[str, int] = {}


_decoder = msgspec.json.Decoder(Process)


class Folder:
    """Where the processes of one group leave their figures: those with the same parent."""

    def __init__(self, parent: int | None = None) -> None:
        pid = parent or os.getppid()
        self.path = Path(_temporary(), f"{_prefix()}{pid}-{began(pid) or 0}")

    def write(self, name: str, process: Process) -> None:
        """Replace a process's figures. Raises OSError."""
        self.path.mkdir(mode=0o700, exist_ok=True)
        self._check()
        new, alive = self.path / f".{name}", self._alive(name)
        try:
            new.write_bytes(msgspec.json.encode(process))
            new.replace(self.path / f"{name}.json")
        except OSError:
            new.unlink(missing_ok=True)
            # An empty file takes no room on a disk that is full.
            alive.touch()
            raise
        alive.unlink(missing_ok=True)

    def _alive(self, name: str) -> Path:
        """What a process touches that can't write its figures."""
        return self.path / f"{name}.alive"

    def remove(self, name: str) -> None:
        """Remove a process's figures, and the folder with the last."""
        with contextlib.suppress(OSError):
            (self.path / f"{name}.json").unlink(missing_ok=True)
            self._alive(name).unlink(missing_ok=True)
            if not any(self.path.glob("*.json")):
                self._server.unlink(missing_ok=True)
            self.path.rmdir()

    def claim(self) -> None:
        """Say that this process serves what is here."""
        with contextlib.suppress(OSError):
            self.path.mkdir(mode=0o700, exist_ok=True)
            self._server.write_text(f"{os.getpid()} {began(os.getpid())}")

    def disclaim(self) -> None:
        """It does so no more."""
        self._server.unlink(missing_ok=True)

    def is_served(self) -> bool:
        """Whether a process that is alive serves what is here."""
        try:
            pid, when = self._server.read_text().split()
        except (OSError, ValueError):
            return False
        return str(began(int(pid))) == when

    @property
    def _server(self) -> Path:
        return self.path / "server"

    def read(self) -> list[Process]:
        """The figures of all processes that are alive."""
        if not self.path.exists():
            return []
        try:
            self._check()
            names = {file.stem for end in ("json", "alive") for file in self.path.glob(f"*.{end}")}
            found = [self._read(name) for name in names]
        except (OSError, msgspec.DecodeError) as error:
            logger.warning("The workers' figures can't be read: %s", error)
            return []
        return [process for process in found if began(process.pid) == process.began]

    def _read(self, name: str) -> Process:
        file, alive = self.path / f"{name}.json", self._alive(name)
        process = _decoder.decode(file.read_bytes()) if file.exists() else _unknown(name)
        if not alive.exists():
            return process
        troubles = [*process.vitals.troubles, f"can't write its figures to {self.path}"]
        said_at = monotonic() - (time.time() - alive.stat().st_mtime)
        vitals = msgspec.structs.replace(process.vitals, at=said_at, troubles=troubles)
        return msgspec.structs.replace(process, vitals=vitals)

    def _check(self) -> None:
        found = self.path.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
            raise PermissionError(f"{self.path} is someone else's")


def _unknown(name: str) -> Process:
    """Of a process that could write nothing yet: its pid is in the name."""
    pid = int(name.rsplit("-", 2)[1])
    vitals = Vitals(
        at=0.0, stopping=False, threads=0, threads_alive=0, consumers=0, dead=[], missing={},
        database_s=0.0, oldest_s=None, stuck_s=0.0,
    )  # fmt: skip
    return Process(
        pid=pid, began=began(pid) or 0, database="", figures=[], in_progress={}, delayed={},
        threads=0, threads_busy=0, memory_bytes=0, vitals=vitals,
    )  # fmt: skip


def here(database: str) -> list[Process]:
    """This user's worker processes on this machine that work on a database."""
    groups = [Folder(pid) for _, pid, lives in _folders() if lives]
    return [one for group in groups for one in group.read() if one.database in ("", database)]


def database_of(given: Settings) -> str:
    """Which database these settings name, by whatever user: that tells one deployment's workers
    from another's."""
    address = database_address(given.database_url)
    return "{}:{}/{}".format(*(address.get(part, "") for part in ("host", "port", "dbname")))


def remove_leftovers() -> None:
    """Remove the folders of groups that were killed."""
    for path, _, lives in _folders():
        if not lives:
            shutil.rmtree(path, ignore_errors=True)


def _folders() -> Iterator[tuple[Path, int, bool]]:
    """Every folder, the pid of the group's parent, and whether that is still the same process."""
    for path in Path(_temporary()).glob(f"{_prefix()}*"):
        pid, _, when = path.name.removeprefix(_prefix()).partition("-")
        if pid.isdecimal():
            yield path, int(pid), str(began(int(pid))) == when


def _temporary() -> Path:
    """The same for all processes: Python's own choice changes as a disk gets full."""
    folder = Path(os.environ.get("TMPDIR") or TEMPORARY)
    return folder if folder.is_dir() else Path(TEMPORARY)


def _prefix() -> str:
    return f"holdfast-worker-{os.getuid()}-"


class WorkerMetrics(Collector):
    """The metrics of all processes of a group together."""

    def __init__(self, read: Callable[[], Sequence[Process]]) -> None:
        self._read = read

    def collect(self) -> Iterator[Metric]:
        processes = self._read()
        by_actor: dict[str, list[ActorFigures]] = {}
        for process in processes:
            for one in process.figures:
                by_actor.setdefault(one.actor, []).append(one)
        figures = [total(actor, given) for actor, given in sorted(by_actor.items())]
        yield from _messages(figures)
        yield from _now(processes)
        yield from _put_backs(processes)
        yield host_clock_metric(max((p.clock_ahead_s for p in processes), key=abs, default=0.0))
        yield from _commands(figures)
        yield _redone(processes)
        yield from _process(processes)


def health(processes: Sequence[Process]) -> dict[str, object]:
    """The health of a group now, as JSON has it."""
    return answer_of_group({one.pid: one.vitals for one in processes}, monotonic())


def serve() -> int:
    """The process beside the workers: serves their metrics and health until told to stop."""
    folder = Folder()
    served = exposition(settings(), folder)
    remove_leftovers()
    ever = threading.Event()
    folder.claim()
    try:
        # An older group may still have the port, until its last message is done.
        while not served.start():
            ever.wait(LOOK_AGAIN_S)
        ever.wait()
    finally:
        folder.disclaim()
    return 0


def exposition(given: Settings, folder: Folder) -> Exposition:
    """The port of a group."""
    read = folder.read
    return Exposition(
        given.metrics_host, given.worker_metrics_port, WorkerMetrics(read), lambda: health(read())
    )


def _messages(figures: Sequence[ActorFigures]) -> Iterator[Metric]:
    def counter(name: str, text: str, value: Callable[[ActorFigures], int]) -> Metric:
        family = CounterMetricFamily(name, text, labels=("queue_name", "actor_name"))
        for one in figures:
            family.add_metric(_labels(one.actor), value(one))
        return family

    yield counter(
        "dramatiq_messages", "Messages processed, well or not.",
        lambda f: f.handled + f.failed + f.limited,
    )  # fmt: skip
    yield counter("dramatiq_message_errors", "Attempts that failed.", lambda f: f.failed)
    yield counter("dramatiq_message_retries", "Messages tried again.", lambda f: f.retried)
    yield counter("dramatiq_message_rejects", "Messages that became failures.", lambda f: f.dead)
    yield counter(
        "holdfast_messages_limited", "Messages that a limit sent to wait.", lambda f: f.limited
    )
    duration = HistogramMetricFamily(
        "dramatiq_message_duration_milliseconds", "How long messages ran.",
        labels=("queue_name", "actor_name"),
    )  # fmt: skip
    waited = HistogramMetricFamily(
        "holdfast_message_wait_seconds", "How long messages waited before they ran.",
        labels=("queue_name", "actor_name"),
    )  # fmt: skip
    for one in figures:
        duration.add_metric(_labels(one.actor), *times(one.ran, 1_000))
        waited.add_metric(_labels(one.actor), *times(one.waited))
    yield duration
    yield waited


def _now(processes: Sequence[Process]) -> Iterator[Metric]:
    def gauge(name: str, text: str, given: Iterable[Mapping[str, int]]) -> Metric:
        family = GaugeMetricFamily(name, text, labels=("queue_name", "actor_name"))
        sums: dict[str, int] = dict.fromkeys(ROUTES_BY_ACTOR, 0)
        for counts in given:
            for actor, count in counts.items():
                sums[actor] = sums.get(actor, 0) + count
        for actor, count in sorted(sums.items()):
            family.add_metric(_labels(actor), count)
        return family

    yield gauge(
        "dramatiq_messages_inprogress", "Messages that run now.", [p.in_progress for p in processes]
    )
    yield gauge(
        "dramatiq_delayed_messages_inprogress", "Delayed messages that workers hold.",
        [p.delayed for p in processes],
    )  # fmt: skip


def _put_backs(processes: Sequence[Process]) -> Iterator[Metric]:
    count = CounterMetricFamily(
        "holdfast_put_backs", "Attempts that decided nothing, so that their message comes back.",
        labels=("actor",),
    )  # fmt: skip
    messages = GaugeMetricFamily(
        "holdfast_put_back_messages", "Messages that come back now.", labels=("actor",)
    )
    oldest = GaugeMetricFamily(
        "holdfast_put_back_oldest_seconds", "For how long one of them has come back; 0 of none.",
        labels=("actor",),
    )  # fmt: skip
    for actor in sorted({*ROUTES_BY_ACTOR, *(a for p in processes for a in p.put_backs)}):
        now = [p.put_back.get(actor, (0, 0.0)) for p in processes]
        count.add_metric((actor,), sum(p.put_backs.get(actor, 0) for p in processes))
        messages.add_metric((actor,), sum(messages for messages, _ in now))
        oldest.add_metric((actor,), max((lasted_s for _, lasted_s in now), default=0.0))
    yield from (count, messages, oldest)


def _commands(figures: Sequence[ActorFigures]) -> Iterator[Metric]:
    decided = CounterMetricFamily(
        "holdfast_commands_decided", "Commands decided, by outcome.", labels=("actor", "outcome")
    )
    batch = HistogramMetricFamily(
        "holdfast_batch_commands", "Commands per transaction.", labels=("actor",)
    )
    took = HistogramMetricFamily(
        "holdfast_decision_seconds", "From a command's acceptance to its commit.", labels=("actor",)
    )
    for one in figures:
        decided.add_metric((one.actor, "applied"), one.decided - one.refused)
        decided.add_metric((one.actor, "rejected"), one.refused)
        batch.add_metric((one.actor,), *sizes(one.batch))
        took.add_metric((one.actor,), *times(one.took))
    yield decided
    yield batch
    yield took


def _redone(processes: Sequence[Process]) -> Metric:
    family = CounterMetricFamily(
        "holdfast_transactions_redone",
        "Transactions done again, as others had taken the stock that they decided by.",
        labels=("actor",),
    )
    # Only new orders are decided by stock that others may take.
    for actor in sorted({ROUTES[PlaceOrder].actor, *(a for p in processes for a in p.redone)}):
        family.add_metric((actor,), sum(p.redone.get(actor, 0) for p in processes))
    return family


def host_clock_metric(ahead_s: float) -> Metric:
    """The same of every kind of process."""
    return GaugeMetricFamily(
        "holdfast_host_clock_ahead_seconds",
        "How far this machine's clock is ahead of the database's; negative: behind.",
        value=ahead_s,
    )


def _process(processes: Sequence[Process]) -> Iterator[Metric]:
    def gauge(name: str, text: str, value: int) -> Metric:
        return GaugeMetricFamily(name, text, value=value)

    yield gauge("holdfast_worker_processes", "Worker processes of this group.", len(processes))
    yield gauge("holdfast_worker_threads", "Their threads.", sum(p.threads for p in processes))
    yield gauge(
        "holdfast_worker_threads_busy", "Threads that run a message now.",
        sum(p.threads_busy for p in processes),
    )  # fmt: skip
    yield gauge(
        "holdfast_worker_resident_memory_bytes", "Their memory.",
        sum(p.memory_bytes for p in processes),
    )  # fmt: skip


Buckets = tuple[list[tuple[str, float]], float]


def times(counts: Sequence[int], per_s: int = 1) -> Buckets:
    """A histogram of durations as Prometheus has it. per_s: units of the result in a second.

    The sum takes every duration as the middle of its bucket.
    """
    middle = mean(counts)
    whole = 0.0 if middle is None else (middle + 0.5) * sum(counts) * per_s / UNITS_PER_S
    bounds = [(low(i) * per_s / UNITS_PER_S, i) for i in TIME_BOUNDS]
    return _buckets(counts, bounds), whole


def sizes(counts: Sequence[int]) -> Buckets:
    """A histogram of whole numbers as Prometheus has it."""
    bounds = [(float(low(i) - 1), i) for i in SIZE_BOUNDS]
    return _buckets(counts, bounds), (mean(counts) or 0.0) * sum(counts)


def _buckets(counts: Sequence[int], bounds: Sequence[tuple[float, int]]) -> list[tuple[str, float]]:
    ends: list[tuple[str, float]] = [(repr(end), sum(counts[:index])) for end, index in bounds]
    return [*ends, ("+Inf", sum(counts))]


def _labels(actor: str) -> tuple[str, str]:
    route = ROUTES_BY_ACTOR.get(actor)
    return (route.queue if route else "", actor)


def began(pid: int) -> int | None:
    """When a process began, in ticks of the kernel; None: there is none such, or it has ended.

    Where the system does not say when, it is 0 for all.
    """
    try:
        # The name of its program comes before, in parentheses, whatever it is.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        # One that was killed stays, as a zombie, for as long as its parent does not look.
        return None if fields[0] in "ZX" else int(fields[19])
    except (OSError, IndexError, ValueError):
        if Path("/proc/self/stat").exists():
            return None
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return None
    except PermissionError:
        return 0
    return 0
