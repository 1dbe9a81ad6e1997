"""Prometheus metrics of the clock: what is true of the whole system, said by one process."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from time import monotonic
from typing import Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from actors.commands import QUEUES, ROUTES_BY_ACTOR
from actors.dropped import REASONS
from actors.health import answer, of_clock
from actors.metrics import host_clock_metric
from actors.queues import QueueState
from models.host_clock import host_clock
from models.queries import waiting_moves
from models.queries.reconciliation import Reconciled
from models.queries.server import READ_ONLY
from models.queries.undecided import Figures

JOBS: Final = ("housekeeping", "sample", "survey", "waiting_moves", "reconcile", "retention")


@dataclass(slots=True)
class Seen:
    """What the clock saw last; None: not known now. active: whether it is the one that works."""

    active: bool = False
    # The last sign of life, on the machine's monotonic clock; whether the database answered then.
    beat_at: float = field(default_factory=monotonic)
    database: bool = True
    read_only: bool = False
    # Partitions that are not there for this month or the next.
    missing: list[str] | None = None
    queues: dict[str, QueueState] | None = None
    paused: frozenset[str] = frozenset()
    workers: int | None = None
    failures: dict[str, int] | None = None
    undecided: dict[str, Figures] | None = None
    waiting: waiting_moves.Figures | None = None
    # What policies do to our queues that they must not.
    policies: list[str] = field(default_factory=list)
    # What RabbitMQ dropped and is on record, by queue and reason.
    dropped: Mapping[tuple[str, str], int] = field(default_factory=dict)
    stock_below: int | None = None
    reconciled: Reconciled | None = None
    sampled_at: datetime | None = None
    # How often each job failed.
    faults: dict[str, int] = field(default_factory=lambda: dict.fromkeys(JOBS, 0))


def health(seen: Seen) -> dict[str, object]:
    """The health of the clock that saw this, as JSON has it."""
    away = [] if seen.database else ["the database"]
    if seen.active and seen.queues is None and seen.faults["sample"]:
        away.append("RabbitMQ")
    silent_s = monotonic() - seen.beat_at
    judged = of_clock(
        active=seen.active, away=away, silent_s=silent_s, troubles=list(_troubles(seen))
    )
    return {**answer(judged), "active": seen.active, "silent_s": silent_s}


def _troubles(seen: Seen) -> Iterator[str]:
    if seen.read_only:
        yield READ_ONLY
    yield from seen.policies
    if seen.missing:
        yield f"partitions are missing: {', '.join(seen.missing)}"
    if host_clock.words:
        yield host_clock.words


class ClockMetrics(Collector):
    """The metrics of what a clock saw; of one that stands by, only that it does."""

    def __init__(self, seen: Seen) -> None:
        self._seen = seen

    def collect(self) -> Iterator[Metric]:
        seen = self._seen
        yield _gauge("holdfast_clock_active", "Whether this clock is the one that works.",
                     int(seen.active))  # fmt: skip
        if seen.active or seen.dropped:
            yield _dropped(seen.dropped)
        if not seen.active:
            return
        yield host_clock_metric(host_clock.ahead_s)
        yield _gauge("holdfast_database_read_only",
                     "1: the database is read-only, so nothing can be decided.",
                     int(seen.read_only))  # fmt: skip
        yield _gauge("holdfast_policy_conflicts",
                     "Policies of RabbitMQ that take messages out of a queue, as far as known.",
                     len(seen.policies))  # fmt: skip
        if seen.queues is not None:
            yield from _queues(seen.queues, seen.paused, seen.sampled_at or datetime.now(UTC))
        if seen.failures is not None:
            yield _failures(seen.failures)
        if seen.undecided is not None:
            yield from _undecided(seen.undecided)
        if seen.waiting is not None:
            yield from _waiting(seen.waiting)
        if seen.reconciled is not None:
            yield from _reconciliation(seen.reconciled)
        yield _job_failures(seen.faults)
        single = {
            "holdfast_workers": ("Worker processes that reported lately.", seen.workers),
            "holdfast_stock_below_threshold": (
                "SKUs with fewer units available than LOW_STOCK_BELOW.", seen.stock_below,
            ),
            "holdfast_partitions_missing": (
                "Partitions that are not there for this month or the next.",
                None if seen.missing is None else len(seen.missing),
            ),
            "holdfast_clock_last_sample_timestamp_seconds": (
                "When the queues were last looked into.",
                seen.sampled_at.timestamp() if seen.sampled_at else None,
            ),
        }  # fmt: skip
        for name, (text, value) in single.items():
            if value is not None:
                yield _gauge(name, text, value)


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(name, text, value=value)


def _queues(
    queues: dict[str, QueueState], paused: frozenset[str], at: datetime
) -> Iterator[Metric]:
    """at: when it was looked: a message that was with a worker then is decided by now."""
    messages = GaugeMetricFamily(
        "holdfast_queue_messages", "Messages of a queue, by state: ready, delayed, unacked, dead.",
        labels=("queue_name", "state"),
    )  # fmt: skip
    consumers = GaugeMetricFamily(
        "holdfast_queue_consumers", "Worker processes that take from a queue.",
        labels=("queue_name",),
    )  # fmt: skip
    oldest = GaugeMetricFamily(
        "holdfast_queue_oldest_message_age_seconds",
        "Age of the oldest message that waits or is with a worker; 0 of none.",
        labels=("queue_name",),
    )
    is_paused = GaugeMetricFamily(
        "holdfast_queue_paused", "Whether an operator has paused a queue.", labels=("queue_name",)
    )
    for name, state in queues.items():
        for kind in ("ready", "delayed", "unacked", "dead"):
            messages.add_metric((name, kind), getattr(state, kind))
        consumers.add_metric((name,), state.consumers)
        oldest.add_metric((name,), state.age_s(at) or 0.0)
        is_paused.add_metric((name,), int(name in paused))
    yield from (messages, consumers, oldest, is_paused)


def _failures(failures: dict[str, int]) -> Metric:
    family = GaugeMetricFamily(
        "holdfast_failures_open", "Failed messages that nobody has settled.", labels=("actor",)
    )
    for actor, count in (dict.fromkeys(ROUTES_BY_ACTOR, 0) | failures).items():
        family.add_metric((actor,), count)
    return family


def _dropped(counts: Mapping[tuple[str, str], int]) -> Metric:
    family = CounterMetricFamily(
        "holdfast_dropped_messages", "Messages that RabbitMQ took out of a queue by a policy.",
        labels=("queue_name", "reason"),
    )  # fmt: skip
    # An alert sees a count rise only from what was there before.
    for queue in QUEUES:
        for reason in REASONS:
            family.add_metric((queue, reason), counts.get((queue, reason), 0))
    for (queue, reason), count in list(counts.items()):
        if queue not in QUEUES or reason not in REASONS:
            family.add_metric((queue, reason), count)
    return family


def _undecided(figures: dict[str, Figures]) -> Iterator[Metric]:
    all_of_them = GaugeMetricFamily(
        "holdfast_undecided_commands", "Commands that were tried and are not decided yet.",
        labels=("actor",),
    )  # fmt: skip
    overdue = GaugeMetricFamily(
        "holdfast_undecided_overdue_commands",
        "Of these, the ones that attempts have failed at for more than a minute.",
        labels=("actor",),
    )
    none = Figures(0, 0.0, 0)
    for actor, found in (dict.fromkeys(ROUTES_BY_ACTOR, none) | figures).items():
        all_of_them.add_metric((actor,), found.commands)
        overdue.add_metric((actor,), found.overdue)
    yield from (all_of_them, overdue)


def _waiting(found: waiting_moves.Figures) -> Iterator[Metric]:
    yield _gauge("holdfast_waiting_moves", "Moves that wait for the decision of their order.",
                 found.moves)  # fmt: skip
    yield _gauge("holdfast_waiting_moves_oldest_age_seconds",
                 "How long the oldest of them has waited; 0 of none.", found.oldest_s)  # fmt: skip


def _job_failures(faults: dict[str, int]) -> Metric:
    family = CounterMetricFamily(
        "holdfast_clock_job_failures", "Runs of the clock's jobs that failed.", labels=("job",)
    )
    for job, count in faults.items():
        family.add_metric((job,), count)
    return family


def _reconciliation(found: Reconciled) -> Iterator[Metric]:
    differences = GaugeMetricFamily(
        "holdfast_reconciliation_differences",
        "What does not agree in the books, by check, as last looked up.",
        labels=("check",),
    )
    for each in found.checks:
        differences.add_metric((each.check,), each.differences)
    yield differences
    yield _gauge(
        "holdfast_reconciliation_last_run_timestamp_seconds",
        "When the books were last checked.",
        found.at.timestamp(),
    )
    yield _gauge(
        "holdfast_reconciliation_duration_seconds", "How long that took.", found.took_ms / 1000
    )
    if found.good_at is not None:
        yield _gauge(
            "holdfast_reconciliation_last_success_timestamp_seconds",
            "When they were last found to agree.",
            found.good_at.timestamp(),
        )
