"""Moves that come before their order is decided: none is lost, and none overtakes another."""

import os
from collections.abc import Callable, Iterator
from datetime import timedelta
from threading import Barrier, Thread
from typing import Any

import pytest

from actors import dead_letters as letters
from actors import placing, transitions, waiting_moves
from actors.commands import MoveOrder, Origin, PlaceOrder
from actors.moves import move_orders
from actors.placing import place_orders
from models import database as db
from models.queries import inbox, orders, reconciliation
from models.queries import waiting_moves as queries
from tests.conftest import eventually
from tests.integration.workshop import (
    Workshop,
    apply,
    assert_books_agree,
    dead_letters,
    for_actor,
    move,
    new_id,
    order,
    orders_now,
    outcomes,
    put_back,
    rows,
    stock_of,
    stocked,
)

#: Races are tried so often.
ROUNDS = int(os.environ.get("ROUNDS", "100"))
CHAIN = ("shipped", "delivered", "returned")


class KilledError(BaseException):
    """The process ends here."""


@pytest.fixture
def placed(database: None) -> PlaceOrder:
    """An order that is not decided, and for which there is stock."""
    stocked("A", 5)
    return order(("A", 2))


@pytest.fixture
def killed(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Call an actor that dies when it calls a function of a module."""

    def kill(owner: Any, name: str, actor: Any, *commands: Any) -> None:
        def die(*_: Any, **__: Any) -> None:
            raise KilledError

        with monkeypatch.context() as patch:
            patch.setattr(owner, name, die)
            with pytest.raises(KilledError):
                apply(actor, *commands)
        db.discard_connection()

    yield kill


def chain(order_id: str, *to: str) -> list[MoveOrder]:
    return [move(order_id, each) for each in to or CHAIN]


def waiting() -> list[str]:
    """The commands that wait, in order."""
    return [id_ for (id_,) in rows("SELECT command_id::text FROM waiting_moves ORDER BY position")]


def events_of(order_id: str) -> list[str]:
    found = rows("SELECT type FROM order_events WHERE order_id = %s ORDER BY sequence", order_id)
    return [type_.removeprefix("order.") for (type_,) in found]


def problem_of(command: MoveOrder) -> dict[str, Any]:
    ((problem,),) = rows("SELECT problem FROM commands WHERE id = %s", command.id)
    assert isinstance(problem, dict)
    return problem


def elsewhere(work: Callable[[], None]) -> None:
    """Do something in another process, as it were: on another connection, and to its end."""

    def run() -> None:
        try:
            work()
        finally:
            db.discard_connection()

    thread = Thread(target=run)
    thread.start()
    thread.join(60)
    assert not thread.is_alive()


def differences() -> dict[str, int]:
    return {each.check: each.differences for each in reconciliation.look() if each.differences}


# --- they wait, and are applied ---


def test_moves_wait_with_their_order_and_are_applied_in_order_when_it_is_decided(
    placed: PlaceOrder,
) -> None:
    asked = chain(placed.id)
    apply(move_orders, *asked[:2])
    apply(move_orders, asked[2])
    assert waiting() == [each.id for each in asked]
    assert outcomes(asked) == [None] * 3

    apply(place_orders, placed)

    assert outcomes(asked) == ["applied"] * 3
    assert events_of(placed.id) == ["confirmed", *CHAIN]
    assert waiting() == []
    assert stock_of("A") == (5, 0)
    assert_books_agree()
    assert differences() == {}


def test_what_waits_is_applied_as_it_was_asked_for(placed: PlaceOrder) -> None:
    # Given moves with versions, one of them stale, a return that restocks nothing, and a person
    ada = Origin("key-1", "Ada", "192.0.2.1", "a browser")
    shipped = move(placed.id, "shipped", if_version=1, origin=ada)
    stale = move(placed.id, "delivered", if_version=1)
    returned = move(placed.id, "returned", if_version=(2, 3), restock=False)
    apply(move_orders, shipped, stale, returned)

    apply(place_orders, placed)

    assert outcomes([shipped, stale, returned]) == ["applied", "rejected", "applied"]
    assert problem_of(stale)["type"] == "/problems/precondition-failed"
    assert stock_of("A") == (3, 0)
    assert rows("SELECT command_id::text, key_name FROM audit_log") == [(shipped.id, "Ada")]


def test_a_cancellation_sent_at_once_releases_what_its_order_takes(placed: PlaceOrder) -> None:
    apply(move_orders, move(placed.id, "cancelled"))
    apply(place_orders, placed)

    assert orders_now([placed]) == ["cancelled"]
    assert stock_of("A") == (5, 0)


def test_a_move_of_an_order_that_is_refused_is_refused_with_it(database: None) -> None:
    stocked("A", 1)
    refused = order(("A", 2))
    asked = move(refused.id, "shipped")
    apply(move_orders, asked)

    apply(place_orders, refused)

    assert outcomes([refused, asked]) == ["rejected", "rejected"]
    assert problem_of(asked)["type"] == "/problems/illegal-transition"


def test_a_move_that_comes_again_has_one_effect_whether_it_waits_or_has_waited(
    placed: PlaceOrder,
) -> None:
    asked = chain(placed.id)
    apply(move_orders, *asked, asked[0])
    apply(move_orders, *asked)
    assert waiting() == [each.id for each in asked]

    apply(place_orders, placed)
    apply(move_orders, *asked)
    apply(place_orders, placed)

    assert events_of(placed.id) == ["confirmed", *CHAIN]
    assert outcomes(asked) == ["applied"] * 3
    assert waiting() == []
    assert_books_agree()


def test_moves_of_a_decided_order_wait_for_nothing_beside_others_that_do(
    placed: PlaceOrder,
) -> None:
    decided = order(("A", 1))
    apply(place_orders, decided)
    early, ready = move(placed.id, "shipped"), move(decided.id, "shipped")

    apply(move_orders, early, ready)

    assert outcomes([early, ready]) == [None, "applied"]
    assert waiting() == [early.id]


def test_a_move_overtakes_none_that_a_crash_left_behind(
    placed: PlaceOrder, killed: Callable[..., None]
) -> None:
    shipped, delivered = chain(placed.id, "shipped", "delivered")
    apply(move_orders, shipped)
    killed(waiting_moves, "_apply_next", place_orders, placed)

    apply(move_orders, delivered)

    assert outcomes([shipped, delivered]) == ["applied", "applied"]


def test_many_moves_are_applied_in_order_and_a_few_at_a_time(
    placed: PlaceOrder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting_moves, "MOVES_MAX", 7)
    cancelled = [move(placed.id, "cancelled") for _ in range(30)]
    shipped = chain(placed.id, "shipped")
    apply(move_orders, *shipped, *cancelled)

    apply(place_orders, placed)

    assert outcomes([*shipped, *cancelled]) == ["applied"] + ["rejected"] * 30
    decided = rows("SELECT DISTINCT decided_at FROM commands WHERE kind = 'move_order'")
    assert len(decided) == 5
    assert waiting() == []


# --- kills ---


def test_a_lane_that_dies_before_it_commits_what_waits_has_done_nothing(
    placed: PlaceOrder, killed: Callable[..., None]
) -> None:
    asked = chain(placed.id)
    killed(transitions, "decide", move_orders, *asked)
    assert waiting() == []

    apply(place_orders, placed)
    apply(move_orders, *asked)

    assert events_of(placed.id) == ["confirmed", *CHAIN]


def test_a_lane_that_dies_before_it_looks_again_does_so_when_its_message_comes_again(
    placed: PlaceOrder, killed: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a lane that found an order undecided, which was decided then, and that died
    asked = chain(placed.id)
    _decided_before(queries, "add", placed, monkeypatch)
    killed(waiting_moves, "_apply_next", move_orders, *asked)
    assert waiting() == [each.id for each in asked]
    monkeypatch.undo()

    apply(move_orders, *asked)

    assert events_of(placed.id) == ["confirmed", *CHAIN]
    assert waiting() == []


def test_a_worker_that_dies_before_it_looks_for_moves_does_so_when_its_order_comes_again(
    placed: PlaceOrder, killed: Callable[..., None]
) -> None:
    asked = chain(placed.id)
    apply(move_orders, *asked)
    killed(waiting_moves, "_apply_next", place_orders, placed)
    assert orders_now([placed]) == ["confirmed"]

    apply(place_orders, placed)

    assert events_of(placed.id) == ["confirmed", *CHAIN]


def test_a_worker_that_dies_while_it_applies_moves_has_applied_none_of_them(
    placed: PlaceOrder, killed: Callable[..., None]
) -> None:
    asked = chain(placed.id)
    apply(move_orders, *asked)
    killed(inbox, "record_refusals", place_orders, placed)
    apply(place_orders, placed)

    assert events_of(placed.id) == ["confirmed", *CHAIN]
    assert_books_agree()


def test_what_a_crash_left_behind_is_found_and_the_clock_applies_it(
    placed: PlaceOrder, killed: Callable[..., None]
) -> None:
    asked = chain(placed.id)
    apply(move_orders, *asked)
    killed(waiting_moves, "_apply_next", place_orders, placed)
    waiting_moves.sweep()
    assert differences() == {}
    assert len(waiting()) == 3

    db.execute("UPDATE waiting_moves SET since = now() - interval '2 minutes'")
    db.execute("UPDATE commands SET decided_at = now() - interval '61 s'")
    assert differences() == {"waiting_moves": 3}
    waiting_moves.sweep()

    assert events_of(placed.id) == ["confirmed", *CHAIN]
    assert waiting() == []


# --- races ---


def _decided_before(
    owner: Any, name: str, placed: PlaceOrder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Have another worker decide an order, to the end, before a function is called."""
    function = getattr(owner, name)

    def after_it_is_decided(*given: Any) -> Any:
        monkeypatch.setattr(owner, name, function)
        elsewhere(lambda: apply(place_orders, placed))
        return function(*given)

    monkeypatch.setattr(owner, name, after_it_is_decided)


def test_an_order_that_is_decided_while_its_move_begins_to_wait_takes_it(
    placed: PlaceOrder, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = chain(placed.id)
    _decided_before(queries, "add", placed, monkeypatch)

    apply(move_orders, *asked)

    assert events_of(placed.id) == ["confirmed", *CHAIN]
    assert waiting() == []


def test_a_move_that_begins_to_wait_while_its_order_is_decided_is_taken(
    placed: PlaceOrder, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = chain(placed.id)
    insertions = orders.insertions

    def after_the_moves_came(*given: Any) -> Any:
        elsewhere(lambda: apply(move_orders, *asked))
        assert outcomes(asked) == [None] * 3
        return insertions(*given)

    monkeypatch.setattr(orders, "insertions", after_the_moves_came)

    apply(place_orders, placed)

    assert events_of(placed.id) == ["confirmed", *CHAIN]
    assert waiting() == []


def test_however_an_order_and_its_moves_meet_all_take_effect_in_order(database: None) -> None:
    stocked("A", 5 * ROUNDS)
    rounds = [order(("A", 1)) for _ in range(ROUNDS)]
    asked = [chain(each.id) for each in rounds]
    together = Barrier(3)

    def each_round(work: Callable[[int], None]) -> Thread:
        def run() -> None:
            try:
                for n in range(ROUNDS):
                    together.wait(60)
                    work(n)
            finally:
                db.discard_connection()

        thread = Thread(target=run)
        thread.start()
        return thread

    def lane(n: int) -> None:
        apply(move_orders, asked[n][0])
        apply(move_orders, *asked[n][1:])

    threads = [
        each_round(lane),
        # As when the first one lost its connection, but goes on.
        each_round(lane),
        each_round(lambda n: apply(place_orders, rounds[n])),
    ]
    for thread in threads:
        thread.join()

    assert {tuple(events_of(each.id)) for each in rounds} == {("confirmed", *CHAIN)}
    assert set(outcomes([each for few in asked for each in few])) == {"applied"}
    assert waiting() == []
    assert_books_agree()


# --- orders that fail ---


def test_a_move_of_an_order_that_fails_is_refused_once_that_is_on_record(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    stocked("A", 5)
    bad = order(("A", 1))
    asked = move(bad.id, "shipped")
    apply(move_orders, asked)

    def allocate(*_: Any) -> None:
        raise ValueError("a bug")

    monkeypatch.setattr(placing, "allocate", allocate)
    workshop.broker.enqueue(for_actor(place_orders, bad, retries=5))
    workshop.start(place_orders.queue_name)

    eventually(lambda: outcomes([asked]) == ["rejected"])
    assert problem_of(asked)["status_now"] == "failed"
    assert waiting() == []


def test_a_move_of_a_failed_order_that_is_put_back_waits_for_its_decision(
    workshop: Workshop,
) -> None:
    # Given a failure that an operator put back
    stocked("A", 5)
    failed = order(("A", 2))
    letters.record(for_actor(place_orders, failed), ValueError("a bug"), "")
    ((letter,),) = rows("SELECT id FROM dead_letters")
    assert put_back(letter) == "applied"

    asked = chain(failed.id)
    apply(move_orders, *asked)
    assert outcomes(asked) == [None] * 3
    apply(place_orders, failed)

    assert events_of(failed.id) == ["failed", "confirmed", *CHAIN]
    assert_books_agree()


def test_a_move_that_can_not_be_applied_is_a_dead_letter_and_stops_no_other(
    placed: PlaceOrder, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given three moves that wait, the second of which no worker can read
    shipped, bad, delivered = chain(placed.id, "shipped", "cancelled", "delivered")
    apply(move_orders, shipped, bad, delivered)
    db.execute(
        "UPDATE waiting_moves SET command = replace(command, 'cancelled', 'lost')"
        " WHERE command_id = %s", (bad.id,),
    )  # fmt: skip

    apply(place_orders, placed)

    assert outcomes([placed, shipped, bad, delivered]) == [
        "applied", "applied", "failed", "applied",
    ]  # fmt: skip
    ((queue, actor, error_class, *_),) = dead_letters()
    assert (queue, actor) == (move_orders.queue_name, "move_orders")
    assert error_class == "ValidationError"
    assert waiting() == []


# --- acceptance ---


def test_a_move_that_was_accepted_before_the_one_its_order_took_is_superseded(
    placed: PlaceOrder,
) -> None:
    late, shipped = chain(placed.id, "cancelled", "shipped")
    apply(place_orders, placed)
    apply(move_orders, shipped)

    apply(move_orders, late)

    assert outcomes([shipped, late]) == ["applied", "rejected"]
    problem = problem_of(late)
    assert problem["type"] == "/problems/superseded"
    assert problem["superseded_by"] == shipped.id
    assert orders_now([placed]) == ["shipped"]


def test_a_clock_that_is_ahead_refuses_no_move_of_other_clocks_for_long(
    placed: PlaceOrder,
) -> None:
    ahead = MoveOrder(new_id(), placed.at + timedelta(hours=1), placed.id, "shipped")
    apply(place_orders, placed)
    apply(move_orders, ahead)

    delivered = move(placed.id, "delivered")
    apply(move_orders, delivered)

    assert outcomes([ahead, delivered]) == ["applied", "applied"]


def test_moves_that_wait_for_weeks_are_applied_in_order_with_those_that_follow(
    placed: PlaceOrder,
) -> None:
    # Given a move whose time no inbox believes by now, and one that was just accepted
    shipped, delivered = chain(placed.id, "shipped", "delivered")
    apply(move_orders, shipped)
    weeks_ago = shipped.at - timedelta(days=25)
    db.execute("UPDATE waiting_moves SET accepted_at = %s", (weeks_ago,))
    db.execute(
        "UPDATE waiting_moves SET command = replace(command, %s, %s)",
        (f"{shipped.at:%Y-%m-%d}", f"{weeks_ago:%Y-%m-%d}"),
    )
    apply(move_orders, delivered)

    apply(place_orders, placed)

    assert outcomes([shipped, delivered]) == ["applied", "applied"]


# --- orders that never come ---


def test_a_move_waits_as_long_as_its_order_and_is_refused_when_none_came_for_a_month(
    database: None,
) -> None:
    lonely = move(new_id(), "shipped")
    apply(move_orders, lonely)
    db.execute("UPDATE waiting_moves SET since = now() - interval '29 days'")
    waiting_moves.sweep()
    assert outcomes([lonely]) == [None]

    db.execute("UPDATE waiting_moves SET since = now() - interval '31 days'")
    waiting_moves.sweep()

    assert outcomes([lonely]) == ["rejected"]
    assert problem_of(lonely)["type"] == "/problems/unknown-order"
    assert waiting() == []


def test_moves_that_wait_are_counted_and_listed(placed: PlaceOrder) -> None:
    asked = chain(placed.id)
    apply(move_orders, *asked)

    found = queries.figures()

    assert found.moves == 3
    assert [(each.command_id, each.moves_to) for each in found.first] == [
        (each.id, each.to) for each in asked
    ]
    assert queries.of_order(placed.id, 2) == list(found.first[:2])
