"""The verdict over a snapshot, and figures in words."""

import dataclasses
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from actors.commands import ROUTES
from actors.queues import QueueState
from config import settings
from models.queries.controls import PausedQueue
from models.queries.reconciliation import Found, Reconciled
from models.queries.workers import WorkerRow
from models.rules.figures import ActorFigures
from web.dashboard import delayed, standing, words
from web.dashboard.snapshot import Facts, Part, Seldom, Snapshot
from web.dashboard.verdict import judge

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


def reasons(snapshot: Snapshot) -> list[str]:
    return [reason.text for reason in judge(snapshot, settings()).reasons]


def test_where_nothing_is_wrong_the_verdict_says_so() -> None:
    verdict = judge(a_snapshot(), settings())

    assert (verdict.weight, verdict.reasons) == ("good", [])


@pytest.mark.parametrize(
    ("snapshot", "weight", "text"),
    [
        (a_snapshot(unknown="database"), "bad", "The database has not answered since 17:00:00 UTC"),
        (a_snapshot(unknown="broker"), "bad", "RabbitMQ has not answered since 17:00:00 UTC"),
        (a_snapshot(workers=[]), "bad", "No worker is alive: orders are taken, but not decided"),
        (a_snapshot(workers=[a_worker(), a_worker(20)]), "warn",
         "1 worker fell silent without stopping in good order"),
        (a_snapshot({"holdfast.orders": QueueState(3, 0, 0, 0, None)}), "bad",
         "1 queue has no consumer, and 3 messages wait"),
        (a_snapshot({"holdfast.orders": QueueState(3, 0, 0, 1, NOW - timedelta(minutes=4))}),
         "warn", "The oldest message in holdfast.orders has waited 4 min"),
        (a_snapshot({"holdfast.orders": QueueState(95_000, 0, 0, 1, None)}), "bad",
         "holdfast.orders is 95 % full; full, it refuses orders"),
        (a_snapshot(seldom=Seldom(12, None)), "warn",
         "12 failures wait to be retried or discarded"),
        (a_snapshot(seldom=Seldom(0, checked(differences=2))), "bad",
         "Reconciliation found 2 differences between stock and its movements"),
        (a_snapshot(seldom=Seldom(0, checked(hours_ago=5))), "warn",
         "The books were last checked 5 h ago; does the clock run?"),
        (a_snapshot(workers=[a_worker(started_s_ago=400)]), "warn",
         "The clock has never run: no history of the queues, no clean-up, no partitions for the "
         "months to come. Start it: holdfast clock"),
        (a_snapshot(seldom=sampled(90)), "warn",
         "The clock last gave a sign 1 min ago: no history of the queues, no clean-up, no "
         "partitions for the months to come. Start it: holdfast clock"),
        (a_snapshot(workers=[a_worker(started_s_ago=400)], seldom=Seldom(0, None, NOW)), "warn",
         "The books were never checked yet"),
        (a_snapshot(figures={"place_orders": ActorFigures("place_orders", failed=3, seconds=60)}),
         "warn", "3 attempts failed in the last minute (place_orders)"),
    ],
)  # fmt: skip
def test_each_trouble_is_named_with_its_weight(snapshot: Snapshot, weight: str, text: str) -> None:
    verdict = judge(snapshot, settings())

    assert verdict.weight == weight
    assert text in [reason.text for reason in verdict.reasons]
    assert all(reason.address.startswith("/") for reason in verdict.reasons)


@pytest.mark.parametrize(
    "snapshot",
    [
        # It has just begun
        a_snapshot(workers=[a_worker(started_s_ago=200)]),
        a_snapshot(workers=[a_worker(started_s_ago=9_000)], seldom=sampled(20)),
        # Killed and long since replaced
        a_snapshot(workers=[a_worker(), a_worker(seen_s_ago=16 * 60)]),
    ],
)
def test_what_is_no_trouble_any_more_is_not_named(snapshot: Snapshot) -> None:
    assert reasons(snapshot) == []


def test_without_rabbitmq_nobody_says_that_the_clock_is_silent() -> None:
    silent = a_snapshot(unknown="broker", seldom=sampled(900))

    assert reasons(silent) == ["RabbitMQ has not answered since 17:00:00 UTC"]


def test_a_queue_that_somebody_paused_is_no_fault_but_is_named() -> None:
    paused = {"holdfast.orders": PausedQueue("holdfast.orders", "a sale", "Ada", NOW)}
    waiting = {"holdfast.orders": QueueState(900, 0, 0, 0, NOW - timedelta(hours=1))}

    assert reasons(a_snapshot(waiting, paused=paused)) == [
        "holdfast.orders is paused by Ada: a sale"
    ]


def test_the_worst_comes_first() -> None:
    snapshot = a_snapshot(workers=[], seldom=Seldom(12, None))

    verdict = judge(snapshot, settings())

    assert [reason.weight for reason in verdict.reasons] == ["bad", "warn"]
    assert verdict.title == "1 thing needs you now."


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
        (words.number(None), "–"), (words.number(0), "0"), (words.number(1234567), "1,234,567"),
        (words.number(2.0), "2"), (words.number(0.05), "0.05"), (words.rate(1234.5), "1,234"),
        (words.rate(0.034) + words.per(0.034), "2/min"), (words.rate(0) + words.per(0), "0.0/s"),
        (words.rate(0.001) + words.per(0.001), "1/min"), (words.per(0.1), "/s"),
        (words.rate(None) + words.per(None), "–/s"), (words.duration(0.0004), "0.4 ms"),
        (words.duration(0.045), "45 ms"), (words.duration(1.25), "1.2 s"),
        (words.duration(240), "4 min"), (words.ago(NOW, NOW), "now"),
        (words.ago(NOW - timedelta(seconds=61), NOW), "1 min ago"),
        (words.ago(NOW + timedelta(seconds=20), NOW), "in 20 s"), (words.size(512), "512 B"),
        (words.size(47_400_000), "45.2 MiB"), (words.percent(0.0001), "< 0.1 %"),
        (words.percent(0.12), "12 %"), (words.plural(1, "queue"), "1 queue"),
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
    ("error", "retries", "limits", "why"),
    [
        ("OperationalError: gone", 2, {}, "failed, and is tried again"),
        ("", 0, {"place_orders": "9/s"}, "held by the rate limit, 9/s"),
        ("", 0, {"other": "9/s"}, "put back by an operator"),
    ],
)
def test_a_delayed_message_says_why_it_waits(
    error: str, retries: int, limits: dict[str, str], why: str
) -> None:
    held = {
        "message_id": "m", "actor": "place_orders", "eta_ms": 1_000, "retries": retries,
        "error": error, "commands": 3,
    }  # fmt: skip
    holds = {"holdfast.orders": {"delayed": [held]}, "holdfast.moves": {}}
    worker = dataclasses.replace(a_worker(), holds=holds)

    (message,) = delayed.messages([worker], limits)

    assert (message.why, message.queue) == (why, "holdfast.orders")
