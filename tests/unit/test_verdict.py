"""The verdict: by what is lost or stuck, in plain words, the gravest first."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import msgspec
import pytest

from actors.dropped import Dropped
from actors.queues import QueueState
from actors.situation import FAILED_MIN, served_queues
from actors.terminal.top import verdict_lines
from actors.verdict import RULES, Link, Reason, Verdict, judge
from config import settings
from models.host_clock import host_clock
from models.queries.clocks import ClockReports
from models.queries.controls import ActorLimit, PausedQueue
from models.queries.facts import Seldom
from models.queries.lookup import Shortage
from models.queries.stats import Signs
from models.rules.figures import ActorFigures
from models.rules.rejections import Rejections, is_spike
from tests.unit.test_dashboard_standing import NOW, a_snapshot, a_worker, checked, sampled
from web.dashboard.snapshot import Snapshot

PLACE = "place_orders"
ORDERS = "holdfast.orders"


def ago(seconds: float) -> datetime:
    return NOW - timedelta(seconds=seconds)


def verdict_of(snapshot: Snapshot, **given: Any) -> Verdict:
    return judge(snapshot.situation(), msgspec.structs.replace(settings(), **given))


def texts(snapshot: Snapshot) -> list[str]:
    return [reason.text for reason in verdict_of(snapshot).reasons]


def queue(
    ready: int = 0, *, unacked: int = 0, delayed: int = 0, dead: int = 0, consumers: int = 1,
    oldest_s: float | None = None, put_back_s: float = 0.0,
) -> dict[str, QueueState]:  # fmt: skip
    """The queue of new orders."""
    oldest_at = None if oldest_s is None else ago(oldest_s)
    return {ORDERS: QueueState(ready, delayed, dead, consumers, oldest_at, unacked, 0, put_back_s)}


def orders(**counts: Any) -> dict[str, ActorFigures]:
    """What the actor of new orders did in the last minute."""
    return {PLACE: ActorFigures(PLACE, seconds=60, **counts)}


def signs(decided_s_ago: float | None = None, limited: int = 0) -> dict[str, Signs]:
    decided_at = None if decided_s_ago is None else ago(decided_s_ago)
    return {PLACE: Signs(decided_at, limited)}


def limit(text: str) -> dict[str, ActorLimit]:
    return {PLACE: ActorLimit(PLACE, text, "Ada", NOW)}


PAUSED = {ORDERS: PausedQueue(ORDERS, "a sale", "Ada", NOW)}


def test_where_nothing_is_wrong_the_verdict_says_so() -> None:
    verdict = verdict_of(a_snapshot())

    assert (verdict.weight, verdict.reasons) == ("good", [])
    assert verdict.headline is None


@pytest.mark.parametrize(
    ("queues", "facts", "title"),
    [
        # What was seen: all attempts fail, nothing is decided, and 328 messages wait.
        (queue(28, delayed=300, oldest_s=30), {"figures": orders(failed=2_000)},
         "Nothing is being decided: 328 messages wait and every attempt fails."),
        # The minute before still has some that went well.
        (queue(40, delayed=8), {"figures": orders(failed=30, handled=10), "signs": signs(12)},
         "Nothing is being decided: 48 messages wait and 75 % of the attempts failed in the last "
         "minute."),
        # A single order on a quiet day
        (queue(delayed=1, put_back_s=12), {"figures": orders(failed=3)},
         "Nothing is being decided: 1 message waits and every attempt fails."),
        # Nothing fails, and nothing comes of it: the database holds a lock, a thread hangs
        (queue(unacked=16, oldest_s=25), {"signs": signs(25)},
         "Nothing is being decided: 16 messages wait and the oldest has waited 25 s."),
        (queue(5, consumers=0, oldest_s=25), {"workers": []},
         "Nothing is being decided: 5 messages wait and no worker is alive."),
        # A limit is no excuse where all fails
        (queue(5), {"figures": orders(failed=9), "limits": limit("1/m"), "signs": signs(None, 3)},
         "Nothing is being decided: 5 messages wait and every attempt fails."),
        # Nor where its own windows pass
        (queue(5, oldest_s=49), {"limits": limit("1000/s"), "signs": signs(49, 1)},
         "Nothing is being decided: 5 messages wait and the oldest has waited 49 s."),
        (queue(5, oldest_s=200), {"limits": limit("9/m"), "signs": signs(None, 1)},
         "Nothing is being decided: 5 messages wait and the oldest has waited 3 min."),
        # Others go on
        (queue(5), {"figures": orders(failed=9),
                    "signs": signs() | {"move_orders": Signs(NOW, 0)}},
         "Nothing of place_orders is being decided: 5 messages wait and every attempt fails."),
    ],
)  # fmt: skip
def test_nothing_decided_while_messages_wait_is_the_headline(
    queues: dict[str, QueueState], facts: dict[str, Any], title: str
) -> None:
    verdict = verdict_of(a_snapshot(queues, **facts))

    assert (verdict.weight, verdict.title) == ("bad", title)
    assert verdict.headline is not None
    assert verdict.headline not in verdict.others


@pytest.mark.parametrize(
    ("queues", "facts"),
    [
        # Work as usual, a batch at this moment, a first order after a quiet hour
        (queue(3, unacked=5, oldest_s=0.2), {"signs": signs(3), "figures": orders(handled=9)}),
        (queue(unacked=1, oldest_s=2), {"signs": signs(None)}),
        # A move that waits for its order is delayed, and nothing fails
        (queue(delayed=2), {"signs": signs(None)}),
        (queue(), {"figures": orders(failed=9), "signs": signs(None)}),
        # A single attempt failed on a quiet day, and the next one is to come
        (queue(delayed=1), {"figures": orders(failed=1)}),
        # Somebody chose it
        (queue(900, oldest_s=3_600, consumers=0), {"paused": PAUSED}),
        (queue(900, oldest_s=3_600), {"limits": limit("1/m"), "signs": signs(50, 4)}),
        (queue(900, oldest_s=9_000), {"limits": limit("1/h"), "signs": signs(None, 4)}),
    ],
)  # fmt: skip
def test_what_flows_or_was_chosen_is_not_called_stuck(
    queues: dict[str, QueueState], facts: dict[str, Any]
) -> None:
    assert not any("being decided" in text for text in texts(a_snapshot(queues, **facts)))


@pytest.mark.parametrize(
    ("handled", "failed", "weight"),
    [(400, 100, "bad"), (401, 99, "warn"), (0, FAILED_MIN, "bad"), (0, FAILED_MIN - 1, "warn"),
     (5, 4, "warn"), (100, 0, "good")],
)  # fmt: skip
def test_a_fifth_of_the_attempts_is_the_bound(handled: int, failed: int, weight: str) -> None:
    snapshot = a_snapshot(figures=orders(handled=handled, failed=failed), signs=signs(1))

    assert verdict_of(snapshot).weight == weight


def test_a_limit_that_somebody_set_is_a_word_and_no_fault() -> None:
    # What was seen: a limit of one a minute, and a backlog as old as it makes it.
    waiting = a_snapshot(
        queue(200, oldest_s=600), limits=limit("1/m"), signs=signs(70, 5), figures=orders(limited=5)
    )

    verdict = verdict_of(waiting)

    assert verdict.weight == "warn"
    assert verdict.title == "Running, but 1 thing needs attention."
    assert texts(waiting) == [
        "place_orders is held back by its rate limit of 1/m: 200 messages wait, the oldest for "
        "10 min"
    ]


def test_the_limit_of_the_settings_is_one_too() -> None:
    waiting = a_snapshot(queue(200, oldest_s=600), signs=signs(70, 5))

    assert verdict_of(waiting, orders_rate_limit="1/m").weight == "warn"
    assert verdict_of(waiting).weight == "bad"


def test_a_dead_letter_without_a_record_is_red_and_leads_to_its_runbook() -> None:
    verdict = verdict_of(a_snapshot(queue(dead=3)))

    assert verdict.weight == "bad"
    assert verdict.title == (
        "3 dead letters have no record, in holdfast.orders.XQ: their commands are not decided."
    )
    assert verdict.headline is not None
    assert verdict.headline.runbook == "HoldfastDeadLetters"


def test_what_rabbitmq_drops_or_will_drop_is_red_and_leads_to_its_runbook() -> None:
    lately = a_snapshot(seldom=Seldom(3, None, dropped=3))
    soon = [f"a policy sets message-ttl of {name}" for name in (ORDERS, f"{ORDERS}.DQ")]

    dropped, conflict, conflicts = (
        verdict_of(snapshot).headline
        for snapshot in (
            lately,
            a_snapshot(clocks=ClockReports({}, soon[:1])),
            a_snapshot(clocks=ClockReports({}, soon)),
        )
    )

    assert dropped is not None
    assert conflict is not None
    assert conflicts is not None
    assert (dropped.runbook, dropped.text) == (
        "HoldfastMessagesDropped",
        "RabbitMQ dropped 3 messages within the last hour: they are failures on record",
    )
    assert dropped.address == f"/dashboard/failures?error_class={Dropped.__name__}"
    assert (conflict.runbook, conflict.text) == (
        "HoldfastPolicyConflict", f"RabbitMQ drops messages, or will: {soon[0]}"
    )  # fmt: skip
    assert conflicts.text == f"{conflict.text}, and 1 more like it"


@pytest.mark.parametrize(
    ("snapshot", "weight", "text"),
    [
        (a_snapshot(unknown="database"), "bad", "The database has not answered since 17:00:00 UTC"),
        (a_snapshot(unknown="broker"), "bad", "RabbitMQ has not answered since 17:00:00 UTC"),
        (a_snapshot(workers=[]), "bad", "No worker is alive: orders are accepted but not decided"),
        (a_snapshot(workers=[a_worker(), a_worker(20)]), "warn",
         "1 worker went silent without a clean stop"),
        (a_snapshot(queue(3, consumers=0)), "bad", "1 queue has no consumer, and 3 messages wait"),
        (a_snapshot(queue(3, oldest_s=240), signs=signs(1)), "warn",
         "The oldest message in holdfast.orders has waited 4 min"),
        (a_snapshot(queue(3, oldest_s=400), signs=signs(1)), "bad",
         "The oldest message in holdfast.orders has waited 7 min"),
        (a_snapshot(queue(95_000), signs=signs(1)), "bad",
         "holdfast.orders is 95 % full; when full, it refuses orders"),
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
         "The books have not been checked yet"),
        (a_snapshot(figures=orders(failed=3, handled=1)), "warn",
         "3 attempts failed in the last minute (place_orders)"),
        (a_snapshot(figures=orders(failed=38, handled=62), signs=signs(1)), "bad",
         "38 % of the attempts of place_orders failed in the last minute"),
        (a_snapshot(queue(900, consumers=0, oldest_s=3_600), paused=PAUSED), "warn",
         "holdfast.orders is paused by Ada: a sale"),
    ],
)  # fmt: skip
def test_each_trouble_is_named_with_its_weight(snapshot: Snapshot, weight: str, text: str) -> None:
    verdict = verdict_of(snapshot)

    assert verdict.weight == weight
    assert text in [reason.text for reason in verdict.reasons]
    assert all(reason.address.startswith("/") for reason in verdict.reasons)


@pytest.mark.parametrize(("seconds", "said"), [(59, []), (
    200, ["2 messages of holdfast.orders have been failing for 3 min"])])  # fmt: skip
def test_a_message_that_comes_back_for_more_than_a_minute_is_red(
    seconds: float, said: list[str]
) -> None:
    state = replace(queue(2)[ORDERS], put_back=2, put_back_s=seconds)

    snapshot = a_snapshot({ORDERS: state}, signs=signs(1))

    assert texts(snapshot) == said
    assert verdict_of(snapshot).weight == ("bad" if said else "good")


@pytest.mark.parametrize(
    ("target", "facts"),
    [
        (f"queue:{ORDERS}", {}),
        # Its limit was lifted, or raised.
        (f"actor:{PLACE}", {"signs": signs(None, 4)}),
        (f"actor:{PLACE}", {"signs": signs(None, 4), "limits": limit("900/s")}),
    ],
)  # fmt: skip
def test_a_backlog_that_was_just_freed_has_its_time_to_flow(
    target: str, facts: dict[str, Any]
) -> None:
    waiting = queue(900, consumers=0, oldest_s=3_600)

    def weight(freed_s_ago: float, waiting: dict[str, QueueState], **more: Any) -> str:
        freed = {target: ago(freed_s_ago)}
        return verdict_of(a_snapshot(waiting, **{**facts, "freed": freed, **more})).weight

    assert weight(3, waiting) != "bad"
    # Nobody took it up
    assert weight(11, waiting) == "bad"
    # It drains, for a while, and for too long
    draining = {"signs": signs(1)}
    assert weight(50, queue(900, oldest_s=3_600), **draining) == "good"
    assert weight(400, queue(900, oldest_s=3_600), **draining) == "bad"


LANE = "holdfast.skus"


def lane(**state: Any) -> dict[str, QueueState]:
    return {LANE: queue(**state)[ORDERS]}


def test_messages_of_a_lane_are_counted_once_though_two_actors_share_it() -> None:
    stuck = a_snapshot(lane(ready=3, oldest_s=20), signs=signs(1))

    assert texts(stuck) == [
        "Nothing of put_products, adjust_stock and place_behind is being decided: 3 messages wait "
        "and the oldest has waited 20 s"
    ]
    assert texts(a_snapshot(lane(ready=3, consumers=0))) == [
        "1 queue has no consumer, and 3 messages wait"
    ]


def test_a_lane_flows_if_one_of_its_actors_decides() -> None:
    flowing = {"put_products": Signs(ago(1), 0), "adjust_stock": Signs(ago(50), 0)}

    assert texts(a_snapshot(lane(ready=3, oldest_s=20), signs=flowing)) == []


def test_the_limit_of_one_actor_explains_why_its_lane_waits() -> None:
    held = a_snapshot(
        lane(ready=3, oldest_s=20),
        signs={"put_products": Signs(None, 4)},
        limits={"put_products": ActorLimit("put_products", "1/h", "Ada", NOW)},
    )

    assert texts(held) == [
        "put_products is held back by its rate limit of 1/h: 3 messages wait, the oldest for 20 s"
    ]


def test_a_paused_queue_is_only_said_to_be_paused() -> None:
    waiting = a_snapshot(queue(900, consumers=0, oldest_s=3_600), paused=PAUSED)

    assert texts(waiting) == ["holdfast.orders is paused by Ada: a sale"]

    # Nobody knows of the pause while the database is away
    away = waiting._replace(facts=a_snapshot(unknown="database").facts)
    assert texts(away) == ["The database has not answered since 17:00:00 UTC"]


@pytest.mark.parametrize(
    "snapshot",
    [
        # It has just begun
        a_snapshot(workers=[a_worker(started_s_ago=200)]),
        a_snapshot(workers=[a_worker(started_s_ago=9_000)], seldom=sampled(20)),
        # Killed and long since replaced
        a_snapshot(workers=[a_worker(), a_worker(seen_s_ago=16 * 60)]),
        # A limit that was lifted a minute ago
        a_snapshot(signs=signs(1, 4)),
    ],
)
def test_what_is_no_trouble_any_more_is_not_named(snapshot: Snapshot) -> None:
    assert texts(snapshot) == []


def test_without_rabbitmq_nobody_says_that_the_clock_is_silent() -> None:
    silent = a_snapshot(unknown="broker", seldom=sampled(900))

    assert texts(silent) == ["RabbitMQ has not answered since 17:00:00 UTC"]


def test_the_gravest_comes_first_and_is_said_once() -> None:
    snapshot = a_snapshot(
        queue(5, dead=2, oldest_s=900), figures=orders(failed=9), seldom=Seldom(12, None)
    )

    verdict = verdict_of(snapshot)

    assert verdict.title.startswith("Nothing is being decided: 5 messages wait and every attempt")
    assert [(one.weight, one.text[:6]) for one in verdict.others] == [
        ("bad", "2 dead"), ("warn", "12 fai")
    ]  # fmt: skip


# --- rejections ---


@pytest.mark.parametrize(
    ("lately", "usual", "spike"),
    [
        (Rejections(100, 40), Rejections(3_000, 90), True),
        (Rejections(100, 40), Rejections(), True),
        (Rejections(100, 40), Rejections(3_000, 900), False),
        (Rejections(1_000, 200), Rejections(3_000, 90), False),
        (Rejections(20, 20), Rejections(3_000, 90), False),
        (Rejections(), Rejections(), False),
    ],
)
def test_a_spike_is_many_and_far_above_the_usual(
    lately: Rejections, usual: Rejections, spike: bool
) -> None:
    assert is_spike(lately, usual) is spike


def test_a_spike_of_rejections_says_what_was_short() -> None:
    # What was seen: 40 % of the orders rejected, and not a word.
    short = [Shortage("TWL-01", 36, False), Shortage("NO-SUCH", 4, True)]
    seldom = Seldom(0, None, None, Rejections(3_000, 90), short)
    snapshot = a_snapshot(figures=orders(decided=100, refused=40, handled=100), seldom=seldom)

    (reason,) = verdict_of(snapshot).reasons

    assert reason == Reason(
        "warn",
        "40 % of the orders of the last minute were rejected (3.0 % in the hour before), most for "
        "TWL-01 and NO-SUCH",
        "/dashboard/orders?status=rejected",
        [
            Link("TWL-01: 36 orders", "/dashboard/inventory/TWL-01"),
            Link("NO-SUCH: 4 orders, no such SKU", "/dashboard/orders?status=rejected&sku=NO-SUCH"),
        ],
    )


def test_every_rule_is_silent_where_all_is_well() -> None:
    situation = a_snapshot().situation()
    situation = situation._replace(served=served_queues(situation, settings()))

    assert [list(rule(situation, settings())) for rule in RULES] == [[]] * len(RULES)


def test_a_terminal_names_the_runbook_of_each_trouble() -> None:
    snapshot = a_snapshot(queue(dead=3), read_only=True, seldom=Seldom(9, None))

    title, *others = verdict_lines(verdict_of(snapshot))

    assert title.startswith("!! The database is read-only")
    assert title.endswith(" (docs/runbooks/HoldfastDatabaseReadOnly.md)")
    assert [line.split()[:2] for line in others] == [["!!", "3"], ["!", "9"]]
    assert others[0].endswith(" (docs/runbooks/HoldfastDeadLetters.md)")
    assert "runbooks" not in others[1]


def test_a_read_only_database_is_the_headline() -> None:
    verdict = verdict_of(a_snapshot(read_only=True))

    assert verdict.title.startswith("The database is read-only: accepted orders wait")
    assert verdict.headline is not None
    assert verdict.headline.runbook == "HoldfastDatabaseReadOnly"


def test_a_wrong_clock_of_this_machine_is_worth_a_word(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host_clock, "ahead_s", 12_960_000.0)

    verdict = verdict_of(a_snapshot())

    assert (verdict.weight, verdict.reasons[0].runbook) == ("warn", "HoldfastHostClockWrong")
    assert "150 d ahead of the database's" in verdict.reasons[0].text
