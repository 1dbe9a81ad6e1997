"""A process's figures in Prometheus' form, added up once a second rather than at every request:
a value that other processes can read costs microseconds."""

import logging
from collections.abc import Sequence
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from models.host_clock import host_clock
from web import reserved_files
from web.metrics import (
    BATCH_COMMANDS,
    PUBLISH_SECONDS,
    REQUEST_SECONDS,
    Answered,
    Figures,
    Spread,
)

logger = logging.getLogger(__name__)

#: Any word can be a method: others share a label, or a client could make as many as it likes.
METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
OTHER: Final = "other"
#: What leads nowhere, and what was refused before it became a request.
NO_ROUTE: Final = "none"
NO_REQUEST: Final = "refused"


class BulkHistogram(Histogram):
    """A histogram that takes counts per bucket."""

    def add(self, taken: tuple[Sequence[int], float]) -> None:
        counts, total = taken
        self._sum.inc(total)
        for bucket, count in zip(self._buckets, counts, strict=True):
            if count:
                bucket.inc(count)


class Exporter:
    """Moves figures into values that gunicorn's master reads."""

    def __init__(self) -> None:
        registry = self.registry = CollectorRegistry()
        self._requests = Counter(
            "holdfast_http_requests", "Requests that were answered",
            ("method", "route", "status"), registry=registry,
        )  # fmt: skip
        self._seconds = BulkHistogram(
            "holdfast_http_request_duration_seconds", "From a request's head to its answer",
            ("route",), buckets=REQUEST_SECONDS, registry=registry,
        )  # fmt: skip
        self._accepted = Counter(
            "holdfast_commands_accepted", "Commands that RabbitMQ has confirmed", ("kind",),
            registry=registry,
        )  # fmt: skip
        self._batches = BulkHistogram(
            "holdfast_publish_batch_commands", "Commands in one message",
            buckets=BATCH_COMMANDS, registry=registry,
        )  # fmt: skip
        self._publish_s = BulkHistogram(
            "holdfast_publish_seconds", "From publishing a message to its confirm",
            buckets=PUBLISH_SECONDS, registry=registry,
        )  # fmt: skip
        self._failures = Counter(
            "holdfast_publish_failures", "Messages that RabbitMQ did not confirm", registry=registry
        )
        self._shed = Counter(
            "holdfast_orders_shed", "Requests with new orders that were turned away",
            registry=registry,
        )  # fmt: skip
        self._sign_ins = Counter(
            "holdfast_sign_ins", "Attempts to sign in to the dashboard", ("outcome",),
            registry=registry,
        )  # fmt: skip
        self._lists = Counter(
            "holdfast_list_reads", "Lists by the server they were read from, where there are"
            " replicas", ("server",), registry=registry,
        )  # fmt: skip
        self._fallbacks = Counter(
            "holdfast_replica_fallbacks", "Lists that no replica could serve", ("reason",),
            registry=registry,
        )  # fmt: skip
        self._lag_s = Gauge(
            "holdfast_replica_lag_seconds", "How far a replica is behind, at most", ("replica",),
            multiprocess_mode="livemax", registry=registry,
        )  # fmt: skip
        self._clock_ahead_s = Gauge(
            "holdfast_host_clock_ahead_seconds",
            "How far this machine's clock is ahead of the database's; negative: behind.",
            multiprocess_mode="livemostrecent", registry=registry,
        )  # fmt: skip
        self._in_flight = Gauge(
            "holdfast_http_requests_in_flight", "Requests that are not answered yet",
            multiprocess_mode="livesum", registry=registry,
        )  # fmt: skip
        self._viewers = Gauge(
            "holdfast_sse_viewers", "Pages that are watched live",
            multiprocess_mode="livesum", registry=registry,
        )  # fmt: skip

    def sync(self, figures: Figures) -> None:
        """Take what was counted since the last time."""
        for answered, spread in figures.answered.items():
            if any(spread.counts):
                self._add(answered, spread)
        for status, count in figures.refused.items():
            self._requests.labels(OTHER, NO_REQUEST, str(status)).inc(count)
        figures.refused.clear()
        for kind, count in figures.accepted.items():
            self._accepted.labels(kind).inc(count)
        figures.accepted.clear()
        self._batches.add(figures.batches.take())
        self._publish_s.add(figures.publish_s.take())
        self._failures.inc(figures.publish_failures)
        figures.publish_failures = 0
        self._shed.inc(figures.orders_shed)
        figures.orders_shed = 0
        for outcome, count in figures.sign_ins.items():
            self._sign_ins.labels(outcome).inc(count)
        figures.sign_ins.clear()
        for server, count in figures.list_reads.items():
            self._lists.labels(server).inc(count)
        figures.list_reads.clear()
        for reason, count in figures.replica_fallbacks.items():
            self._fallbacks.labels(reason).inc(count)
        figures.replica_fallbacks.clear()
        for replica, lag_s in figures.replica_lag_s.items():
            self._lag_s.labels(replica).set(lag_s)
        self._clock_ahead_s.set(host_clock.ahead_s)
        self._in_flight.set(figures.begun - figures.ended)
        self._viewers.set(figures.sse_viewers)

    def _add(self, answered: Answered, spread: Spread) -> None:
        method, route, status = answered
        method = method if method in METHODS else OTHER
        route = route or NO_ROUTE
        # Falcon's own answers have a status line for a status.
        status = str(status).partition(" ")[0]
        taken = spread.take()
        self._requests.labels(method, route, status).inc(sum(taken[0]))
        self._seconds.labels(route).add(taken)


class PatientExporter:
    """An exporter that is made once its files have room: a full disk costs metrics alone."""

    def __init__(self) -> None:
        reserved_files.install()
        self._exporter: Exporter | None = None
        self._warned = False

    def sync(self, figures: Figures) -> None:
        """As Exporter has it; what can't be written is warned of once."""
        try:
            if self._exporter is None:
                self._exporter = Exporter()
            self._exporter.sync(figures)
        except OSError as error:
            if not self._warned:
                logger.warning("No metrics of this process for now: %s", error)
            self._warned = True
        else:
            self._warned = False
