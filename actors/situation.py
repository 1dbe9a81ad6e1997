"""What is known of the whole system at a time, put together for the verdict."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from math import inf
from typing import Final, NamedTuple

from actors.commands import ACTORS_BY_QUEUE
from actors.limits import parse_rate
from actors.queues import QueueState
from config import Settings
from models.queries.facts import ORDERS, Facts
from models.queries.stats import SIGNS_S, Signs
from models.rules.figures import ActorFigures, total

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


class ServedQueue(NamedTuple):
    """A queue with its actors. oldest_s: how long the oldest message has waited, 0 of none.

    figures, decided_at: of all its actors together; limit: the rate limit that has held messages
    back lately, the one with the longest window where several did, empty for none; free_s: since
    it was last resumed or a limit of it changed: workers notice that, and report what comes of it,
    after some seconds.
    """

    name: str
    actors: Sequence[str]
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
        return min(quiet_s, self.free_s) < 2 * _window_ms(self.limit) / 1000


class Situation(NamedTuple):
    """What is known at a time. facts, queues: None while the database or RabbitMQ does not answer;
    then *_silent_since says since when; served: see `served_queues`, which `judge` puts in."""

    at: datetime
    facts: Facts | None
    queues: Mapping[str, QueueState] | None
    facts_silent_since: datetime | None = None
    queues_silent_since: datetime | None = None
    served: Sequence[ServedQueue] = ()


def served_queues(seen: Situation, given: Settings) -> list[ServedQueue]:
    """All queues with their actors; none while RabbitMQ does not answer."""
    known = seen.queues or {}
    return [
        _served(queue, actors, known[queue], seen, given)
        for queue, actors in ACTORS_BY_QUEUE.items()
        if queue in known
    ]


def _served(
    queue: str, actors: Sequence[str], state: QueueState, seen: Situation, given: Settings
) -> ServedQueue:
    facts, idle = seen.facts, ActorFigures(queue)
    age_s = state.age_s(seen.at) or 0.0
    if facts is None:
        return ServedQueue(queue, actors, state, age_s, False, idle, None, "")
    figures = [facts.figures[actor] for actor in actors if actor in facts.figures]
    signs = {actor: facts.signs.get(actor, Signs(None, 0)) for actor in actors}
    limits = [limit_in_force(facts, actor, given) for actor in actors if signs[actor].limited]
    return ServedQueue(
        queue, actors, state, age_s, queue in facts.paused, total(queue, figures),
        max((each.decided_at for each in signs.values() if each.decided_at), default=None),
        max(filter(None, limits), key=_window_ms, default=""),
        _free_s(queue, actors, facts, seen.at),
    )  # fmt: skip


def _window_ms(limit: str) -> int:
    return parse_rate(limit)[1]


def _free_s(queue: str, actors: Sequence[str], facts: Facts, at: datetime) -> float:
    targets = (f"queue:{queue}", *(f"actor:{actor}" for actor in actors))
    freed = [facts.freed[target] for target in targets if target in facts.freed]
    return min(((at - each).total_seconds() for each in freed), default=inf)


def limit_in_force(facts: Facts, actor: str, given: Settings) -> str:
    """The rate limit of an actor, empty for none: one that was set, else that of the settings."""
    if actor in facts.limits:
        return facts.limits[actor].rate_limit
    return (given.orders_rate_limit or "") if actor == ORDERS else ""
