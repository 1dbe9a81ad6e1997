"""A snapshot as operators read it: per actor, per queue."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final, NamedTuple

from actors.commands import ACTORS_BY_QUEUE, ROUTES, ROUTES_BY_ACTOR, Operate
from actors.controls import NEVER_PAUSED
from actors.queues import QueueState
from config import Settings
from models.queries.controls import ActorLimit, PausedQueue
from models.queries.facts import ORDERS, Facts
from models.rules.figures import ActorFigures
from models.rules.histograms import mean, quantile_s
from web.dashboard.snapshot import Snapshot

#: Longer than a report of a worker is old, and than most messages take.
IN_WORK_S: Final = 5.0
#: What operators' own commands go through is never limited, nor is its queue paused.
NEVER_LIMITED: Final = ROUTES[Operate].actor


class Times(NamedTuple):
    """Quantiles in seconds, None of nothing."""

    p50: float | None
    p95: float | None
    p99: float | None


class Actor(NamedTuple):
    """decided, refused: commands per second; failed: attempts in all, share: of all attempts;
    batch: commands per transaction on average; default_limit: of the settings."""

    name: str
    queue: str
    decided: float
    refused: float
    messages: float
    failed: int
    dead: int
    limited: int
    error_share: float | None
    batch: float | None
    waited: Times
    ran: Times
    took: Times
    limit: ActorLimit | None
    default_limit: str | None

    @property
    def limitable(self) -> bool:
        return self.name != NEVER_LIMITED


class Queue(NamedTuple):
    """state: None while RabbitMQ does not answer; oldest_s: None where none waits;
    reported: whether it is known what workers hold, and what is paused: the database's part."""

    name: str
    actors: Sequence[str]
    state: QueueState | None
    oldest_s: float | None
    paused: PausedQueue | None
    pausable: bool
    reported: bool = True

    @property
    def word(self) -> str:
        """One word for its badge."""
        if self.paused:
            return "paused"
        if self.state is None:
            return "unknown"
        return "consuming" if self.state.consumers else "no consumer"

    @property
    def delayed(self) -> int | None:
        """Messages that wait for their time, None where unknown: most of them workers hold."""
        return self.state.delayed if self.state and self.reported else None

    @property
    def unacked(self) -> int | None:
        """Messages with workers, None where unknown."""
        return self.state.unacked if self.state and self.reported else None


def actors(facts: Facts, given: Settings) -> list[Actor]:
    """All actors, those that did nothing too."""
    return [
        _actor(
            facts.figures.get(route.actor) or ActorFigures(route.actor), route.queue, facts, given
        )
        for route in ROUTES_BY_ACTOR.values()
    ]


def _actor(figures: ActorFigures, queue: str, facts: Facts, given: Settings) -> Actor:
    seconds = figures.seconds or 1.0
    attempts = figures.handled + figures.failed
    return Actor(
        figures.actor, queue,
        figures.decided / seconds, figures.refused / seconds, figures.handled / seconds,
        figures.failed, figures.dead, figures.limited,
        figures.failed / attempts if attempts else None,
        mean(figures.batch),
        times(figures.waited), times(figures.ran), times(figures.took),
        facts.limits.get(figures.actor),
        given.orders_rate_limit if figures.actor == ORDERS else None,
    )  # fmt: skip


def times(histogram: list[int]) -> Times:
    return Times(*(quantile_s(histogram, q) for q in (0.5, 0.95, 0.99)))


def queues(snapshot: Snapshot) -> list[Queue]:
    """All queues, as far as they are known."""
    paused = snapshot.facts.value.paused if snapshot.facts.value else {}
    states = snapshot.queues.value or {}
    return [
        Queue(
            queue, actors, states.get(queue), _age_s(states.get(queue), snapshot.at),
            paused.get(queue), queue != NEVER_PAUSED, snapshot.facts.known,
        )
        for queue, actors in ACTORS_BY_QUEUE.items()
    ]  # fmt: skip


def _age_s(state: QueueState | None, now: datetime) -> float | None:
    """The age of the oldest message, None where there is none.

    What a worker reported to be at is most likely done by now: where no message waits, only a long
    time is worth a word.
    """
    age_s = state.age_s(now) if state else None
    if state is None or age_s is None:
        return None
    return age_s if state.ready or age_s >= IN_WORK_S else None
