"""A snapshot as operators read it, and figures in words."""

import dataclasses
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from actors import holdings
from actors.commands import ROUTES
from actors.queues import QueueState
from config import settings
from models.queries.facts import Facts, Seldom
from models.queries.reconciliation import Found, Reconciled
from models.queries.workers import WorkerRow
from models.rules.figures import ActorFigures
from models.rules.formatting import ago, duration, number, percent, plural
from web.dashboard import delayed, standing, words
from web.dashboard.snapshot import Part, Snapshot

NOW = datetime(2026, 11, 23, 17, 0, tzinfo=UTC)
IDLE = QueueState(ready=0, delayed=0, dead=0, consumers=1, oldest_at=None)


def a_worker(seen_s_ago: float = 1.0, started_s_ago: float = 0.0) -> WorkerRow:
    seen, started = (NOW - timedelta(seconds=ago) for ago in (seen_s_ago, started_s_ago))
    return WorkerRow("w", "host", 1, "0.1.0", started, 8, 0, 1, {}, seen)


def checked(differences: int = 0, hours_ago: float = 0) -> Reconciled:
    stock = Found("stock", "stock and its movements", "", differences, 9, [])
    return Reconciled(NOW - timedelta(hours=hours_ago), None, 9, [stock], None)


def sampled(seconds_ago: float) -> Seldom:
    return Seldom(0, checked(), NOW - timedelta(seconds=seconds_ago))


def a_snapshot(
    queues: dict[str, QueueState] | None = None, unknown: str = "", **facts: Any
) -> Snapshot:
    """All is well but for what is given."""
    known = {
        "at": NOW, "figures": {}, "workers": [a_worker()], "paused": {}, "limits": {},
        "seldom": Seldom(0, None), **facts,
    }  # fmt: skip
    states = {route.queue: IDLE for route in ROUTES.values()} | (queues or {})
    return Snapshot(
        1, NOW,
        Part(None, NOW) if unknown == "database" else Part(Facts(**known)),
        Part(None, NOW) if unknown == "broker" else Part(states),
    )  # fmt: skip


def test_rates_are_per_second_of_the_time_they_cover() -> None:
    figures = ActorFigures("place_orders", handled=9, failed=1, decided=500, refused=50, seconds=50)
    facts = a_snapshot(figures={"place_orders": figures}).facts.value
    assert facts is not None
    given = msgspec.structs.replace(settings(), orders_rate_limit="9/s")

    actor = next(one for one in standing.actors(facts, given) if one.name == "place_orders")

    assert (actor.decided, actor.refused, actor.error_share) == (10.0, 1.0, 0.1)
    assert actor.default_limit == "9/s"


@pytest.mark.parametrize(
    ("said", "text"),
    [
        (number(None), "–"), (number(0), "0"), (number(1234567), "1,234,567"),
        (number(2.0), "2"), (number(0.05), "0.05"), (words.rate(1234.5), "1,234"),
        (words.rate(0.034) + words.per(0.034), "2/min"), (words.rate(0) + words.per(0), "0.0/s"),
        (words.rate(0.001) + words.per(0.001), "1/min"), (words.per(0.1), "/s"),
        (words.rate(None) + words.per(None), "–/s"), (duration(0.0004), "0.4 ms"),
        (duration(0.045), "45 ms"), (duration(1.25), "1.2 s"),
        (duration(240), "4 min"), (ago(NOW, NOW), "now"),
        (ago(NOW - timedelta(seconds=61), NOW), "1 min ago"),
        (ago(NOW + timedelta(seconds=20), NOW), "in 20 s"), (words.size(512), "512 B"),
        (words.size(47_400_000), "45.2 MiB"), (percent(0.0001), "< 0.1 %"),
        (percent(0.12), "12 %"), (plural(1, "queue"), "1 queue"),
        (words.exact(NOW), "2026-11-23 17:00:00.000 UTC"),
        (words.iso(NOW), "2026-11-23T17:00:00.000Z"),
        (words.points([0, None, 5, 10], 30, 12), ["20.0,6.0 30.0,1.0"]),
    ],
)  # fmt: skip
def test_figures_are_said_in_few_words(said: object, text: object) -> None:
    assert said == text


@pytest.mark.parametrize(
    ("ready", "seconds", "shown"), [(1, 0.5, 0.5), (0, 2.0, None), (0, 30.0, 30.0)]
)
def test_what_is_only_being_worked_on_does_not_count_as_waiting(
    ready: int, seconds: float, shown: float | None
) -> None:
    state = QueueState(ready, 0, 0, 1, NOW - timedelta(seconds=seconds), unacked=1)

    queue = standing.queues(a_snapshot({"holdfast.orders": state}))[0]

    assert queue.oldest_s == shown


@pytest.mark.parametrize(
    ("reason", "seen_s", "why", "overdue"),
    [
        (holdings.FAILED, 1, "An attempt failed; it will be retried", False),
        (holdings.PUT_BACK, 9, "Put back by an operator", True),
    ],
)
def test_a_delayed_message_says_why_it_waits(
    reason: str, seen_s: float, why: str, overdue: bool
) -> None:
    held = {
        "message_id": "m", "actor": "move_orders", "eta_ms": 1_000, "retries": 0, "error": "",
        "commands": 1, "reason": reason,
    }  # fmt: skip
    holds = {"holdfast.transitions": {"delayed": [held]}, "holdfast.orders": {}}
    seen_at = datetime.fromtimestamp(seen_s, UTC)

    (message,) = delayed.messages([dataclasses.replace(a_worker(), holds=holds, seen_at=seen_at)])

    assert (message.why, message.overdue) == (why, overdue)
    assert set(delayed.WHY) >= {reason}
