"""Rows of stock come last: decided by levels that may change, held for one message."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from random import Random
from threading import Thread
from typing import Any

import msgspec
import peewee
import psycopg2
import pytest

from actors import inventory, moves, placing
from actors.commands import PlaceOrder
from actors.placing import place_orders
from actors.retries import passes_by_itself
from actors.stats import recorder
from config import settings
from models import database as db
from models.database import BundledTransaction, Statement, bundled_transaction
from models.queries import slots, stock
from models.queries.locks import SLOTS
from models.rules.allocation import allocate
from tests.conftest import eventually
from tests.integration.test_books import in_threads
from tests.integration.workshop import (
    Workshop,
    adjustment,
    assert_books_agree,
    for_actor,
    move,
    order,
    orders_now,
    outcomes,
    place,
    rows,
    stock_of,
    stocked,
)

HELD = """
SELECT count(*) FROM pg_locks AS l JOIN pg_class AS c ON c.oid = l.relation
WHERE l.pid = %s AND c.relname = 'stock' AND l.mode <> 'AccessShareLock'
"""
IN_SLOTS = f"""
SELECT count(*) FROM pg_locks
WHERE locktype = 'advisory' AND granted AND objid BETWEEN {SLOTS} AND {SLOTS} + 99
"""
WAITING_FOR_SLOTS = IN_SLOTS.replace("granted", "NOT granted")


def other_session() -> Any:
    """A connection that knows nothing of ours; its transaction begins with its first statement."""
    return psycopg2.connect(settings().database_url)


@contextmanager
def messages_watched(
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[list[tuple[str, int]]]:
    """What this process sends to the server, and whether it holds rows of stock after the reply."""
    seen: list[tuple[str, int]] = []
    watcher = other_session()
    watcher.autocommit = True
    send = db.database.execute_sql

    def watched(sql: str, params: Any = None) -> Any:
        cursor = send(sql, params)
        with watcher.cursor() as asking:
            asking.execute(HELD, (cursor.connection.info.backend_pid,))
            seen.append((sql, asking.fetchone()[0]))
        return cursor

    with monkeypatch.context() as patched:
        patched.setattr(db.database, "execute_sql", watched)
        try:
            yield seen
        finally:
            watcher.close()


def redone() -> int:
    return recorder.redone_ever().get("place_orders", 0)


def rivals(
    monkeypatch: pytest.MonkeyPatch, *takes: Callable[[], object]
) -> list[Callable[[], object]]:
    """Have something happen after a transaction read the stock and before it commits: the first at
    the first attempt, and so on. Returns what has not happened."""
    left = list(takes)

    def disturbed(*args: Any) -> Any:
        if left:
            left.pop(0)()
        return allocate(*args)

    monkeypatch.setattr(placing, "allocate", disturbed)
    return left


def one_by_one(placed: Sequence[PlaceOrder]) -> None:
    for each in placed:
        place([each])


def in_another_thread(run: Callable[[], object]) -> Callable[[], Thread]:
    """For a connection of its own."""

    def start() -> Thread:
        def running() -> None:
            try:
                run()
            finally:
                db.discard_connection()

        thread = Thread(target=running)
        thread.start()
        return thread

    return start


def taken(units: int) -> Callable[[], None]:
    """So many units of A go meanwhile, by somebody who is done before the transaction goes on."""

    def run() -> None:
        thread = in_another_thread(lambda: inventory._adjust([adjustment("A", -units)]))()
        thread.join(60)
        assert not thread.is_alive()

    return run


# --- the rows last ---


def test_rows_of_stock_are_never_held_while_the_server_waits_for_the_client(
    database: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    stocked("A", 10)
    stocked("B", 1)
    placed = [order(("B", 1), ("A", 2)), order(("A", 1)), order(("B", 1))]

    with messages_watched(monkeypatch) as messages:
        place(placed)

    assert orders_now(placed) == ["confirmed", "confirmed", "rejected"]
    assert [held for _, held in messages] == [0] * len(messages)
    # It began and took its slot with the claim, and committed with the locks.
    assert len(messages) == 3
    first, _, last = (sql for sql, _ in messages)
    assert first.startswith("BEGIN;")
    assert last.index("INSERT INTO orders") < last.index("FOR NO KEY UPDATE")
    assert last.index("FOR NO KEY UPDATE") < last.index("UPDATE stock") < last.index("COMMIT")
    assert_books_agree()


def test_that_rows_are_held_would_be_seen(database: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Decided the other way, they are: so the test above can fail."""
    stocked("A", 10)
    monkeypatch.setattr(placing, "ATTEMPTS", (stock.lock_levels,))

    with messages_watched(monkeypatch) as messages:
        place([order(("A", 1))])

    assert sum(held for _, held in messages) > 0


def test_what_is_refused_locks_nothing(database: None) -> None:
    stocked("A", 1)
    holder = other_session()
    try:
        holder.cursor().execute("SELECT FROM stock WHERE sku = 'A' FOR UPDATE")
        placed = [order(("A", 2)), order(("NONE", 1))]
        # With the row locked by another, it would wait for the lock time-out and fail.
        place(placed)
    finally:
        holder.close()

    assert orders_now(placed) == ["rejected"] * 2


@pytest.mark.parametrize("without", ["", "indexscan", "indexscan,bitmapscan"])
def test_stock_is_locked_after_it_is_sorted(database: None, without: str) -> None:
    for number in range(50):
        stocked(f"S{number}", 0)
    skus = "{" + ",".join(f"S{number}" for number in range(49, 0, -1)) + "}"
    with db.transaction():
        for way in filter(None, without.split(",")):
            db.execute(f"SET LOCAL enable_{way} = off")
        (((plan,),),) = db.fetch(f"EXPLAIN (FORMAT JSON) {stock.LOCK}", (skus,))

    (locking,) = _nodes(plan["Plan"], "LockRows")
    (below,) = locking["Plans"]
    if below["Node Type"] == "Sort":
        assert below["Sort Key"] == ['stock.sku COLLATE "C"', "stock.location"]
    else:
        assert (below["Node Type"], below["Index Name"]) == ("Index Scan", "stock_pkey")


def _nodes(plan: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    below = [node for each in plan.get("Plans", ()) for node in _nodes(each, kind)]
    return [plan, *below] if plan["Node Type"] == kind else below


# --- somebody takes the stock meanwhile ---


def test_stock_that_goes_between_the_read_and_the_commit_is_not_sold(
    database: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    stocked("A", 10)
    placed = [order(("A", 2)) for _ in range(5)]
    left, before = rivals(monkeypatch, taken(1)), redone()

    place(placed)

    assert not left
    assert orders_now(placed) == ["confirmed"] * 4 + ["rejected"]
    assert stock_of("A") == (9, 8)
    assert redone() == before + 1
    assert_books_agree()


def test_of_two_attempts_that_fail_the_third_holds_the_stock_and_gets_through(
    database: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    stocked("A", 10)
    placed = [order(("A", 2)) for _ in range(5)]
    late: list[Thread] = []
    too_many = adjustment("A", -5)

    def blocked() -> None:
        late.append(in_another_thread(lambda: inventory._adjust([too_many]))())
        eventually(lambda: rows("SELECT 1 FROM pg_locks WHERE NOT granted") != [])

    left, before = rivals(monkeypatch, taken(1), taken(2), blocked), redone()

    place(placed)
    late[0].join(60)

    assert not left
    assert orders_now(placed) == ["confirmed"] * 3 + ["rejected"] * 2
    assert outcomes([too_many]) == ["rejected"]
    assert stock_of("A") == (7, 6)
    assert redone() == before + 2
    assert_books_agree()


def test_a_refused_attempt_leaves_a_clean_connection(
    database: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    stocked("A", 2)
    place([order(("A", 1))])
    pid = rows("SELECT pg_backend_pid()")
    rivals(monkeypatch, taken(1))

    place([order(("A", 1))])

    assert rows("SELECT pg_backend_pid()") == pid
    assert rows("SELECT count(*) FROM pg_stat_activity WHERE state LIKE 'idle in%%'") == [(0,)]


def test_an_error_of_another_kind_is_not_tried_again(
    database: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    stocked("A", 2)
    before = redone()
    place([first := order(("A", 1))])
    # It has the id of an order that is there, and the inbox has forgotten it.
    rows("DELETE FROM commands RETURNING 1")

    with pytest.raises(peewee.IntegrityError):
        place([first])

    assert redone() == before
    assert stock_of("A") == (2, 1)


@pytest.mark.parametrize("seed", range(3))
def test_orders_restocks_and_moves_at_once_with_hardly_any_stock(database: None, seed: int) -> None:
    """Deadlocks and errors would be raised here."""
    for sku in "ABC":
        stocked(sku, 4)
    random = Random(seed)
    plans = [
        [[(sku, random.randint(1, 3)) for sku in random.sample("ABC", 2)] for _ in range(60)]
        for _ in range(8)
    ]

    def run(n: int) -> None:
        for first, second in zip(plans[n][::2], plans[n][1::2], strict=True):
            mine = [order(*first), order(*second)]
            place(mine)
            if n % 2:
                moves._apply([move(each.id, "cancelled") for each in reversed(mine)])
            else:
                inventory._adjust([adjustment(sku, units) for sku, units in first])
                inventory._adjust([adjustment(sku, -units) for sku, units in reversed(second)])

    in_threads(8, run)

    assert_books_agree()


def test_stock_is_the_sum_of_the_ledger_in_every_snapshot_while_attempts_fail(
    database: None,
) -> None:
    stocked("A", 3)

    def run(n: int) -> None:
        for _ in range(15):
            if n == 0:
                assert_books_agree()
            elif n == 1:
                inventory._adjust([adjustment("A", 3)])
            else:
                place([order(("A", 1)) for _ in range(3)])

    in_threads(6, run)


# --- before and after the last message ---


def test_cut_off_before_the_last_message_nothing_is_done_and_then_all_of_it(
    database: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    stocked("A", 5)
    placed = [order(("A", 1)), order(("A", 9))]

    def cut() -> None:
        (pid,) = db.fetch("SELECT pg_backend_pid()")
        with other_session() as killer:
            killer.cursor().execute("SELECT pg_terminate_backend(%s)", pid)

    rivals(monkeypatch, cut)

    with pytest.raises(peewee.PeeweeException) as caught:
        place(placed)
    assert passes_by_itself(caught.value)
    assert outcomes(placed) == [None, None]
    assert stock_of("A") == (5, 0)

    place(placed)
    assert orders_now(placed) == ["confirmed", "rejected"]
    assert_books_agree()


def test_a_lost_reply_to_the_last_message_is_a_fault_that_passes_and_the_inbox_decides(
    database: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    stocked("A", 5)
    placed = [order(("A", 1)), order(("A", 9))]
    commit = BundledTransaction.commit

    def deaf(work: BundledTransaction, *args: Any, **kwargs: Any) -> Any:
        commit(work, *args, **kwargs)
        # Done, and then the session ends before its client has heard of it.
        return work.fetch(Statement("SELECT pg_terminate_backend(pg_backend_pid())"))

    with monkeypatch.context() as patched:
        patched.setattr(BundledTransaction, "commit", deaf)
        with pytest.raises(peewee.PeeweeException) as caught:
            place(placed)
    assert passes_by_itself(caught.value)

    place(placed)
    assert orders_now(placed) == ["confirmed", "rejected"]
    assert stock_of("A") == (5, 1)
    assert_books_agree()


# --- slots ---


@pytest.fixture
def two_slots(monkeypatch: pytest.MonkeyPatch) -> None:
    few(monkeypatch, transactions_at_once=2)


def few(monkeypatch: pytest.MonkeyPatch, **changes: Any) -> None:
    given = msgspec.structs.replace(settings(), **changes)
    monkeypatch.setattr(placing, "settings", lambda: given)


def holding(*numbers: int) -> Any:
    """A session that holds slots and does nothing: the process behind it hangs."""
    session = other_session()
    for number in numbers:
        session.cursor().execute(slots.LOCK, (SLOTS + number,))
    return session


def test_a_frozen_holder_of_a_slot_stops_nobody_else(
    database: None, two_slots: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    stocked("A", 100)
    placed = [order(("A", 1)) for _ in range(12)]
    # Whoever has to wait chooses the frozen one first.
    monkeypatch.setattr(slots, "randrange", lambda _slots: 0)
    frozen = holding(0)
    try:
        in_threads(4, lambda n: one_by_one(placed[n::4]))
    finally:
        frozen.close()

    assert orders_now(placed) == ["confirmed"] * 12
    assert_books_agree()


def test_with_all_slots_taken_a_transaction_waits_for_one_and_takes_what_came_meanwhile(
    database: None, two_slots: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    stocked("A", 100)
    waiting = [order(("A", 1))]
    first, frozen = holding(1), holding(0)
    monkeypatch.setattr(slots, "randrange", lambda _slots: 0)
    deciding = in_another_thread(lambda: place(waiting))()
    try:
        eventually(lambda: rows(WAITING_FOR_SLOTS) == [(1,)])
        assert outcomes(waiting) == [None]
        waiting.append(order(("A", 1)))
        first.close()
        deciding.join(60)
    finally:
        frozen.close()
        first.close()

    assert orders_now(waiting) == ["confirmed"] * 2


TRANSACTIONS = "SELECT count(DISTINCT decided_at) FROM commands WHERE kind = 'place_order'"


def test_a_transaction_takes_more_messages_than_there_are_threads(
    workshop: Workshop, two_slots: None
) -> None:
    # Given a worker of two threads that waits for a slot, and many messages that it has fetched
    stocked("A", 100)
    placed = [order(("A", 1)) for _ in range(40)]
    others = holding(0, 1)
    worker = workshop.start(place_orders.queue_name, threads=2)
    consumer = worker.consumers[place_orders.queue_name]
    try:
        for each in placed:
            workshop.broker.enqueue(for_actor(place_orders, each))
        eventually(lambda: consumer.consumer is not None and len(consumer.consumer.held) == 40)
    finally:
        # When it gets one
        others.close()

    # Then it decides all of them with it, and each is acknowledged
    eventually(lambda: orders_now(placed) == ["confirmed"] * 40)
    assert rows(TRANSACTIONS) == [(1,)]
    workshop.eventually_empty(place_orders.queue_name)
    assert_books_agree()


def test_with_a_rate_limit_no_message_is_decided_before_it_was_counted(
    workshop: Workshop, two_slots: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    few(monkeypatch, transactions_at_once=2, orders_rate_limit="1000/s")
    stocked("A", 100)
    placed = [order(("A", 1)) for _ in range(10)]
    others = holding(0, 1)
    worker = workshop.start(place_orders.queue_name, threads=2)
    consumer = worker.consumers[place_orders.queue_name]
    try:
        for each in placed:
            workshop.broker.enqueue(for_actor(place_orders, each))
        eventually(lambda: consumer.consumer is not None and len(consumer.consumer.held) == 10)
    finally:
        others.close()

    eventually(lambda: orders_now(placed) == ["confirmed"] * 10)
    assert rows(TRANSACTIONS)[0][0] >= 5


def test_where_no_slot_gets_free_in_time_that_is_a_fault_that_passes(
    database: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    few(monkeypatch, transactions_at_once=2, lock_timeout_ms=600)
    stocked("A", 1)
    placed = [order(("A", 1))]
    frozen = holding(0, 1)
    try:
        with pytest.raises(peewee.OperationalError) as caught:
            place(placed)
    finally:
        frozen.close()
    assert passes_by_itself(caught.value)

    # A holder that died has let go.
    place(placed)
    assert orders_now(placed) == ["confirmed"]


def test_no_more_transactions_than_slots_run_at_once(
    database: None, two_slots: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    stocked("A", 1_000)
    together: list[int] = []

    def counted(*args: Any) -> Any:
        together.extend(db.fetch(IN_SLOTS)[0])
        return allocate(*args)

    monkeypatch.setattr(placing, "allocate", counted)
    placed = [order(("A", 1)) for _ in range(60)]

    in_threads(6, lambda n: one_by_one(placed[n::6]))

    assert orders_now(placed) == ["confirmed"] * 60
    assert max(together) <= 2


def test_the_lock_time_out_is_as_it_was_after_a_wait(
    database: None, two_slots: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    stocked("A", 10)
    found: list[str] = []

    def asked(*args: Any) -> Any:
        found.extend(db.fetch("SELECT current_setting('lock_timeout')")[0])
        return allocate(*args)

    monkeypatch.setattr(placing, "allocate", asked)
    monkeypatch.setattr("models.queries.inbox.claim_in_slot", lambda *_args: None)

    place([order(("A", 1))])

    assert [tuple(found)] == rows("SELECT current_setting('lock_timeout')")


# --- a bundled transaction ---


def test_a_bundled_transaction_that_is_not_committed_leaves_nothing(database: None) -> None:
    stocked("A", 3)

    with bundled_transaction() as work:
        assert work.fetch(Statement("UPDATE stock SET on_hand = 9 RETURNING on_hand")) == [(9,)]

    assert stock_of("A") == (3, 0)


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, ValueError])
def test_whatever_is_raised_in_a_bundled_transaction_closes_its_connection(
    database: None, error: type[BaseException]
) -> None:
    stocked("A", 3)

    with pytest.raises(error), bundled_transaction() as work:
        work.fetch(Statement("UPDATE stock SET on_hand = 9"))
        raise error

    assert db.database.is_closed()
    assert stock_of("A") == (3, 0)


def test_what_fails_in_a_message_takes_its_commit_along(database: None) -> None:
    stocked("A", 3)
    pid = rows("SELECT pg_backend_pid()")

    with pytest.raises(peewee.IntegrityError) as caught, bundled_transaction() as work:
        work.commit(
            Statement("UPDATE stock SET on_hand = %s", (2,)),
            Statement("UPDATE stock SET allocated = %s", (3,)),
        )

    assert stock.is_short(caught.value)
    assert stock_of("A") == (3, 0)
    assert rows("SELECT pg_backend_pid()") == pid


def test_what_runs_after_the_commit_sees_what_others_committed_meanwhile(database: None) -> None:
    stocked("A", 3)

    def look() -> Sequence[tuple[Any, ...]]:
        with bundled_transaction() as work:
            work.fetch(Statement("SELECT 1"))
            taken(1)()
            return work.commit(then=[Statement("SELECT on_hand FROM stock WHERE sku = %s", ("A",))])

    assert look() == [(2,)]
    assert rows("SELECT count(*) FROM pg_stat_activity WHERE state LIKE 'idle in%%'") == [(0,)]
