"""Months that are no longer kept: they go whole and in order, and the books agree all the time."""

import csv
import gzip
import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg2
import pytest

from actors import dead_letters as letters
from actors.inventory import adjust_stock
from actors.moves import move_orders
from actors.placing import place_orders
from config import SettingsError, parse, settings
from models import database as db
from models import month_export, retention
from models.month_export import ExportError
from models.queries import dead_letters as queries
from models.queries import partitions, reads, reconciliation
from models.queries import retention as retirement
from models.queries.order_filter import OrderFilter
from models.queries.partitions import PARTITIONED
from models.retention import AtWorkError, Policy
from tests.conftest import CHECKOUT, eventually
from tests.integration.history import (
    age,
    applied,
    attached,
    differences,
    drop_partitions,
    keep,
    make_partitions,
    month_ago,
    name,
    tables_of,
)
from tests.integration.workshop import (
    adjustment,
    apply,
    discard,
    for_actor,
    move,
    new_id,
    order,
    outcomes,
    rows,
    stock_of,
    stocked,
)


@pytest.fixture(autouse=True)
def past(database: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Partitions of the past."""
    monkeypatch.setattr(retention, "PAUSE_S", 0.05)
    make_partitions()
    yield
    drop_partitions()


def sold(sku: str, *moves: Any) -> Any:
    """An order of two units that was moved so."""
    placed = order((sku, 2))
    apply(place_orders, placed)
    for to in moves:
        apply(move_orders, move(placed.id, to))
    return placed


def over(sku: str) -> list[Any]:
    """Orders of every kind of end."""
    ended = [
        sold(sku, "cancelled"),
        sold(sku, "shipped", "delivered"),
        sold(sku, "shipped", "returned"),
        order((sku, 1_000_000)),
    ]
    apply(place_orders, ended[-1])
    return ended


def fails(actor: Any, *commands: Any) -> int:
    letters.record(for_actor(actor, *commands), ValueError("a bug"), "Traceback")
    ((letter,),) = rows("SELECT max(id) FROM dead_letters")
    return int(letter)


def put_back(letter: int) -> None:
    with db.transaction():
        queries.settle_as_retried([letter], new_id())


def why(policy: Policy) -> dict[str, list[str]]:
    return {step.month: step.why for step in retention.plan(policy) if step.does == "stay"}


# --- a month that goes ---


def test_a_plan_says_how_much_it_is_about(past: None) -> None:
    stocked("A", 100)
    over("A")
    age(5)
    (step, *_) = retention.plan(keep(4))
    assert (step.month, step.does, step.action, step.rows) == (name(5), "retire", "drop", None)
    assert step.tables == [f"{table}_{month_ago(5):%Y_%m}" for table in PARTITIONED]

    db.execute("ANALYZE")

    (step, *_) = retention.plan(keep(4))
    assert step.rows == sum(len(rows(f"SELECT FROM {table}")) for table in PARTITIONED)
    assert step.bytes > 8 * 8192


def test_by_default_everything_is_kept(past: None) -> None:
    stocked("A", 100)
    over("A")
    age(4)

    assert retention.policy_of(settings()).months is None
    assert retention.plan(keep(None)) == []
    assert applied(keep(None)) == {}
    assert len(attached(4)) == len(PARTITIONED)


def test_a_month_that_expired_goes_and_the_books_agree(past: None) -> None:
    # Given trade of two months, the older one with all that can happen
    stocked("A", 100)
    apply(adjust_stock, adjustment("A", -3))
    gone = over("A")
    age(1)
    kept = sold("A", "shipped", "delivered")
    age(2)
    before = stock_of("A")
    assert differences() == {}

    # When only the younger one is kept
    done = applied(keep(2))

    # Then the older one is gone whole (with those before it, that were empty), and nothing else
    assert done[name(3)] == "retire"
    assert set(done.values()) == {"retire"}
    assert tables_of(3) == set()
    assert len(attached(2)) == len(PARTITIONED)
    assert [found and found.gone for found in reads.orders_by_id([o.id for o in gone])] == [
        True
    ] * 4
    (found,) = reads.orders_by_id([kept.id])
    assert found is not None
    assert not found.gone
    # And what was on hand then is an opening balance
    assert stock_of("A") == before
    assert rows("SELECT sku, on_hand, allocated FROM opening_balances") == [("A", 95, 0)]
    assert differences() == {}


def test_what_orders_that_are_gone_did_later_stays_in_the_books(past: None) -> None:
    # Given orders of one month that were moved in the next one
    stocked("A", 100)
    later = [sold("A") for _ in range(3)]
    age(1)
    shipped, cancelled, returned = later
    apply(move_orders, move(shipped.id, "shipped"), move(cancelled.id, "cancelled"))
    apply(move_orders, move(shipped.id, "delivered"), move(returned.id, "shipped"))
    apply(move_orders, move(returned.id, "returned"))
    age(2)

    # When the first month goes
    assert applied(keep(2))[name(3)] == "retire"

    # Then what was allocated at its end is carried, and what became of it is in the ledger
    assert rows("SELECT on_hand, allocated FROM opening_balances") == [(100, 6)]
    assert stock_of("A") == (98, 0)
    assert differences() == {}


def test_an_order_whose_clock_ran_ahead_is_reckoned_by_its_decision(past: None) -> None:
    # Given an order of the first of a month that was decided on the last of the one before
    stocked("A", 100)
    age(3)
    ahead = sold("A", "shipped", "delivered")
    turn = month_ago(2)
    db.execute("UPDATE stock_movements SET at = %s WHERE order_id = %s",
               (turn - timedelta(seconds=2), ahead.id))  # fmt: skip
    for table, key in (("commands", "id"), ("orders", "id"), ("order_lines", "order_id"),
                       ("order_events", "order_id")):  # fmt: skip
        db.execute(f"UPDATE {table} SET placed_at = %s WHERE {key} = %s", (turn, ahead.id))
    db.execute("UPDATE order_events SET at = %s", (turn - timedelta(seconds=2),))
    db.execute("UPDATE stock_movements SET command_id = (SELECT id FROM commands WHERE kind = "
               "'move_order' ORDER BY placed_at LIMIT 1) WHERE reason = 'shipped'")  # fmt: skip
    assert differences() == {}

    assert applied(keep(2))[name(3)] == "retire"

    assert differences() == {}
    (found,) = reads.orders_by_id([ahead.id])
    assert found is not None
    assert not found.gone


def test_balances_add_up_over_months(past: None) -> None:
    stocked("A", 10)
    stocked("B", 5)
    age(1)
    apply(adjust_stock, adjustment("A", 7))
    sold("B", "shipped", "delivered")
    age(2)

    assert applied(keep(2))[name(3)] == "retire"
    assert differences() == {}
    assert applied(keep(1))[name(2)] == "retire"

    assert rows("SELECT sku, on_hand, allocated FROM opening_balances ORDER BY sku") == [
        ("A", 17, 0), ("B", 3, 0),
    ]  # fmt: skip
    assert differences() == {}


def test_a_wrong_opening_balance_and_a_wrong_stock_are_found(past: None) -> None:
    stocked("A", 10)
    age(3)
    applied(keep(2))

    db.execute("UPDATE opening_balances SET on_hand = 9")
    assert list(differences()) == ["stock"]
    db.execute("UPDATE opening_balances SET on_hand = 10")
    db.execute("UPDATE stock SET on_hand = 11")
    assert list(differences()) == ["stock"]


def test_a_kept_order_that_lost_its_row_is_still_found(past: None) -> None:
    stocked("A", 10)
    over("A")
    age(1)
    kept = sold("A", "shipped", "delivered")
    age(2)
    applied(keep(2))

    db.execute("DELETE FROM orders WHERE id = %s", (kept.id,))

    assert set(differences()) == {"outcomes", "timelines"}


# --- what was gone before ---


def test_a_command_that_comes_again_after_its_order_is_gone_does_nothing(past: None) -> None:
    stocked("A", 100)
    gone = sold("A", "shipped", "delivered")
    age(3)
    applied(keep(2))
    before = stock_of("A")

    apply(place_orders, gone)

    assert stock_of("A") == before
    assert rows("SELECT id FROM orders") == []
    assert outcomes([gone]) == ["applied"]


def test_a_move_of_an_order_that_is_gone_is_refused_at_once(past: None) -> None:
    stocked("A", 100)
    gone = sold("A", "shipped", "delivered")
    age(3)
    applied(keep(2))
    late, early = move(gone.id, "returned"), move(new_id(), "shipped")

    apply(move_orders, late, early)

    assert rows("SELECT command_id::text FROM waiting_moves") == [(early.id,)]
    assert outcomes([late, early]) == ["rejected", None]
    ((problem,),) = rows("SELECT problem FROM commands WHERE id = %s", late.id)
    assert problem["type"] == "/problems/unknown-order"
    assert "no longer kept" in problem["detail"]
    assert differences() == {}


def test_lists_end_where_the_kept_months_do(past: None) -> None:
    stocked("A", 100)
    over("A")
    age(1)
    kept = sold("A")
    age(2)
    applied(keep(2))

    assert [id_ for id_, _ in reads.order_ids_page(OrderFilter(), None, 50)] == [kept.id]
    assert len(reads.movements_page("A", None, 50)) == 1


# --- what stays ---


def test_what_is_open_holds_its_month_and_all_after_it(past: None) -> None:
    # Given a month with everything that is not over, and a later one where all is
    stocked("A", 100)
    confirmed = sold("A")
    shipped = sold("A", "shipped")
    failed, retried, dropped = (order(("A", 1)) for _ in range(3))
    fails(place_orders, failed)
    discard(fails(place_orders, dropped))
    put_back(fails(place_orders, retried))
    moved = sold("A", "shipped", "delivered")
    fails(move_orders, move(moved.id, "returned"))
    age(1)
    over("A")
    age(2)

    # Then the plan says what holds them, and nothing of them goes
    found = why(keep(1))
    assert found[name(3)] == [
        f"1 order confirmed, such as {confirmed.id}",
        f"1 order failed, to be put back or discarded, such as {failed.id}",
        f"1 order pending, such as {retried.id}",
        f"1 order shipped, such as {shipped.id}",
        f"1 move failed, to be put back or discarded, such as of order {moved.id}",
    ]
    assert found[name(2)] == [f"{name(3)} stays, and months go in their order"]
    assert applied(keep(1))[name(3)] == "stay"
    assert len(attached(3)) == len(attached(2)) == len(PARTITIONED)
    assert set(applied(keep(1))) == {name(3), name(2)}

    # And when all is over, they go
    apply(move_orders, move(confirmed.id, "cancelled"), move(shipped.id, "delivered"))
    apply(place_orders, retried)
    apply(move_orders, move(retried.id, "cancelled"))
    for (letter,) in rows("SELECT id FROM dead_letters WHERE state = 'failed'"):
        discard(letter)
    assert why(keep(1)) == {}
    assert applied(keep(1)) == {name(3): "retire", name(2): "retire"}
    assert differences() == {}


def test_what_is_put_back_after_the_plan_holds_its_month(
    past: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a plan that saw nothing open
    stocked("A", 100)
    letter = fails(place_orders, order(("A", 1)))
    discard(letter)
    age(3)
    retire = retirement.retire

    def put_back_before(*args: Any) -> bool:
        db.execute("UPDATE commands SET status = 'pending' WHERE status = 'failed'")
        return bool(retire(*args))

    assert set(applied(keep(3)).values()) == {"retire"}
    monkeypatch.setattr(retirement, "retire", put_back_before)

    assert applied(keep(2)) == {name(3): "stay"}
    assert len(attached(3)) == len(PARTITIONED)


def test_while_the_books_differ_nothing_goes(past: None) -> None:
    stocked("A", 10)
    age(3)
    db.execute("UPDATE stock SET on_hand = 11")
    reconciliation.run()

    assert set(applied(keep(2)).values()) == {"stay"}
    assert "the books differ" in why(keep(2))[name(3)][0]

    db.execute("UPDATE stock SET on_hand = 10")
    reconciliation.run()
    assert applied(keep(2))[name(3)] == "retire"


def test_a_default_partition_and_a_partition_by_hand_are_left_alone(past: None) -> None:
    month = month_ago(5)
    db.execute("CREATE TABLE leftovers PARTITION OF orders DEFAULT")
    db.execute(f"ALTER TABLE order_lines_{month:%Y_%m} RENAME TO by_hand")
    try:
        found = why(keep(2))
        assert "leftovers takes what is of no month" in found[name(5)][0]
        assert "not those that Holdfast makes" in found[name(5)][1]
        assert set(applied(keep(2)).values()) == {"stay"}
    finally:
        db.execute("DROP TABLE leftovers")
        db.execute(f"ALTER TABLE by_hand RENAME TO order_lines_{month:%Y_%m}")


# --- detach, export ---


def test_detached_tables_stay_beside_the_others(past: None) -> None:
    stocked("A", 10)
    gone = sold("A", "shipped", "delivered")
    age(3)

    applied(keep(2, "detach"))

    assert attached(3) == set()
    assert len(tables_of(3)) == len(PARTITIONED)
    assert rows(f"SELECT id::text FROM orders_{month_ago(3):%Y_%m}") == [(gone.id,)]
    assert rows("SELECT id FROM orders") == []
    assert {state for each, state in retention.status(keep(2)) if each.name in tables_of(3)} == {
        "detached"
    }
    # And another policy does not reach for them
    assert applied(keep(2, "drop")) == {}
    assert len(tables_of(3)) == len(PARTITIONED)


def test_what_is_exported_is_all_there_was_and_can_be_read_back(past: None, tmp_path: Path) -> None:
    # Given rows with everything that a file could get wrong
    stocked("A", 100)
    odd = order(("A", 1))
    odd.metadata.update({"note": 'a "quoted",\nbroken line; ünïcode', "empty": ""})
    apply(place_orders, odd, order(("A", 10**6)))
    apply(move_orders, move(odd.id, "cancelled"))
    age(3)
    was = {table: rows(f"SELECT * FROM {table} ORDER BY 1, 2, 3") for table in PARTITIONED}

    # When the month is exported
    assert applied(keep(2, "export", tmp_path))[name(3)] == "retire"

    # Then the manifest says what is in the files, which are their owner's alone
    place = tmp_path / name(3)
    manifest = json.loads((place / "manifest.json").read_text())
    assert (manifest["from"], manifest["to"]) == (
        month_ago(3).isoformat(), month_ago(2).isoformat(),
    )  # fmt: skip
    assert [each["table"] for each in manifest["tables"]] == list(PARTITIONED)
    assert sorted(path.name for path in place.iterdir()) == sorted(
        ["manifest.json", *(f"{table}.csv.gz" for table in PARTITIONED)]
    )
    assert {path.stat().st_mode & 0o077 for path in (place, *place.iterdir())} == {0}
    for each in manifest["tables"]:
        packed = (place / each["file"]).read_bytes()
        assert hashlib.sha256(packed).hexdigest() == each["sha256"]
        header, *lines = csv.reader(gzip.decompress(packed).decode().splitlines(keepends=True))
        assert header == [column["name"] for column in each["columns"]]
        assert len(lines) == each["rows"] == len(was[each["table"]])
    ((kept,),) = rows("SELECT manifest FROM retired_months ORDER BY starts_at DESC LIMIT 1")
    assert kept == manifest
    assert tables_of(3) == set()

    # And COPY reads back what was there
    for table in PARTITIONED:
        db.execute(f"CREATE TABLE again (LIKE {table})")
        try:
            with gzip.open(place / f"{table}.csv.gz") as file, db.transaction():
                cursor = db.database.connection().cursor()
                cursor.copy_expert("COPY again FROM STDIN WITH (FORMAT csv, HEADER)", file)
            assert rows("SELECT * FROM again ORDER BY 1, 2, 3") == was[table]
        finally:
            db.execute("DROP TABLE again")


def test_another_databases_export_is_not_written_over(past: None, tmp_path: Path) -> None:
    place = tmp_path / name(5)
    place.mkdir()
    (place / "manifest.json").write_text('{"retired_at": "2001-01-01T00:00:00+00:00"}')

    with pytest.raises(ExportError, match="another database"):
        applied(keep(2, "export", tmp_path))

    assert len(tables_of(5)) == len(PARTITIONED)
    (place / "manifest.json").unlink()
    assert applied(keep(2, "export", tmp_path))[name(5)] == "finish"
    assert tables_of(5) == set()


def test_what_the_disk_does_not_give_back_is_not_dropped(
    past: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(month_export, "_count_rows", lambda _path: 7)

    with pytest.raises(ExportError, match="has 7 rows"):
        applied(keep(2, "export", tmp_path))

    assert len(tables_of(5)) == len(PARTITIONED)


def test_an_export_needs_a_place() -> None:
    with pytest.raises(SettingsError, match="RETENTION_ACTION=export needs a folder"):
        parse({**os.environ, "RETENTION_ACTION": "export"})


# --- broken off, and at once ---

NEXT = {"RETENTION_MONTHS": "2", "RETENTION_ACTION": "export"}


def killed(folder: Path, *where: str) -> None:
    """An apply that was killed there."""
    ran = subprocess.run(
        [sys.executable, "-m", "tests.integration.mortal_retention", *where],
        cwd=CHECKOUT, env={**os.environ, **NEXT, "RETENTION_EXPORT_DIR": str(folder)},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert ran.returncode == -9, ran.stderr


def again(policy: Policy) -> dict[str, str]:
    """The next apply, once the server knows that the one before is dead."""

    def tries() -> dict[str, str] | None:
        try:
            return applied(policy)
        except AtWorkError:
            return None

    found: dict[str, str] = eventually(tries)
    return found


@pytest.mark.parametrize(
    ("function", "when", "nth"),
    [
        ("models.queries.retention.retire", "before", 1),
        ("models.queries.retention.retire", "after", 1),
        ("models.queries.retention.detach", "after", 1),
        ("models.queries.retention.detach", "before", 4),
        ("models.month_export._count_rows", "before", 2),
        ("models.month_export._write_table", "after", 3),
        ("models.queries.retention.note_export", "before", 1),
        ("models.queries.retention.note_export", "after", 1),
        ("models.queries.retention.finish", "after", 1),
    ],
)
def test_what_was_killed_anywhere_is_finished_by_the_next(
    past: None, tmp_path: Path, function: str, when: str, nth: int
) -> None:
    # Given only one month to take away
    stocked("A", 100)
    over("A")
    age(5)
    applied(keep(5))
    was = {table: len(rows(f"SELECT FROM {table}")) for table in PARTITIONED}

    # When the apply is killed, and the books agree even then
    killed(tmp_path, function, when, str(nth))
    assert differences() == {}
    again(keep(2, "export", tmp_path))

    # Then it went once, with all of it in the files
    manifest = json.loads((tmp_path / name(5) / "manifest.json").read_text())
    assert {each["table"]: each["rows"] for each in manifest["tables"]} == was
    assert tables_of(5) == set()
    assert rows("SELECT sku, on_hand, allocated FROM opening_balances") == [("A", 98, 0)]
    assert rows("SELECT count(*) FROM retired_months WHERE finished_at IS NULL") == [(0,)]
    assert differences() == {}


@pytest.fixture
def reader(past: None) -> Iterator[Callable[[str], Any]]:
    """Another connection, whose transaction has read something and goes on."""
    with closing(psycopg2.connect(settings().database_url)) as other:
        other.set_session(isolation_level="REPEATABLE READ")

        def read(statement: str) -> Any:
            other.cursor().execute(statement)
            return other

        yield read


def test_a_detach_that_was_killed_in_its_middle_is_finished(
    past: None, tmp_path: Path, reader: Callable[[str], Any]
) -> None:
    # Given a transaction that reads the table, but not the partition: a detach waits in its middle
    old = reader("SELECT count(*) FROM orders WHERE placed_at > now()")
    killed(tmp_path, "time.sleep", "before", "1")
    pending = [each.name for each in partitions.every() if each.detaching]
    assert pending == [f"orders_{month_ago(5):%Y_%m}"]
    assert {state for each, state in retention.status(keep(2)) if each.detaching} == {"retired"}

    # When that ends
    old.rollback()
    again(keep(2, "export", tmp_path))

    assert tables_of(5) == set()
    assert [each for each in partitions.every() if each.detaching] == []


def test_while_a_detach_waits_for_a_reader_orders_are_placed_and_read(
    past: None, reader: Callable[[str], Any]
) -> None:
    # Given somebody who reads all partitions for long
    stocked("A", 1_000)
    sold("A")
    old = reader("SELECT count(*) FROM orders")
    done = threading.Event()

    def take_away() -> None:
        try:
            applied(keep(2))
        finally:
            db.discard_connection()
            done.set()

    thread = threading.Thread(target=take_away)
    thread.start()
    try:
        # Then orders are placed, read and moved meanwhile, without a wait
        begun = datetime.now(UTC)
        for _ in range(20):
            placed = sold("A", "shipped", "delivered")
            (found,) = reads.orders_by_id([placed.id])
            assert found is not None
        assert datetime.now(UTC) - begun < timedelta(seconds=15)
        assert not done.is_set()
        assert attached(5)
    finally:
        old.rollback()
        thread.join()

    # And the months go once he is done
    assert attached(5) == set()
    assert differences() == {}


def test_of_two_at_once_one_is_turned_away(past: None) -> None:
    said: list[str] = []

    def meanwhile(_text: str) -> None:
        if said:
            return
        said.append("")
        ran = subprocess.run(
            [sys.executable, "-m", "holdfast", "partitions", "apply"],
            cwd=CHECKOUT, env={**os.environ, "RETENTION_MONTHS": "2"},
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        said[0] = f"{ran.returncode} {ran.stderr}"

    done = retention.apply(keep(2), meanwhile)

    assert said == ["1 holdfast: another process takes months away just now; nothing was done\n"]
    assert [step.month for step in done] == [name(5), name(4), name(3)]


#: Whether the ledger of the oldest month is gone, or a detach waits for somebody.
GONE_OR_WAITED_FOR = """
SELECT FROM pg_stat_activity
WHERE query LIKE '%%DETACH PARTITION%%' AND wait_event_type = 'Lock'
UNION ALL
SELECT FROM pg_class WHERE relname = %s AND NOT relispartition
"""


def test_a_reconciliation_that_began_before_sees_the_month_whole(past: None) -> None:
    # Given books whose first check is about to begin
    stocked("A", 100)
    over("A")
    age(5)
    threads: list[threading.Thread] = []

    def take_away() -> None:
        try:
            applied(keep(2, "detach"))
        finally:
            db.discard_connection()

    def is_under_way() -> bool:
        with closing(psycopg2.connect(settings().database_url)) as other, other:
            cursor = other.cursor()
            cursor.execute(GONE_OR_WAITED_FOR, (f"stock_movements_{month_ago(5):%Y_%m}",))
            return bool(cursor.rowcount)

    def meanwhile(_check: object) -> None:
        # A month is retired, and would be detached
        if not threads:
            threads.append(threading.Thread(target=take_away))
            threads[0].start()
            eventually(is_under_way)

    try:
        found = [each for each in reconciliation.look(progress=meanwhile) if each.differences]
    finally:
        threads[0].join()

    # Then it saw the books as they were when it began, and later ones agree, too
    assert found == []
    assert attached(5) == set()
    assert differences() == {}


# --- made ahead ---


def test_a_month_is_made_while_others_read_and_write(
    past: None, reader: Callable[[str], Any]
) -> None:
    old = reader("SELECT count(*) FROM orders")
    db.execute("SET lock_timeout = '1s'")

    made = partitions.ensure(1, today=date(2031, 12, 15))

    try:
        assert len(made) == 3 * len(PARTITIONED)
        parents = rows(
            "SELECT count(*) FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indrelid "
            "WHERE c.relname = 'orders_2031_12'"
        )
        assert parents == rows("SELECT count(*) FROM pg_index WHERE indrelid = 'orders'::regclass")
    finally:
        old.rollback()
        for table in made:
            db.execute(f"DROP TABLE {table}")
        db.discard_connection()
