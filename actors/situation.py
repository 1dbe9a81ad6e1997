"""What is known of the whole system at a time, put together for the verdict."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from math import inf
from typing import Final, NamedTuple

from actors.commands import ROUTES, Route
from actors.limits import parse_rate
from actors.queues import QueueState
from config import Settings
from models.queries.facts import ORDERS, Facts
from models.queries.stats import SIGNS_S, Signs
from models.rules.figures import ActorFigures

#: Nothing decided for so long, while something waits, is no pause between two messages: decisions
#: are reported every couple of seconds, in steps of ten.
STUCK_S: Final = 10.0
#: So many attempts, and this share of all, make failing the rule rather than the exception.
FAILED_MIN: Final = 5
FAILED_SHARE: Final = 0.2


def fails(figures: ActorFigures) -> bool:
    """Whether failing is the rule."""
    attempts = figures.handled + figures.failed
    return figures.failed >= max(FAILED_MIN, FAILED_SHARE * attempts)


class Lane(NamedTuple):
    """An actor with its queue. oldest_s: how long the oldest message has waited, 0 of none.

    limit: the rate limit that has held messages back lately, empty for none; free_s: since its
    queue was last resumed or its limit changed: workers notice that, and report what comes of it,
    after some seconds.
    """

    actor: str
    queue: str
    state: QueueState
    oldest_s: float
    paused: bool
    figures: ActorFigures
    decided_at: datetime | None
    limit: str
    free_s: float = inf

    @property
    def has_begun(self) -> bool:
        """Whether what somebody freed can have shown by now."""
        return self.free_s >= STUCK_S

    @property
    def waited_s(self) -> float:
        """How long the oldest message has waited while nobody chose that."""
        return min(self.oldest_s, self.free_s)

    @property
    def waiting(self) -> int:
        """Messages that are not decided, wherever they are."""
        return self.state.ready + self.state.unacked + self.state.delayed

    @property
    def attempts(self) -> int:
        return self.figures.handled + self.figures.failed

    def is_quiet(self, at: datetime) -> bool:
        """Whether it has decided nothing for some seconds."""
        return self.decided_at is None or (at - self.decided_at).total_seconds() >= STUCK_S

    def is_stuck(self, at: datetime) -> bool:
        """Whether messages wait and nothing comes of it, though nobody chose that."""
        if self.paused or not self.has_begun or not self.waiting or not self.is_quiet(at):
            return False
        if fails(self.figures):
            return True
        if self.figures.failed and not self.figures.handled:
            # A few attempts of a few messages: the next one may well do.
            return max(self.oldest_s, self.state.put_back_s) >= STUCK_S
        return self.oldest_s >= STUCK_S and not self.is_limit_the_reason(at)

    def is_limit_the_reason(self, at: datetime) -> bool:
        """Whether nothing is decided for the limit of this window is used up: then some of the next
        one is, so this explains two of its windows and no more."""
        if not self.limit:
            return False
        # Signs are of so many seconds: of what is older, the time is not known.
        quiet_s = SIGNS_S if self.decided_at is None else (at - self.decided_at).total_seconds()
        _, window_ms = parse_rate(self.limit)
        return min(quiet_s, self.free_s) < 2 * window_ms / 1000


class Situation(NamedTuple):
    """What is known at a time. facts, queues: None while the database or RabbitMQ does not answer;
    then *_silent_since says since when; lanes: see `lanes`, which `judge` puts in."""

    at: datetime
    facts: Facts | None
    queues: Mapping[str, QueueState] | None
    facts_silent_since: datetime | None = None
    queues_silent_since: datetime | None = None
    lanes: Sequence[Lane] = ()


def lanes(seen: Situation, given: Settings) -> list[Lane]:
    """All actors with their queues; none while RabbitMQ does not answer."""
    known = seen.queues or {}
    return [
        _lane(route, known[route.queue], seen, given)
        for route in ROUTES.values()
        if route.queue in known
    ]


def _lane(route: Route, state: QueueState, seen: Situation, given: Settings) -> Lane:
    facts, idle = seen.facts, ActorFigures(route.actor)
    age_s = state.age_s(seen.at) or 0.0
    if facts is None:
        return Lane(route.actor, route.queue, state, age_s, False, idle, None, "")
    decided_at, limited = facts.signs.get(route.actor, Signs(None, 0))
    return Lane(
        route.actor, route.queue, state, age_s, route.queue in facts.paused,
        facts.figures.get(route.actor, idle), decided_at,
        limit_in_force(facts, route.actor, given) if limited else "",
        _free_s(route, facts, seen.at),
    )  # fmt: skip


def _free_s(route: Route, facts: Facts, at: datetime) -> float:
    targets = (f"queue:{route.queue}", f"actor:{route.actor}")
    freed = [facts.freed[target] for target in targets if target in facts.freed]
    return min(((at - each).total_seconds() for each in freed), default=inf)


def limit_in_force(facts: Facts, actor: str, given: Settings) -> str:
    """The rate limit of an actor, empty for none: one that was set, else that of the settings."""
    if actor in facts.limits:
        return facts.limits[actor].rate_limit
    return (given.orders_rate_limit or "") if actor == ORDERS else ""
