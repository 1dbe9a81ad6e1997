"""The clock: it samples, compares and forgets, one at a time, and says what it saw."""

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import msgspec
import peewee
import psycopg2
import pytest
from dramatiq.common import xq_name

from actors import clock as clock_module
from actors.clock import Clock, Job
from actors.clock_metrics import health
from actors.inventory import adjust_stock
from actors.placing import place_orders
from actors.queues import QueueInspector
from config import settings
from deploy.local import ports
from deploy.local.servers import Postgres
from models import database as db
from models import housekeeping
from models.queries import clocks, controls, locks, queue_stats, reconciliation
from tests.conftest import eventually
from tests.integration.history import age, drop_partitions, make_partitions, tables_of
from tests.integration.history import name as month
from tests.integration.test_put_backs import refusing
from tests.integration.workshop import (
    Workshop,
    apply,
    for_actor,
    order,
    rows,
    stocked,
)
from tests.scraping import Samples, samples

QUEUE = place_orders.queue_name


@pytest.fixture
def start(workshop: Workshop) -> Iterator[Callable[[], tuple[Clock, int]]]:
    """Start a clock; its metrics are on the port returned."""
    stop, running = threading.Event(), []

    def begin(**changes: Any) -> tuple[Clock, int]:
        (port,) = ports.free_ports(1)
        clock = Clock(
            msgspec.structs.replace(
                settings(), rabbitmq_url=workshop.rabbitmq.url, metrics_host="127.0.0.1",
                clock_metrics_port=port, low_stock_below=5, **changes,
            )
        )  # fmt: skip
        thread = threading.Thread(target=clock.run, args=(stop,))
        thread.start()
        running.append(thread)
        return clock, port

    yield begin
    stop.set()
    for thread in running:
        thread.join()


def scrape(port: int) -> Samples:
    """What Prometheus reads."""
    try:
        answer = httpx.get(f"http://127.0.0.1:{port}/metrics")
    except httpx.TransportError:
        return {}
    assert answer.headers["content-type"].startswith("text/plain; version=")
    return samples(answer.text)


def one(found: Samples, name: str, **labels: str) -> float | None:
    return found.get((name, frozenset(labels.items())))


# --- metrics and samples ---


def test_what_the_clock_sees_is_there_for_prometheus_and_for_charts(
    workshop: Workshop, start: Any
) -> None:
    stocked("A", 100)
    stocked("LOW", 3)
    workshop.broker.enqueue(for_actor(place_orders, order(("A", 1))))
    controls.pause(QUEUE, "a test", "ada")
    db.execute(
        "INSERT INTO dead_letters (message_id, queue, actor, attempts, error_class, error, "
        "traceback, body, command_ids, failed_at, first_failed_at) "
        "VALUES ('m', 'q', 'move_orders', 1, 'E', 'e', 't', 'b', '{}', now(), now())"
    )

    _, port = start()
    eventually(lambda: one(scrape(port), "holdfast_stock_below_threshold"))
    found = scrape(port)

    assert one(found, "holdfast_clock_active") == 1
    assert one(found, "holdfast_queue_messages", queue_name=QUEUE, state="ready") == 1
    assert one(found, "holdfast_queue_consumers", queue_name=QUEUE) == 0
    assert one(found, "holdfast_queue_paused", queue_name=QUEUE) == 1
    assert one(found, "holdfast_queue_paused", queue_name=adjust_stock.queue_name) == 0
    age = one(found, "holdfast_queue_oldest_message_age_seconds", queue_name=QUEUE)
    assert age is not None
    assert 0 <= age < 60
    assert one(found, "holdfast_failures_open", actor="move_orders") == 1
    assert one(found, "holdfast_failures_open", actor="place_orders") == 0
    assert one(found, "holdfast_stock_below_threshold") == 1
    assert one(found, "holdfast_workers") == 0
    for window in ("5m", "1h", "24h", "7d"):
        (point,) = [p for p in queue_stats.series(window) if p.queue == QUEUE]
        assert (point.ready, point.consumers) == (1, 0)


def test_what_a_clock_holds_for_it_cannot_be_recorded_is_shown_as_dead(
    workshop: Workshop, start: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clock_module, "SAMPLE_EVERY_S", 0.2)
    monkeypatch.setattr(clock_module, "TRY_AGAIN_S", 0.2)
    monkeypatch.setattr("actors.dropped.TRY_AGAIN_S", 0.2)
    inspector = QueueInspector(
        msgspec.structs.replace(settings(), rabbitmq_url=workshop.rabbitmq.url)
    )
    workshop.broker.declare_queue(QUEUE, ensure=True)
    # Two clocks: one works, either may hold it
    ports = [start()[1] for _ in range(2)]
    with refusing("dead_letters"):
        with workshop.connect() as connection:
            connection.channel().basic_publish("", xq_name(QUEUE), b"by hand")

        eventually(lambda: clocks.lately().held == {QUEUE: 1})
        assert inspector.inspect()[QUEUE].dead == 1
        dead = {"queue_name": QUEUE, "state": "dead"}
        eventually(
            lambda: 1 in [one(scrape(port), "holdfast_queue_messages", **dead) for port in ports]
        )

    eventually(lambda: inspector.inspect()[QUEUE].dead == 0)
    inspector.close()


def test_a_sample_keeps_the_most_that_was_seen_in_its_time(database: None) -> None:
    for ready in (1, 7, 3):
        queue_stats.record([queue_stats.QueueSample("q", ready, 0, 0, 1, None)])

    assert {p.ready for window in ("1h", "7d") for p in queue_stats.series(window)} <= {1, 3, 7}
    assert max(p.ready for p in queue_stats.series("7d")) == 7


def test_a_port_that_is_taken_stops_nothing(
    workshop: Workshop, start: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, port = start()
    eventually(lambda: one(scrape(port), "holdfast_clock_active") == 1)
    monkeypatch.setattr(ports, "free_ports", lambda _: [port])

    other, _ = start()

    eventually(lambda: other._metrics._warned)
    assert one(scrape(port), "holdfast_clock_active") == 1


# --- one at a time ---


def test_a_second_clock_stands_by_until_the_first_is_gone(
    workshop: Workshop, start: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clock_module, "TRY_AGAIN_S", 0.1)
    with psycopg2.connect(settings().database_url) as first, first.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_lock(hashtext(current_schema()), %s)", (locks.CLOCK,))
        _, port = start()
        found = eventually(lambda: scrape(port))
        assert found == {("holdfast_clock_active", frozenset()): 0}
        assert queue_stats.series("5m") == []
    first.close()

    eventually(lambda: one(scrape(port), "holdfast_clock_active") == 1)
    eventually(lambda: queue_stats.series("5m"))


def test_a_clock_whose_connection_is_cut_goes_on(
    workshop: Workshop, start: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clock_module, "TRY_AGAIN_S", 0.1)
    monkeypatch.setattr(clock_module, "SAMPLE_EVERY_S", 0.1)
    clock, port = start()
    eventually(lambda: clock.seen.sampled_at)

    with psycopg2.connect(settings().database_url) as connection, connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' "
            "AND pid <> pg_backend_pid()"
        )
    connection.close()
    cut_at = time.time()

    eventually(lambda: clock.seen.sampled_at.timestamp() > cut_at)
    assert one(scrape(port), "holdfast_clock_active") == 1


def test_what_is_due_waits_for_the_right_that_went_with_the_connection(database: None) -> None:
    clock, rights = Clock(settings()), []

    def breaks() -> None:
        with db.reading():
            db.execute("SELECT pg_terminate_backend(pg_backend_pid())")

    def counts() -> None:
        rights.append(
            rows("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' "
                 "AND objid = %s AND pid = pg_backend_pid()", locks.CLOCK)
        )  # fmt: skip

    clock._jobs = [Job("sample", 60.0, breaks, 0.0), Job("survey", 60.0, counts, 0.0)]

    assert clock._work() == 0
    assert rights == []
    clock._work()

    assert rights == [[(1,)]]
    assert clock.seen.faults["sample"] == 1


def test_the_clock_goes_on_without_rabbitmq(
    workshop: Workshop, start: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    (nobody,) = ports.free_ports(1)
    monkeypatch.setattr(
        type(workshop.rabbitmq), "url", f"amqp://guest:guest@127.0.0.1:{nobody}/%2F"
    )
    clock, port = start()
    monkeypatch.undo()

    eventually(lambda: clock.seen.faults["sample"])
    found = scrape(port)
    assert one(found, "holdfast_clock_job_failures_total", job="sample") == 1
    assert one(found, "holdfast_workers") == 0
    assert not any(name == "holdfast_queue_messages" for name, _ in found)


# --- reconciliation ---


def test_the_clock_checks_the_books_by_itself_and_says_what_it_found(
    workshop: Workshop, start: Any, monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    monkeypatch.setattr(clock_module, "RECONCILE_FIRST_AFTER_S", 0.0)
    stocked("A", 5)
    db.execute("UPDATE stock SET on_hand = 4 WHERE sku = 'A'")

    _, port = start()

    differ = "holdfast_reconciliation_differences"
    eventually(lambda: one(scrape(port), differ, check="stock") == 1)
    found = scrape(port)
    assert one(found, differ, check="timelines") == 0
    ran_at = one(found, "holdfast_reconciliation_last_run_timestamp_seconds")
    assert ran_at == pytest.approx(time.time(), abs=60)
    assert one(found, "holdfast_reconciliation_last_success_timestamp_seconds") is None
    errors = [record for record in caplog.records if record.levelname == "ERROR"]
    assert [record.name for record in errors] == ["actors.clock"]
    assert "1 differences between stock and its movements:\nSKU A at main:" in errors[0].message


def test_a_check_of_the_books_that_failed_is_counted_and_tried_again(
    workshop: Workshop, start: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("RECONCILE_FIRST_AFTER_S", "TRY_AGAIN_S", "SAMPLE_EVERY_S"):
        monkeypatch.setattr(clock_module, name, 0.1)
    look, tries = reconciliation.look, []

    def second_time(*arguments: Any, **options: Any) -> Any:
        tries.append(1)
        return look(*arguments, **options) if len(tries) > 1 else 1 / 0

    monkeypatch.setattr(reconciliation, "look", second_time)
    clock, _ = start()

    eventually(lambda: clock.seen.reconciled)
    assert clock.seen.faults["reconcile"] == 1


def test_nothing_is_checked_where_the_setting_says_so(
    workshop: Workshop, start: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clock_module, "RECONCILE_FIRST_AFTER_S", 0.0)
    clock, _ = start(reconcile_every_s=0.0)

    eventually(lambda: clock.seen.sampled_at)
    assert [job.name for job in clock._jobs] == [
        "housekeeping", "sample", "survey", "waiting_moves",
    ]  # fmt: skip


def test_housekeeping_forgets_workers_that_died_a_day_ago(database: None) -> None:
    db.execute(
        "INSERT INTO workers SELECT 'w' || days, 'h', 1, 'v', now(), now() - days * "
        "interval '1 day', 8, 0, 0, '{}' FROM generate_series(0, 2) AS days"
    )

    housekeeping.run_once(settings().partitions_ahead)

    assert rows("SELECT id FROM workers") == [("w0",)]


# --- months that are no longer kept ---


def test_the_clock_takes_away_what_expired_and_says_what_stays(
    start: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    # Given an order that is not over in one of the months that expired
    monkeypatch.setattr(clock_module, "RETENTION_FIRST_AFTER_S", 0.0)
    make_partitions()
    try:
        stocked("A", 5)
        apply(place_orders, order(("A", 1)))
        age(4)

        start(retention_months=2, retention_action="drop")

        eventually(lambda: f"{month(3)} expired and stays" in caplog.text)
        assert tables_of(5) == set()
        assert len(tables_of(4)) == len(tables_of(3)) == 4
        assert f"{month(4)} expired and stays: 1 order confirmed" in caplog.text
    finally:
        db.execute("DELETE FROM orders")
        drop_partitions()


def test_the_clock_keeps_everything_unless_it_is_told_not_to(
    start: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, _ = start()

    assert eventually(lambda: [job.name for job in clock._jobs]) == [
        "housekeeping", "sample", "survey", "waiting_moves", "reconcile",
    ]  # fmt: skip


def test_the_clock_tells_a_read_only_database(database: None, postgres: Postgres) -> None:
    clock = Clock(settings())
    assert clock._has_the_right()
    assert (health(clock.seen)["status"], health(clock.seen)["reasons"]) == ("ok", ["it stands by"])

    postgres.query("ALTER DATABASE holdfast SET default_transaction_read_only = on")
    db.discard_connection()
    try:
        clock._work()
        told = health(clock.seen)
    finally:
        postgres.query("ALTER DATABASE holdfast RESET default_transaction_read_only")
        db.discard_connection()

    assert told["status"] == "degraded"
    assert told["reasons"] == ["the database is read-only, so nothing can be decided"]
    clock._has_the_right()
    assert not clock.seen.read_only


def test_the_clock_makes_a_month_that_is_missing_or_tells_it(database: None) -> None:
    clock = Clock(settings())
    ((now,),) = rows("SELECT to_char(now() AT TIME ZONE 'UTC', 'YYYY_MM')")
    db.execute(f"DROP TABLE orders_{now}")
    clock.survey()
    assert clock.seen.missing == []

    db.execute(f"DROP TABLE orders_{now}; CREATE TABLE orders_{now} ()")
    with pytest.raises(peewee.ProgrammingError):
        clock.survey()
    told = health(clock.seen)
    assert told["status"] == "degraded"
    assert told["reasons"] == [f"partitions are missing: orders_{now}"]

    db.execute(f"DROP TABLE orders_{now}")
    clock.survey()
    assert clock.seen.missing == []
