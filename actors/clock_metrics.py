"""Prometheus metrics of the clock: what is true of the whole system, said by one process."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from time import monotonic
from typing import Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from actors.commands import ROUTES_BY_ACTOR
from actors.health import answer, of_clock
from actors.queues import QueueState
from models.queries.reconciliation import Reconciled

JOBS: Final = ("housekeeping", "sample", "survey", "reconcile", "retention")


@dataclass(slots=True)
class Seen:
    """What the clock saw last; None: not known now. active: whether it is the one that works."""

    active: bool = False
    # The last sign of life, on the machine's monotonic clock; whether the database answered then.
    beat_at: float = field(default_factory=monotonic)
    database: bool = True
    queues: dict[str, QueueState] | None = None
    paused: frozenset[str] = frozenset()
    workers: int | None = None
    failures: dict[str, int] | None = None
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
    judged = of_clock(active=seen.active, away=away, silent_s=silent_s)
    return {**answer(judged), "active": seen.active, "silent_s": silent_s}


class ClockMetrics(Collector):
    """The metrics of what a clock saw; of one that stands by, only that it does."""

    def __init__(self, seen: Seen) -> None:
        self._seen = seen

    def collect(self) -> Iterator[Metric]:
        seen = self._seen
        yield _gauge("holdfast_clock_active", "Whether this clock is the one that works.",
                     int(seen.active))  # fmt: skip
        if not seen.active:
            return
        if seen.queues is not None:
            yield from _queues(seen.queues, seen.paused)
        if seen.failures is not None:
            yield _failures(seen.failures)
        if seen.reconciled is not None:
            yield from _reconciliation(seen.reconciled)
        yield _job_failures(seen.faults)
        single = {
            "holdfast_workers": ("Worker processes that reported lately.", seen.workers),
            "holdfast_stock_below_threshold": (
                "SKUs with fewer units available than LOW_STOCK_BELOW.", seen.stock_below,
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


def _queues(queues: dict[str, QueueState], paused: frozenset[str]) -> Iterator[Metric]:
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
        oldest.add_metric((name,), age_s(state) or 0.0)
        is_paused.add_metric((name,), int(name in paused))
    yield from (messages, consumers, oldest, is_paused)


def age_s(state: QueueState) -> float | None:
    """The age of a queue's oldest message, None where there is none or it can't be told."""
    if state.oldest_at is None:
        return None
    return max((datetime.now(UTC) - state.oldest_at).total_seconds(), 0.0)


def _failures(failures: dict[str, int]) -> Metric:
    family = GaugeMetricFamily(
        "holdfast_failures_open", "Failed messages that nobody has settled.", labels=("actor",)
    )
    for actor, count in (dict.fromkeys(ROUTES_BY_ACTOR, 0) | failures).items():
        family.add_metric((actor,), count)
    return family


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
