"""Faults that pass: all is decided once they have, nothing becomes a dead letter."""

import socket
from collections.abc import Iterator
from threading import Thread
from time import monotonic
from typing import Any

import msgspec
import peewee
import psycopg2
import pytest

from actors.inventory import adjust_stock
from actors.moves import move_orders
from actors.placing import place_orders
from actors.retries import passes_by_itself
from config import settings
from deploy.local.servers import Postgres
from models import database as db
from tests.conftest import eventually
from tests.integration.workshop import (
    Workshop,
    adjustment,
    apply,
    assert_books_agree,
    dead_letters,
    for_actor,
    move,
    order,
    orders_now,
    outcomes,
    rows,
    stock_of,
    stocked,
)


@pytest.fixture
def bugs_are_given_up_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is taken for a bug is a dead letter at its first failure."""
    monkeypatch.setattr("actors.retries.RETRIES_MAX", 0)


@pytest.mark.parametrize("how", ["stopped", "killed"])
def test_all_is_decided_after_postgresql_was_away_while_messages_came(
    workshop: Workshop, postgres: Postgres, how: str, bugs_are_given_up_at_once: None
) -> None:
    # Given workers in the middle of their work
    stocked("A", 1_000)
    queues = [place_orders.queue_name, move_orders.queue_name, adjust_stock.queue_name]
    workshop.start(*queues, threads=4)
    before = [order(("A", 1)) for _ in range(20)]
    workshop.broker.enqueue(for_actor(place_orders, *before))

    # When PostgreSQL goes, and messages come
    db.discard_connection()
    if how == "stopped":
        postgres.stop()
    else:
        postgres.kill()
    during = [[order(("A", 1)) for _ in range(5)] for _ in range(6)]
    for batch in during:
        workshop.broker.enqueue(for_actor(place_orders, *batch))
    shipped = [move(each.id, "shipped") for each in before]
    workshop.broker.enqueue(for_actor(move_orders, *shipped))
    workshop.broker.enqueue(for_actor(adjust_stock, adjustment("A", 5)))
    eventually(lambda: workshop.messages_in(place_orders.queue_name) == 0)
    postgres.start()

    # Then each is decided, in the end, and once
    placed = [*before, *(each for batch in during for each in batch)]
    eventually(lambda: None not in outcomes([*placed, *shipped]))
    eventually(lambda: stock_of("A") == (1_000 + 5 - 20, 30))
    workshop.eventually_empty(*queues)
    assert orders_now(placed) == ["shipped"] * 20 + ["confirmed"] * 30
    assert dead_letters() == []
    assert_books_agree()


def test_a_lock_that_is_held_on_a_hot_sku_delays_its_orders_and_fails_none(
    workshop: Workshop, impatient: None, bugs_are_given_up_at_once: None
) -> None:
    stocked("HOT", 10)
    placed = [order(("HOT", 1)) for _ in range(3)]
    holder = psycopg2.connect(settings().database_url)
    try:
        holder.cursor().execute("SELECT FROM stock WHERE sku = 'HOT' FOR UPDATE")
        workshop.broker.enqueue(for_actor(place_orders, *placed))
        worker = workshop.start(place_orders.queue_name)
        # When it was tried
        delayed = worker.consumers[f"{place_orders.queue_name}.DQ"]
        eventually(lambda: delayed.delay_queue.qsize() == 1)
        assert outcomes(placed) == [None] * 3
    finally:
        holder.close()

    eventually(lambda: orders_now(placed) == ["confirmed"] * 3)
    assert dead_letters() == []


@pytest.fixture
def impatient(workshop: Workshop) -> Iterator[None]:
    """Connections of new threads wait for a lock only briefly."""
    db.configure(msgspec.structs.replace(settings(), lock_timeout_ms=50))
    yield
    workshop.stop_workers()
    db.configure(settings(), application_name="tests")


def test_a_deadlock_is_a_fault_that_passes(database: None) -> None:
    # Given two transactions that want each other's row
    stocked("A", 1)
    stocked("B", 1)
    errors = []

    def in_order(first: str, second: str, met: list[str]) -> None:
        try:
            with db.transaction():
                db.execute("SELECT FROM stock WHERE sku = %s FOR UPDATE", (first,))
                met.append(first)
                eventually(lambda: len(met) == 2)
                db.execute("SELECT FROM stock WHERE sku = %s FOR UPDATE", (second,))
        except peewee.OperationalError as error:
            errors.append(error)
        finally:
            db.discard_connection()

    met: list[str] = []
    threads = [Thread(target=in_order, args=(*pair, met)) for pair in (("A", "B"), ("B", "A"))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    (error,) = errors
    assert db.sqlstate(error) == "40P01"
    assert passes_by_itself(error)


@pytest.mark.parametrize(
    ("code", "passes"),
    [
        *((code, True) for code in sorted(db.TRANSIENT_SQLSTATES)),
        *((code, True) for code in ("08000", "08003", "08006", "08001")),
        *((code, False) for code in ("23505", "23514", "22003", "42P01", "42601", "P0001")),
    ],
)
def test_which_errors_of_postgresql_pass_by_themselves(
    connected: None, code: str, passes: bool
) -> None:
    with pytest.raises(peewee.PeeweeException) as caught, db.transaction():
        db.execute(f"DO $$ BEGIN RAISE EXCEPTION 'no' USING ERRCODE = '{code}'; END $$")

    assert db.sqlstate(caught.value) == code
    assert passes_by_itself(caught.value) is passes


def test_a_cut_connection_passes_by_itself_and_the_next_transaction_has_a_new_one(
    connected: None,
) -> None:
    with pytest.raises(peewee.PeeweeException) as caught, db.transaction():
        rows("SELECT pg_terminate_backend(pg_backend_pid())")
        rows("SELECT 1")

    assert passes_by_itself(caught.value)
    assert db.lost_connection(caught.value)
    with db.transaction():
        assert db.fetch("SELECT 1") == [(1,)]


def test_a_connection_that_is_cut_in_a_part_of_a_transaction_passes_by_itself_too(
    connected: None,
) -> None:
    with pytest.raises(peewee.PeeweeException) as caught, db.transaction():
        pid = rows("SELECT pg_backend_pid()")
        with db.transaction():
            rows("SELECT pg_terminate_backend(pg_backend_pid())")

    assert passes_by_itself(caught.value)
    assert db.lost_connection(caught.value)
    with db.transaction():
        assert rows("SELECT pg_backend_pid()") != pid


def test_a_statement_that_takes_too_long_in_a_part_of_a_transaction_passes_by_itself_too(
    connected: None,
) -> None:
    with pytest.raises(peewee.PeeweeException) as caught, db.transaction():
        db.execute("SET LOCAL statement_timeout = 1")
        with db.transaction():
            rows("SELECT pg_sleep(5)")

    assert db.sqlstate(caught.value) == "57014"
    assert passes_by_itself(caught.value)
    assert db.database.is_closed()


def test_what_is_raised_in_a_part_of_a_transaction_undoes_that_part_only(database: None) -> None:
    stocked("A", 3)

    with db.transaction():
        db.execute("UPDATE stock SET on_hand = on_hand + 1")
        with pytest.raises(ValueError, match="only"), db.transaction():
            db.execute("UPDATE stock SET on_hand = 99")
            raise ValueError("only this")

    assert stock_of("A") == (4, 0)


def test_threads_do_not_wait_for_each_other_to_connect_to_a_server_that_never_answers(
    connected: None,
) -> None:
    timeout_s, count, ended_after_s = 2, 16, []

    def connect() -> None:
        began = monotonic()
        with pytest.raises(peewee.OperationalError), db.reading():
            db.fetch("SELECT 1")
        ended_after_s.append(monotonic() - began)

    db.discard_connection()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"postgresql://nobody@127.0.0.1:{silent.getsockname()[1]}/nothing"
        db.configure(
            msgspec.structs.replace(settings(), database_url=url, connect_timeout_s=timeout_s)
        )
        try:
            threads = [Thread(target=connect) for _ in range(count)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(60)
        finally:
            db.configure(settings(), application_name="tests")

    assert len(ended_after_s) == count
    # One after the other, the last would have waited for all.
    assert max(ended_after_s) < count * timeout_s / 2


def test_a_bug_is_no_fault_that_passes() -> None:
    assert not passes_by_itself(ValueError("a bug"))
    assert not passes_by_itself(ConnectionError("not of the database and not of the broker"))
    assert not passes_by_itself(peewee.ProgrammingError("of the statement"))


def test_a_server_that_can_not_be_reached_passes_by_itself(connected: None) -> None:
    db.discard_connection()
    db.configure(msgspec.structs.replace(settings(), database_url="postgresql://x@127.0.0.1:1/x"))
    try:
        with pytest.raises(peewee.OperationalError) as caught, db.transaction():
            rows("SELECT 1")
        assert passes_by_itself(caught.value)
    finally:
        db.configure(settings(), application_name="tests")


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, ValueError])
def test_whatever_is_raised_in_a_transaction_leaves_nothing_of_it(
    database: None, error: type[BaseException]
) -> None:
    stocked("A", 3)

    with pytest.raises(error), db.transaction():
        db.execute("UPDATE stock SET on_hand = 99")
        raise error

    assert stock_of("A") == (3, 0)
    assert rows("SELECT count(*) FROM pg_stat_activity WHERE state LIKE 'idle in%%'") == [(0,)]


def test_statements_and_locks_have_a_bound(connected: None) -> None:
    given = dict(rows("SELECT name, setting FROM pg_settings WHERE name LIKE '%%_timeout'"))

    assert 0 < int(given["lock_timeout"]) < int(given["statement_timeout"]) <= 30_000
    assert 0 < int(given["idle_in_transaction_session_timeout"]) <= 60_000


def test_a_batch_that_is_delivered_after_an_unanswered_commit_changes_nothing(
    database: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A COMMIT whose reply was lost is ambiguous: the inbox decides at the redelivery."""
    stocked("A", 5)
    placed = order(("A", 2))
    commit = db.BundledTransaction.commit

    def lost(work: db.BundledTransaction, *statements: db.Statement, **then: Any) -> None:
        commit(work, *statements, **then)
        raise peewee.OperationalError("server closed the connection unexpectedly")

    with monkeypatch.context() as patch, pytest.raises(peewee.OperationalError):
        patch.setattr(db.BundledTransaction, "commit", lost)
        apply(place_orders, placed)
    apply(place_orders, placed)

    assert stock_of("A") == (5, 2)
    assert orders_now([placed]) == ["confirmed"]
    assert_books_agree()
