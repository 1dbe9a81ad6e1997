"""How things stand, as far as the database knows."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Final, NamedTuple

from models.queries import (
    clocks,
    controls,
    failures,
    lookup,
    reconciliation,
    server,
    stats,
    times,
    waiting_moves,
    workers,
)
from models.queries.clocks import ClockReports
from models.queries.controls import ActorLimit, PausedQueue
from models.queries.failures import FailureQuery
from models.queries.lookup import Shortage
from models.queries.reconciliation import Reconciled
from models.queries.stats import Signs
from models.queries.workers import WorkerRow
from models.rules.figures import ActorFigures
from models.rules.rejections import Rejections, is_spike

#: A worker that was silent for longer is gone.
ALIVE_S: Final = 15.0
#: Figures of the actors are of so many seconds.
FIGURES_S: Final = 60
#: Whose rejections are watched.
ORDERS: Final = "place_orders"
#: The class of the failures that are messages which RabbitMQ dropped, see actors/dropped.py.
DROPPED: Final = "Dropped"
#: Later than that after the last one, whatever dropped them is likely gone.
DROPPED_LATELY: Final = timedelta(hours=1)


class Seldom(NamedTuple):
    """failures: open ones; reconciled: what the latest check of the books found; sampled_at: when
    the clock last looked into the queues; usual: orders of the last hour, without its last two
    minutes; short: during a spike of rejections, what they were for, the most frequent first;
    dropped: open failures of the last hour that are messages which RabbitMQ dropped."""

    failures: int
    reconciled: Reconciled | None
    sampled_at: datetime | None = None
    usual: Rejections = Rejections()
    short: Sequence[Shortage] = ()
    dropped: int = 0


class Facts(NamedTuple):
    """What the database knew at a time. figures, signs: by actor; freed: see controls.freed;
    waiting: moves whose order is not decided."""

    at: datetime
    figures: Mapping[str, ActorFigures]
    workers: list[WorkerRow]
    paused: Mapping[str, PausedQueue]
    limits: Mapping[str, ActorLimit]
    seldom: Seldom
    signs: Mapping[str, Signs] = MappingProxyType({})
    read_only: bool = False
    clocks: ClockReports = ClockReports()
    freed: Mapping[str, datetime] = MappingProxyType({})
    waiting: waiting_moves.Figures = waiting_moves.Figures()

    def alive(self) -> list[WorkerRow]:
        """The workers that reported lately."""
        return [one for one in self.workers if self.at - one.seen_at < timedelta(seconds=ALIVE_S)]

    def gone(self) -> list[WorkerRow]:
        """The workers that fell silent without saying that they stop."""
        return [one for one in self.workers if self.at - one.seen_at >= timedelta(seconds=ALIVE_S)]


def collect(seldom: Seldom | None = None) -> Facts:
    """Ask for all of it. seldom: what is not to be asked for again."""
    figures = {one.actor: one for one in stats.recent(FIGURES_S)}
    return Facts(
        times.now(),
        figures,
        workers.every(),
        {one.queue: one for one in controls.paused()},
        {one.actor: one for one in controls.limits()},
        seldom or collect_seldom(figures.get(ORDERS)),
        stats.signs(),
        server.is_read_only(),
        clocks.lately(),
        controls.freed(),
        waiting_moves.figures(),
    )


def collect_seldom(orders: ActorFigures | None) -> Seldom:
    """What is dear to count, or changes by the hour. orders: the figures of the last minute."""
    count, _ = failures.count(FailureQuery())
    usual = stats.rejections(ORDERS)
    lately = Rejections(orders.decided, orders.refused) if orders else Rejections()
    short = lookup.shortages() if is_spike(lately, usual) else ()
    since = times.now() - DROPPED_LATELY
    dropped, _ = failures.count(FailureQuery(error_class=DROPPED, failed_after=since))
    return Seldom(count, reconciliation.latest(), times.sampled_at(), usual, short, dropped)
