"""Reconciliation: in books that agree nothing is found; what is broken is found and named."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import timedelta
from threading import Event, Thread
from typing import Any

import msgspec
import peewee
import psycopg2
import pytest

from actors import dead_letters as letters
from actors import inventory, moves
from actors.commands import ROUTES_BY_ACTOR, PlaceOrder
from actors.inventory import adjust_stock
from actors.moves import move_orders
from actors.placing import place_orders
from config import settings
from models import database as db
from models.queries import checks, reconciliation
from models.queries.checks import CHECKS, Check
from models.queries.reconciliation import Found
from tests.conftest import CHECKOUT
from tests.integration.test_books import in_threads
from tests.integration.workshop import (
    Workshop,
    adjustment,
    apply,
    assert_books_agree,
    discard,
    for_actor,
    message,
    move,
    order,
    orders_now,
    outcomes,
    place,
    put_back,
    rows,
    stock_of,
    stocked,
)


@dataclass
class Trade:
    """Orders by what became of them, and other commands that tests break."""

    confirmed: PlaceOrder
    rejected: PlaceOrder
    returned: PlaceOrder
    failed: PlaceOrder
    again: PlaceOrder
    pending: PlaceOrder
    adjusted: Any
    shipping: Any


class RolledBack(Exception):
    """Nothing of a transaction is to stay."""


def fails(actor: Any, *commands: Any) -> int:
    """What commands become that keep failing; returns the dead letter's id."""
    letters.record(for_actor(actor, *commands), ValueError("a bug"), "Traceback")
    ((letter,),) = rows("SELECT max(id) FROM dead_letters")
    return int(letter)


def fails_unreadably() -> None:
    """An order without a row: all that can be read of it is its id."""
    raw = {**msgspec.to_builtins(order(("A", 1))), "lines": "none"}
    letters.record(message(place_orders.queue_name, "place_orders", raw), ValueError("?"), "…")


@pytest.fixture
def trade(workshop: Workshop) -> Trade:
    """A day of everything: sold, refused, moved, returned, adjusted, failed and tried again."""
    stocked("A", 100)
    stocked("B", 100)
    adjusted = adjustment("A", -7)
    apply(adjust_stock, adjusted, adjustment("B", -1_000), adjustment("NONE", 1))
    sold = [order(("A", 2), ("B", 1), ("A", 1)) for _ in range(7)]
    confirmed, shipped, delivered, cancelled, returned, lost, refused = sold
    rejected = order(("A", 1), ("B", 5_000))
    apply(place_orders, *sold, rejected)
    shipping = move(shipped.id, "shipped")
    apply(move_orders, shipping, *(move(o.id, "shipped") for o in (delivered, returned, lost)))
    apply(move_orders, move(delivered.id, "delivered"), move(cancelled.id, "cancelled"))
    apply(move_orders, move(returned.id, "returned"), move(lost.id, "returned", restock=False))
    apply(move_orders, move(cancelled.id, "shipped"), move(refused.id, "shipped", if_version=9))
    failed, dropped, again, twice, refuses, pending = (order(("A", 1)) for _ in range(6))
    refuses = order(("A", 9_000))
    fails(place_orders, failed)
    fails(move_orders, move(confirmed.id, "cancelled"))
    fails_unreadably()
    assert discard(fails(place_orders, dropped)) == "applied"
    back = [fails(place_orders, each) for each in (again, refuses, twice)]
    assert put_back(*back) == "applied"
    apply(place_orders, again, refuses)
    fails(place_orders, twice)
    assert put_back(fails(place_orders, pending)) == "applied"
    apply(move_orders, move(again.id, "shipped"))
    return Trade(confirmed, rejected, returned, failed, again, pending, adjusted, shipping)


def found(since: Any = None) -> dict[str, Found]:
    """What is wrong, by check."""
    return {each.check: each for each in reconciliation.look(since) if each.differences}


def test_after_a_day_of_everything_the_books_agree(trade: Trade) -> None:
    assert_books_agree()
    assert outcomes([trade.confirmed, trade.rejected, trade.failed, trade.pending]) == [
        "applied", "rejected", "failed", "pending",
    ]  # fmt: skip
    assert orders_now([trade.again, trade.returned]) == ["shipped", "returned"]

    assert found() == {}
    assert found(trade.confirmed.at) == {}


A_MOVEMENT = (
    "INSERT INTO stock_movements (at, sku, location, on_hand_delta, allocated_delta, reason,"
    " order_id, command_id) SELECT now(), sku, location, on_hand_delta, allocated_delta, reason,"
    " order_id, command_id FROM stock_movements"
)

#: What is broken, by which statement ({names} are ids of the trade), and which checks say what.
BROKEN: dict[str, tuple[str, dict[str, str]]] = {
    "stock off by one": (
        "UPDATE stock SET on_hand = on_hand + 1 WHERE sku = 'B'",
        {"stock": "SKU B at main: stock says 98 on hand and 2 allocated, its "},
    ),
    "stock without its row": (
        "DELETE FROM stock WHERE sku = 'B'",
        {"stock": "SKU B at main: stock says none on hand", "allocation": "hold 2"},
    ),
    "allocated off by one, in the ledger too": (
        "UPDATE stock SET allocated = allocated + 1 WHERE sku = 'A';"
        "UPDATE stock_movements SET allocated_delta = allocated_delta + 1"
        " WHERE command_id = '{adjusted}'",
        {"allocation": "SKU A at main: stock says 7 allocated, 4 lines of confirmed orders hold"
         " 6"},
    ),
    "a movement missing": (
        "DELETE FROM stock_movements WHERE sku = 'A' AND command_id = '{shipping}'",
        {"stock": "SKU A at main", "order_movements": "shipped: its lines and events ask for -3 on "
         "hand and -3 allocated, 0 movements sum to 0 and 0"},
    ),
    "an adjustment's movement missing": (
        "DELETE FROM stock_movements WHERE command_id = '{adjusted}'",
        {"stock": "SKU A", "adjustments": "Command {adjusted}: the adjustment of SKU A"},
    ),
    "a movement doubled": (
        f"{A_MOVEMENT} WHERE sku = 'A' AND command_id = '{{shipping}}'",
        {"stock": "SKU A", "order_movements": "2 movements sum to -6 and -6"},
    ),
    "an adjustment's movement doubled": (
        f"{A_MOVEMENT} WHERE command_id = '{{adjusted}}'",
        {"stock": "SKU A", "adjustments": "has 2 movements"},
    ),
    "a movement of a refused command": (
        f"{A_MOVEMENT} WHERE command_id = '{{adjusted}}';"
        "UPDATE commands SET status = 'rejected' WHERE id = '{adjusted}'",
        {"stock": "SKU A", "movement_commands": "is adjust_stock of A, rejected"},
    ),
    "a movement without a command": (
        "UPDATE stock_movements SET command_id = gen_random_uuid()"
        " WHERE command_id = '{shipping}' AND sku = 'A'",
        {"movement_commands": "is missing"},
    ),
    "an order without a command": (
        "DELETE FROM commands WHERE id = '{rejected}'",
        {"origins": "Order {rejected}: it is rejected"},
    ),
    "an order of another time than its command": (
        "UPDATE commands SET placed_at = placed_at - interval '1 s' WHERE id = '{rejected}'",
        {"origins": "a command of that id: place_order, placed",
         "outcomes": "the order is missing"},
    ),
    "a command applied without an order": (
        "DELETE FROM orders WHERE id = '{confirmed}'",
        {"outcomes": "Order {confirmed}: its command is applied, the order is missing",
         "timelines": "Order {confirmed}: it is missing", "allocation": "SKU A"},
    ),
    "an order that its command refused": (
        "UPDATE commands SET status = 'rejected' WHERE id = '{confirmed}'",
        {"outcomes": "its command is rejected, the order is confirmed",
         "movement_commands": "is place_order of {confirmed}, rejected"},
    ),
    "an order that its pending command decided": (
        "UPDATE commands SET status = 'pending' WHERE id = '{rejected}'",
        {"outcomes": "its command is pending, the order is rejected"},
    ),
    "a decision doubled": (
        "INSERT INTO order_events SELECT order_id, placed_at, 2, type, now(), data"
        " FROM order_events WHERE order_id = '{rejected}'",
        {"timelines": "it is rejected at version 1, its timeline is rejected rejected (2 events"},
    ),
    "a decision missing": (
        "DELETE FROM order_events WHERE order_id = '{rejected}'",
        {"timelines": "its timeline is empty (0 events"},
    ),
    "a status that went back": (
        "UPDATE orders SET status = 'shipped' WHERE id = '{returned}'",
        {"timelines": "it is shipped at version 3, its timeline is confirmed shipped returned"},
    ),
    "a version ahead of its events": (
        "UPDATE orders SET version = 5 WHERE id = '{again}'",
        {"timelines": "its timeline is failed confirmed shipped (3 events, the last one is number"},
    ),
    "an allocated line missing": (
        "DELETE FROM order_lines WHERE order_id = '{confirmed}' AND sku = 'B'",
        {"allocation": "SKU B at main: stock says 2 allocated, 1 lines of confirmed orders hold"
         " 1", "order_movements": "Order {confirmed}, SKU B at main, placed: its lines and events"},
    ),
    "a move without its event": (
        "UPDATE order_events SET data = data - 'command_id'"
        " WHERE data ->> 'command_id' = '{shipping}'",
        {"moves": "the command {shipping} is applied, and 0 events"},
    ),
    "an event of a refused move": (
        "UPDATE commands SET status = 'rejected' WHERE id = '{shipping}'",
        {"moves": "{shipping} is not an applied move, and 1 events",
         "movement_commands": "rejected"},
    ),
    "a failure without a dead letter": (
        "DELETE FROM dead_letters WHERE command_ids @> ARRAY['{failed}'::uuid]",
        {"failures": "Command {failed}: place_order failed at"},
    ),
    "a failure whose dead letter is settled as retried": (
        "UPDATE dead_letters SET state = 'retried', settled_at = now()"
        " WHERE command_ids @> ARRAY['{failed}'::uuid]",
        {"failures": "Command {failed}"},
    ),
}  # fmt: skip


def ids(trade: Trade) -> dict[str, str]:
    return {name: command.id for name, command in vars(trade).items()}


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_broken_is_found_and_named(trade: Trade, name: str) -> None:
    statement, said = BROKEN[name]
    db.execute(statement.format_map(ids(trade)))

    for wrong in (found(), found(trade.confirmed.at - timedelta(minutes=1))):
        lines = {check: " ".join(d.line for d in each.examples) for check, each in wrong.items()}
        assert set(lines) == set(said), lines
        for check, text in said.items():
            assert text.format_map(ids(trade)) in lines[check]


@pytest.fixture
def unbounded(migrated: None) -> Iterator[None]:
    """Stock without its constraint."""
    db.execute("ALTER TABLE stock DROP CONSTRAINT stock_check")
    yield
    db.execute("DELETE FROM stock")
    db.execute(
        "ALTER TABLE stock ADD CONSTRAINT stock_check"
        " CHECK (0 <= allocated AND allocated <= on_hand)"
    )


def test_more_allocated_than_there_is_is_found(database: None, unbounded: None) -> None:
    stocked("A", 5)
    db.execute("UPDATE stock SET allocated = 6")

    (difference,) = found()["bounds"].examples

    assert difference.line.startswith("SKU A at main: 6 allocated of 5 on hand.")
    assert difference.about == "sku:A"


# --- pending without a message ---


def put_back_minutes_ago(trade: Trade, minutes: int) -> None:
    db.execute(
        f"UPDATE dead_letters SET settled_at = now() - interval '{minutes} minutes'"
        f" WHERE command_ids @> ARRAY['{trade.pending.id}'::uuid]"
    )
    db.execute(
        f"UPDATE commands SET decided_at = now() - interval '1 day' WHERE id = '{trade.pending.id}'"
    )


def sampled(waiting: int = 0, samples: int = 29) -> None:
    """The clock has looked into the queues lately, and once seen so many messages in one where
    orders wait."""
    for queue, count in (("holdfast.orders", 0), ("holdfast.skus", waiting)):
        db.execute(
            "INSERT INTO queue_stats (resolution_s, at, queue, ready, delayed, unacked, consumers)"
            f" SELECT 10, now() - n * interval '10 s', '{queue}', 0,"
            f" CASE n WHEN 3 THEN {count} ELSE 0 END, 0, 1 FROM generate_series(1, {samples}) AS n"
        )


def test_a_pending_command_without_a_message_is_found(trade: Trade) -> None:
    put_back_minutes_ago(trade, 6)
    sampled()

    (difference,) = found()["pending"].examples

    assert difference.line.startswith(
        f"Command {trade.pending.id}: place_order is pending since 20"
    )
    assert "nothing in holdfast.orders and holdfast.skus for 5 minutes" in difference.line
    assert f"--subject command:{trade.pending.id}" in difference.line


def test_a_pending_command_may_have_its_message_where_there_was_any(trade: Trade) -> None:
    put_back_minutes_ago(trade, 6)
    sampled(waiting=1)

    assert found() == {}


def test_a_command_that_was_just_put_back_is_given_its_time(trade: Trade) -> None:
    put_back_minutes_ago(trade, 4)
    sampled()

    assert found() == {}


def test_of_queues_that_nobody_looked_into_nothing_is_said(trade: Trade) -> None:
    put_back_minutes_ago(trade, 6)
    sampled(samples=5)

    assert found() == {}


def test_the_checks_know_where_each_kind_of_command_waits() -> None:
    assert [(route.kind, route.queue) for route in ROUTES_BY_ACTOR.values()] == list(checks.QUEUES)


# --- one snapshot ---


def test_while_orders_are_placed_and_moved_no_difference_is_seen(database: None) -> None:
    stocked("A", 5_000)
    stocked("B", 5_000)
    done = Event()
    looked: list[dict[str, Found]] = []

    def looks() -> None:
        try:
            while not done.is_set() or len(looked) < 3:
                looked.append(found())
        finally:
            db.discard_connection()

    def trades(n: int) -> None:
        for _ in range(15):
            placed = [order(("A", 1 + n), ("B", 1)) for _ in range(10)]
            place(placed)
            moves._apply([move(each.id, "shipped") for each in placed[:6]])
            moves._apply([move(each.id, "returned") for each in placed[:3]])
            inventory._adjust([adjustment("A", -1), adjustment("B", 2)])
            letters.record(for_actor(place_orders, order(("A", 1))), ValueError("a bug"), "…")

    looker = Thread(target=looks)
    looker.start()
    try:
        in_threads(3, trades)
    finally:
        done.set()
        looker.join()

    assert len(looked) >= 3
    assert [each for each in looked if each] == []


def test_all_checks_see_what_was_there_when_the_first_began(database: None) -> None:
    stocked("A", 5)

    def break_meanwhile(check: Check) -> None:
        with closing(psycopg2.connect(settings().database_url)) as other, other:
            other.cursor().execute("UPDATE stock SET on_hand = on_hand + 1")

    assert [f for f in reconciliation.look(progress=break_meanwhile) if f.differences] == []
    assert list(found()) == ["stock"]


def test_a_run_can_change_nothing(database: None, monkeypatch: pytest.MonkeyPatch) -> None:
    writes = CHECKS[0]._replace(statement="SELECT nextval('dead_letters_id_seq') AS sku")
    monkeypatch.setattr(reconciliation, "CHECKS", [writes])

    with pytest.raises(peewee.InternalError, match="read-only"):
        reconciliation.look()


def test_a_run_that_takes_too_long_is_given_up(
    database: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reconciliation, "TIMEOUT_MS", 100)
    slow = CHECKS[0]._replace(statement="SELECT pg_sleep(20) AS sku")
    monkeypatch.setattr(reconciliation, "CHECKS", [slow])

    with pytest.raises(peewee.OperationalError, match="statement timeout"):
        reconciliation.look()


# --- what is kept ---


def test_what_a_run_found_is_kept(database: None) -> None:
    stocked("A", 5)
    good = reconciliation.run()
    db.execute("UPDATE stock SET on_hand = 6")
    said: list[str] = []

    bad = reconciliation.run(good.at, progress=lambda check: said.append(check.name))

    assert (good.differences, good.wrong, good.since) == (0, [], None)
    assert [(f.check, f.differences) for f in bad.wrong] == [("stock", 1)]
    assert (bad.since, bad.good_at) == (good.at, good.at)
    assert reconciliation.latest() == bad
    assert said == [check.name for check in CHECKS] == [f.check for f in bad.checks]


def test_many_differences_are_counted_and_a_few_explained(database: None) -> None:
    db.execute(
        "INSERT INTO products SELECT 'S' || n, 'Mug', 1, 'EUR', now(), now() "
        "FROM generate_series(1, 500) AS n"
    )
    db.execute(
        "INSERT INTO stock (sku, location, on_hand, allocated, updated_at) "
        "SELECT 'S' || n, 'main', 1, 0, now() FROM generate_series(1, 500) AS n"
    )

    (all_of_them,) = [f for f in reconciliation.look(examples_max=None) if f.differences]

    assert found()["stock"].differences == 500
    assert len(found()["stock"].examples) == reconciliation.EXAMPLES_MAX
    assert len(all_of_them.examples) == 500


# --- how far a run looks back ---


def test_the_first_run_looks_at_everything(database: None) -> None:
    assert reconciliation.window() is None


def test_the_version_before_goes_on_beside_this_one(database: None) -> None:
    # Given what that one writes, and reads
    db.execute(
        "INSERT INTO reconciliations (at, took_ms, skus, differences, examples) "
        "VALUES (clock_timestamp(), 1, 2, 0, '[]'::jsonb)"
    )
    old = "SELECT at, took_ms, skus, differences, examples FROM reconciliations ORDER BY at DESC"

    # Then it is no run of this one's, for it looked at the stock only
    assert reconciliation.latest() is None
    assert reconciliation.window() is None
    found = reconciliation.run()
    ours, theirs = rows(old)
    assert (ours[0], *ours[2:]) == (found.at, 0, 0, [])
    assert theirs[2:] == (2, 0, [])


def test_a_run_looks_back_behind_the_one_before(database: None) -> None:
    last = reconciliation.run()

    assert reconciliation.window(timedelta(hours=2)) == last.at - timedelta(hours=2)


def test_what_was_found_is_found_again_until_it_is_gone(trade: Trade) -> None:
    # Given a difference that came to pass before what a run looks back to
    db.execute("DELETE FROM commands WHERE id = %s", (trade.rejected.id,))
    db.execute("UPDATE orders SET updated_at = now() - interval '3 days'")
    first = reconciliation.run(reconciliation.window())
    assert [f.check for f in first.wrong] == ["origins"]

    # When runs follow that would not look so far by themselves
    for _ in range(2):
        again = reconciliation.run(reconciliation.window())
        assert [f.check for f in again.wrong] == ["origins"]

    # Then it is found until it is gone, and only then do they look less far
    db.execute("DELETE FROM orders WHERE id = %s", (trade.rejected.id,))
    gone = reconciliation.run(reconciliation.window())
    assert gone.differences == 0
    assert reconciliation.window() == gone.at - reconciliation.LOOK_BACK


def test_a_window_that_found_something_does_not_move_on(database: None) -> None:
    stocked("A", 5)
    db.execute("UPDATE stock SET on_hand = 6")
    since = reconciliation.run().at - timedelta(days=30)
    reconciliation.run(since)

    assert reconciliation.window() == since


# --- holdfast reconcile ---


def holdfast(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "holdfast", "reconcile", *arguments],
        cwd=CHECKOUT, env={**os.environ, **environment}, capture_output=True, text=True,
        timeout=60, check=False,
    )  # fmt: skip


def test_the_command_says_that_the_books_agree(database: None) -> None:
    stocked("A", 5)

    ran = holdfast("--all")

    assert (ran.returncode, ran.stderr) == (0, "")
    assert "The books agree: all stock, and what was decided ever, in " in ran.stdout
    assert all(check.holds in ran.stdout for check in CHECKS)
    assert reconciliation.latest() is not None


def test_the_command_explains_what_differs_and_changes_nothing(database: None) -> None:
    stocked("A", 5)
    first = reconciliation.run()
    db.execute("UPDATE stock SET on_hand = 6")

    ran = holdfast("--since", "12h")

    assert (ran.returncode, ran.stderr) == (1, "")
    since = first.at - timedelta(hours=12)
    assert f"1 difference: all stock, and what was decided since {since:%Y-%m-%d %H:%M:%S}" in (
        ran.stdout
    )
    assert (
        "1 difference between stock and its movements\n  SKU A at main: stock says 6 on hand"
        in (ran.stdout)
    )
    assert stock_of("A") == (6, 0)


def test_the_command_gives_programs_a_document(database: None) -> None:
    stocked("A", 5)
    db.execute("UPDATE stock SET on_hand = 6")

    ran = holdfast("--json")

    document = json.loads(ran.stdout)
    assert (ran.returncode, document["differences"], document["since"]) == (1, 1, None)
    assert [check["check"] for check in document["checks"]] == [check.name for check in CHECKS]
    assert document["checks"][0]["examples"][0]["about"] == "sku:A"


@pytest.mark.parametrize(
    ("arguments", "environment", "text"),
    [
        ((), {"DATABASE_URL": "postgresql://h:h@127.0.0.1:1/h"}, "database error:"),
        ((), {"DATABASE_URL": ""}, "DATABASE_URL is missing"),
        (("--since", "soon"), {}, "soon is no duration such as 30m, 12h or 2d"),
        (("--since", "1d", "--all"), {}, "not allowed with"),
    ],
)
def test_where_the_books_can_not_be_checked_the_exit_code_says_so(
    migrated: None, arguments: tuple[str, ...], environment: dict[str, str], text: str
) -> None:
    ran = holdfast(*arguments, **environment)

    assert (ran.returncode, ran.stdout) == (2, "")
    assert text in ran.stderr


def test_a_large_ledger_is_read_by_several_processes(database: None) -> None:
    with suppress(RolledBack), db.transaction():
        # Into files of its own, which go with the transaction.
        db.execute("TRUNCATE stock_movements")
        db.execute(
            "INSERT INTO stock_movements (at, sku, location, on_hand_delta, allocated_delta,"
            " reason, command_id) SELECT now(), 'SKU-' || n %% 100, 'main', 1, 0, 'received',"
            " gen_random_uuid() FROM generate_series(1, %s) AS n",
            (150_000,),
        )
        db.execute("ANALYZE stock_movements")
        find = reconciliation.FIND.format(statement=checks.STOCK)
        plan = "\n".join(line for (line,) in db.fetch(f"EXPLAIN {find}", (20,)))
        raise RolledBack

    assert "Workers Planned" in plan
