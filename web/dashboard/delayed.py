"""Scheduled and delayed: what waits for its time, why, and when it is due."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

from models.queries.workers import WorkerRow
from web.dashboard import standing
from web.dashboard.live import Live, LivePage
from web.dashboard.page import Deps, Routes
from web.dashboard.snapshot import Snapshot

SHOWN_MAX: Final = 50


class DelayedMessage(NamedTuple):
    """retries: attempts before; error: what the last one said, empty without a fault; limit: the
    rate limit of its actor, None without one."""

    message_id: str
    queue: str
    actor: str
    due_at: datetime
    retries: int
    error: str
    commands: int
    limit: str | None

    @property
    def why(self) -> str:
        if self.error or self.retries:
            return "failed, and is tried again"
        return f"held by the rate limit, {self.limit}" if self.limit else "put back by an operator"


class DelayedQueue(NamedTuple):
    """delayed: messages; None where not all can be told: while RabbitMQ does not answer, or the
    database, where workers say what they hold. reported: whether next_at is known."""

    name: str
    delayed: int | None
    next_at: datetime | None
    reported: bool


def messages(workers: list[WorkerRow], limits: Mapping[str, str]) -> list[DelayedMessage]:
    """The soonest messages that workers hold for later. limits: by actor."""
    found = [
        _message(queue, one, limits.get(one["actor"]))
        for worker in workers
        for queue, held in worker.holds.items()
        for one in held.get("delayed", ())
    ]
    return sorted(found, key=lambda message: message.due_at)[:SHOWN_MAX]


def _message(queue: str, one: Mapping[str, Any], limit: str | None) -> DelayedMessage:
    return DelayedMessage(
        one["message_id"], queue, one["actor"], _time(one["eta_ms"]), one["retries"],
        one["error"] or "", one["commands"], limit,
    )  # fmt: skip


def context(snapshot: Snapshot, deps: Deps) -> Mapping[str, object]:
    """What the live part shows."""
    facts = snapshot.facts.value
    alive = [] if facts is None else facts.alive()
    queues = [
        DelayedQueue(queue.name, queue.delayed, _next_at(queue.name, alive), queue.reported)
        for queue in standing.queues(snapshot)
    ]
    limits = {} if facts is None else standing.limits(facts, deps.settings)
    return {
        "facts": facts,
        "delayed_queues": queues,
        "messages": messages(alive, limits),
        "shown_max": SHOWN_MAX,
    }


def _next_at(queue: str, alive: list[WorkerRow]) -> datetime | None:
    etas = [worker.holds.get(queue, {}).get("next_eta_ms") for worker in alive]
    return min((_time(eta) for eta in etas if eta is not None), default=None)


def _time(millis: int) -> datetime:
    return datetime.fromtimestamp(millis / 1000, UTC)


LIVE = Live("delayed_live.html", context)


class Delayed(LivePage):
    """GET shows what waits for its time."""

    template = "delayed.html"
    live = LIVE


def routes(deps: Deps) -> Routes:
    return {"/dashboard/delayed": Delayed(deps)}
