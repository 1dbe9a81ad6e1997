"""What workers report of themselves is what they did, and no outage takes it from them."""

import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import dramatiq
import msgspec
import psycopg2
import pytest

from actors.heartbeat import Reporter
from actors.holdings import SHOWN_MAX
from actors.inventory import adjust_stock, put_products
from actors.limits import Limited
from actors.placing import place_orders
from actors.retries import RETRIES_MAX
from actors.stats import Recorder, recorder
from config import settings
from deploy.local.servers import Postgres
from models import database as db
from models.queries import stats, workers
from models.queries.stats import Counted
from models.rules.figures import ActorFigures, blank
from models.rules.histograms import quantile, quantile_s
from tests.conftest import eventually
from tests.integration.workshop import (
    Workshop,
    declare,
    for_actor,
    message,
    new_queue,
    order,
    product,
    rows,
    stocked,
)


@pytest.fixture(autouse=True)
def from_nothing() -> None:
    """Other tests have counted in this process too."""
    recorder.take()


@pytest.fixture
def held_open() -> Iterator[threading.Event]:
    """What an actor of a test waits for; let go at the latest when the test ends."""
    event = threading.Event()
    yield event
    event.set()


def reported(actor: str) -> ActorFigures:
    found = {one.actor: one for one in stats.recent(120)}
    return found.get(actor, ActorFigures(actor))


def counts(actor: str) -> dict[str, int]:
    found = reported(actor)
    names = ("handled", "failed", "retried", "dead", "limited")
    return {name: getattr(found, name) for name in names if getattr(found, name)}


def on_a_queue(workshop: Workshop, run: Callable[..., Any]) -> Any:
    return declare(workshop.broker, run, new_queue())


def send(workshop: Workshop, actor: Any, **options: Any) -> None:
    workshop.broker.enqueue(message(actor.queue_name, actor.actor_name, {}, options=options))


# --- what became of messages ---


def test_commands_that_a_worker_decided_are_reported(workshop: Workshop) -> None:
    stocked("A", 2)
    recorder.take()
    orders = [order(("A", 1)) for _ in range(3)]
    workshop.broker.enqueue(for_actor(place_orders, *orders))
    workshop.start(place_orders.queue_name)

    eventually(lambda: counts("place_orders") == {"handled": 1})

    found = reported("place_orders")
    assert (found.decided, found.refused) == (3, 1)
    assert quantile(found.batch, 0.5) == pytest.approx(3)
    assert sum(found.took) == 3
    took = quantile_s(found.took, 0.5)
    assert took is not None
    assert 0 < took < 20


def test_a_message_that_comes_again_decides_nothing_again(workshop: Workshop) -> None:
    given = for_actor(put_products, product("A"))
    workshop.broker.enqueue(given)
    workshop.broker.enqueue(given)
    workshop.start(put_products.queue_name)

    eventually(lambda: counts("put_products") == {"handled": 2})

    assert reported("put_products").decided == 1


def test_a_message_waits_from_its_making_and_runs_as_long_as_its_actor(
    workshop: Workshop, held_open: threading.Event
) -> None:
    def patient(commands: Any) -> None:
        held_open.wait(60)

    actor = on_a_queue(workshop, patient)
    late = message(actor.queue_name, "patient", {})
    minute_ago = int((datetime.now(UTC) - timedelta(minutes=1)).timestamp() * 1000)
    workshop.broker.enqueue(late.copy(message_timestamp=minute_ago))
    worker = workshop.start(actor.queue_name)
    (seen,) = eventually(lambda: [w for w in workers.live() if w.threads_busy])
    held_open.set()

    eventually(lambda: counts("patient") == {"handled": 1})

    assert (seen.threads, seen.threads_busy) == (len(worker.workers), 1)
    found = reported("patient")
    assert quantile_s(found.waited, 0.5) == pytest.approx(60, rel=0.25)
    ran = quantile_s(found.ran, 0.5)
    assert ran is not None
    # It was seen at work, by a report after the one at its start.
    assert 0.001 < ran < 20


def test_the_last_attempt_is_a_dead_letter(workshop: Workshop) -> None:
    def broken(commands: Any) -> None:
        raise RuntimeError("a bug")

    actor = on_a_queue(workshop, broken)
    send(workshop, actor, retries=RETRIES_MAX)
    workshop.start(actor.queue_name)

    eventually(lambda: counts("broken") == {"failed": 1, "dead": 1})


def test_a_retry_waits_from_when_it_was_put_back(workshop: Workshop) -> None:
    def fails_once(commands: Any) -> None:
        if not reported_attempts:
            reported_attempts.append(1)
            raise RuntimeError("a bug")

    reported_attempts: list[int] = []
    actor = on_a_queue(workshop, fails_once)
    hour_ago = int((datetime.now(UTC) - timedelta(hours=1)).timestamp() * 1000)
    given = message(actor.queue_name, "fails_once", {})
    workshop.broker.enqueue(given.copy(message_timestamp=hour_ago))
    workshop.start(actor.queue_name)

    eventually(lambda: counts("fails_once") == {"handled": 1, "failed": 1, "retried": 1})

    waited = reported("fails_once").waited
    assert quantile_s(waited, 1.0) == pytest.approx(3600, rel=0.13)
    first = quantile_s(waited, 0.5)
    assert first is not None
    assert first < 60


def test_what_a_limit_sends_to_wait_did_not_run(workshop: Workshop) -> None:
    def limited_once(commands: Any) -> None:
        if not turned_away:
            turned_away.append(1)
            raise Limited("enough", 10, 0)

    turned_away: list[int] = []
    actor = on_a_queue(workshop, limited_once)
    send(workshop, actor)
    workshop.start(actor.queue_name)

    eventually(lambda: counts("limited_once") == {"handled": 1, "limited": 1})

    assert sum(reported("limited_once").ran) == 1


def test_a_worker_that_stops_reports_a_last_time_and_is_gone(workshop: Workshop) -> None:
    workshop.broker.enqueue(for_actor(put_products, product("A")))
    workshop.start(put_products.queue_name)
    eventually(lambda: len(workers.live()) == 1)
    workshop.eventually_empty(put_products.queue_name)

    workshop.stop_workers()

    assert counts("put_products") == {"handled": 1}
    assert workers.every() == []


# --- who reports ---


class Idle:
    """A worker with nothing to do."""

    def __init__(self) -> None:
        self.workers: list[Any] = []
        self.consumers: dict[str, Any] = {}


def reporter(of: Recorder) -> Reporter:
    given = msgspec.structs.replace(settings(), report_every_s=0.02)
    return Reporter(Idle(), {}, given, of, lambda: None)


def test_figures_of_two_processes_add_up_in_every_resolution(database: None) -> None:
    one, other = Recorder(), Recorder()
    for process in (one, other):
        process.ran("a", 0.1, 0.4, failed=False, dead=False)
        process.ran("a", 0.1, 0.001, failed=False, dead=False)
    other.ran("a", 0.1, 100, failed=False, dead=False)

    for process in (one, other):
        reporter(process).report()

    (found,) = stats.recent(60)
    assert found.handled == 5
    assert quantile_s(found.ran, 0.5) == pytest.approx(0.4, rel=0.125)
    assert quantile_s(found.ran, 1.0) == pytest.approx(100, rel=0.125)
    for window in stats.WINDOWS:
        assert sum(point.handled for point in stats.series(window)) == 5
        assert sum(sum(point.ran) for point in stats.series(window)) == 5
    # The finest rows say whose they are; two steps may be touched by the one run.
    assert len(rows("SELECT DISTINCT worker FROM actor_stats WHERE resolution_s = 10")) == 2
    assert rows("SELECT DISTINCT worker FROM actor_stats WHERE resolution_s > 10") == [("",)]


def test_a_second_report_adds_to_the_first(database: None) -> None:
    counted = Recorder()
    reports = reporter(counted)
    for _ in range(2):
        counted.decided("a", [1, 2], [], 0)
        counted.ran("a", 0.1, 0.5, failed=False, dead=False)
        reports.report()

    (found,) = stats.recent(60)
    assert found.handled == 2
    assert sum(found.batch) == 2
    assert len(workers.live()) == 1


def test_an_outage_of_the_database_loses_no_figure(
    database: None, postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted = Recorder()
    reports = reporter(counted)
    reports.report()

    # When every connection is refused for a while, and work goes on
    monkeypatch.setitem(db.database.connect_params, "port", 1)
    db.discard_connection()
    for _ in range(3):
        counted.ran("a", 0.1, 0.1, failed=False, dead=False)
        with pytest.raises(Exception, match="refused"):
            reports.report()
    monkeypatch.undo()
    counted.ran("a", 0.1, 0.1, failed=False, dead=False)

    # Then all of it is there when the database is back
    reports.report()
    assert [one.handled for one in stats.recent(60)] == [4]


def test_an_outage_is_said_once_and_ends_with_a_report(
    database: None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    counted, attempts = Recorder(), 0
    take = counted.take

    def count_and_take() -> list[ActorFigures]:
        nonlocal attempts
        attempts += 1
        return take()

    monkeypatch.setattr(counted, "take", count_and_take)
    reports = reporter(counted)
    with monkeypatch.context() as away:
        away.setitem(db.database.connect_params, "port", 1)
        reports.start()
        counted.limited("a")
        eventually(lambda: attempts > 5)

    eventually(lambda: [one.limited for one in stats.recent(60)] == [1])
    reports.stop()
    assert len([r for r in caplog.records if "Figures wait" in r.message]) == 1


def test_a_reporter_whose_connection_is_cut_comes_back(
    workshop: Workshop, postgres: Postgres
) -> None:
    workshop.broker.enqueue(for_actor(put_products, product("A")))
    workshop.start(put_products.queue_name)
    eventually(lambda: counts("put_products") == {"handled": 1})

    with psycopg2.connect(settings().database_url) as connection, connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
    connection.close()
    db.discard_connection()
    workshop.broker.enqueue(for_actor(put_products, product("B")))

    eventually(lambda: counts("put_products").get("handled") == 2)


# --- charts ---


def test_old_figures_are_forgotten_each_resolution_in_its_time(database: None) -> None:
    now = datetime.now(UTC)
    for hours in (0, 5, 48, 24 * 20, 24 * 41):
        figures = blank("a")
        figures.handled = 1
        stats.record("w", [Counted(now - timedelta(hours=hours), figures)])

    stats.forget_old()

    kept = dict(rows("SELECT resolution_s, count(*) FROM actor_stats GROUP BY resolution_s"))
    assert kept == {10: 1, 60: 2, 300: 3, 3600: 4}


def test_a_window_is_drawn_in_its_own_steps(database: None) -> None:
    now = datetime.now(UTC)
    for minutes in range(0, 50, 10):
        stats.record("w", [Counted(now - timedelta(minutes=minutes), ActorFigures("a", handled=1))])

    points = stats.series("1h")

    assert [(point.actor, point.handled, point.seconds) for point in points] == [("a", 1, 60.0)] * 5
    assert [point.at for point in points] == sorted(point.at for point in points)
    assert all(point.at.second == 0 for point in points)


# --- what a worker holds ---


def test_a_worker_shows_what_it_holds_and_the_soonest_delayed(
    workshop: Workshop, held_open: threading.Event
) -> None:
    def stuck(commands: Any) -> None:
        held_open.wait(60)

    actor = on_a_queue(workshop, stuck)
    queue = actor.queue_name
    oldest = message(queue, "stuck", {})
    workshop.broker.enqueue(oldest)
    for seconds in range(SHOWN_MAX + 5):
        later = message(queue, "stuck", {}, {})
        workshop.broker.enqueue(later, delay=(100 + seconds) * 1000)
    workshop.start(queue)

    def everything() -> Any:
        live = workers.live()
        held = live[0].holds.get(queue) if live else None
        return held if held and held["delayed_held"] == SHOWN_MAX + 5 and held["unacked"] else None

    held = eventually(everything)
    held_open.set()

    assert (held["unacked"], held["oldest_ms"]) == (1, oldest.message_timestamp)
    assert len(held["delayed"]) == SHOWN_MAX
    etas = [one["eta_ms"] for one in held["delayed"]]
    assert etas == sorted(etas)
    assert held["next_eta_ms"] == etas[0]
    assert {(one["actor"], one["commands"], one["retries"]) for one in held["delayed"]} == {
        ("stuck", 2, 0)
    }


TRACEBACK = 'Traceback (most recent call last):\n  File "cable.py", line 1, in fragile\n'


def test_a_delayed_retry_says_why(workshop: Workshop) -> None:
    def fragile(commands: Any) -> None:
        raise RuntimeError("it is the\x00 cable")

    actor = on_a_queue(workshop, fragile)
    given = message(actor.queue_name, "fragile", {}, options={"retries": 3})
    workshop.broker.enqueue(
        given.copy(options={"traceback": f"{TRACEBACK}RuntimeError: it is the\x00 cable\n"}),
        delay=100_000,
    )
    workshop.start(actor.queue_name)

    def shown() -> Any:
        return [d for w in workers.live() for d in w.holds[actor.queue_name]["delayed"]]

    ((delayed),) = eventually(shown)
    assert delayed["error"] == "RuntimeError: it is the\\0 cable"
    assert delayed["retries"] == 3


def test_a_worker_says_who_it_is(workshop: Workshop) -> None:
    worker: dramatiq.Worker = workshop.start(adjust_stock.queue_name, threads=3)

    (found,) = eventually(workers.live)

    assert found.threads == len(worker.workers) == 3
    assert found.memory_bytes > 1_000_000
    assert found.host
    assert found.version
    assert found.started_at <= found.seen_at + timedelta(seconds=1)
