"""Scheduled and delayed: what waits for its time, why, and when it is due."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple

from actors import holdings
from models.queries.workers import WorkerRow
from web.dashboard import standing
from web.dashboard.live import Live, LivePage
from web.dashboard.page import Deps, Routes
from web.dashboard.snapshot import Snapshot

SHOWN_MAX: Final = 50
#: A worker moves on what is due within a moment; later than that something is in its way.
OVERDUE: Final = timedelta(seconds=1)


#: Why a message waits, in words.
WHY: Final[Mapping[str, str]] = {
    holdings.FAILED: "An attempt failed; it will be retried",
    holdings.PASSING: "A temporary fault; it is retried until the fault passes",
    holdings.SPLIT: "One of a failed batch; it is tried alone",
    holdings.GOES_ON: "A bulk operation on failures; the next part follows",
    holdings.PUT_BACK: "Put back by an operator",
}


class DelayedMessage(NamedTuple):
    """overdue: whether its worker held it past its time; retries: attempts before; why: in words;
    error: what the last attempt said, empty without a fault."""

    message_id: str
    queue: str
    actor: str
    due_at: datetime
    overdue: bool
    retries: int
    why: str
    error: str
    commands: int


class DelayedQueue(NamedTuple):
    """delayed: messages; None where not all can be told: while RabbitMQ does not answer, or the
    database, where workers say what they hold. reported: whether next_at is known."""

    name: str
    delayed: int | None
    next_at: datetime | None
    reported: bool


def messages(workers: list[WorkerRow]) -> list[DelayedMessage]:
    """The soonest messages that workers hold for later."""
    found = [
        _message(queue, one, worker.seen_at)
        for worker in workers
        for queue, held in worker.holds.items()
        for one in held.get("delayed", ())
    ]
    return sorted(found, key=lambda message: message.due_at)[:SHOWN_MAX]


def _message(queue: str, one: Mapping[str, Any], seen_at: datetime) -> DelayedMessage:
    due_at = _time(one["eta_ms"])
    return DelayedMessage(
        one["message_id"], queue, one["actor"], due_at, seen_at - due_at > OVERDUE, one["retries"],
        WHY[one["reason"]], one["error"], one["commands"],
    )  # fmt: skip


def context(snapshot: Snapshot, _deps: Deps) -> Mapping[str, object]:
    """What the live part shows."""
    facts = snapshot.facts.value
    alive = [] if facts is None else facts.alive()
    queues = [
        DelayedQueue(queue.name, queue.delayed, _next_at(queue.name, alive), queue.reported)
        for queue in standing.queues(snapshot)
    ]
    return {
        "facts": facts,
        "delayed_queues": queues,
        "messages": messages(alive),
        "shown_max": SHOWN_MAX,
        "waiting": None if facts is None else facts.waiting,
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
