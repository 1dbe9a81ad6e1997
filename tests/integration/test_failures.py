"""What can't be processed: it never holds up its neighbours, is never lost, and is on record."""

import logging
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from dramatiq.errors import ConnectionClosed

from actors import dead_letters as letters
from actors.envelope import EnvelopeEncoder, for_the_record
from actors.inventory import adjust_stock
from actors.moves import move_orders
from actors.placing import place_orders
from models import database as db
from models.queries import reads
from models.rules import allocation
from tests.conftest import eventually, signer
from tests.integration.workshop import (
    Workshop,
    adjustment,
    apply,
    assert_books_agree,
    dead_letters,
    declare,
    for_actor,
    message,
    move,
    new_id,
    new_queue,
    now,
    order,
    orders_now,
    outcomes,
    put_back,
    rows,
    stock_of,
    stocked,
)
from tests.unit.test_envelope import FORGED, MALFORMED, UNKNOWN

#: A message with so many retries behind it is given up at its next failure.
LAST_TRY = {"retries": 5}
CURSED = "cursed"


@pytest.fixture
def curse(workshop: Workshop) -> Iterator[None]:
    """A bug's stand-in: PostgreSQL takes no order of one customer, neither decided nor failed."""
    db.execute(f"ALTER TABLE orders ADD CONSTRAINT curse CHECK (customer_id <> '{CURSED}')")
    yield
    workshop.stop_workers()
    db.execute("ALTER TABLE orders DROP CONSTRAINT curse")


def letter_ids() -> list[int]:
    return [id_ for (id_,) in rows("SELECT id FROM dead_letters ORDER BY id")]


# --- trap 7: malformed messages ---


def test_malformed_messages_are_on_record_and_their_neighbours_are_processed(
    workshop: Workshop,
) -> None:
    # Given every kind of malformed message between good ones
    stocked("A", 100)
    queue = place_orders.queue_name
    good = [order(("A", 1)) for _ in range(3)]
    first, second, third = (for_actor(place_orders, each).encode() for each in good)
    workshop.publish(queue, first, *MALFORMED.values(), second, *MALFORMED.values(), third)

    # When a worker comes to them
    worker = workshop.start(queue)

    # Then the good ones are decided, the bad ones on record with all that they were
    eventually(lambda: orders_now(good) == ["confirmed"] * 3)
    eventually(lambda: len(dead_letters()) == 2 * len(MALFORMED))
    bodies = {bytes(body) for (body,) in rows("SELECT body FROM dead_letters")}
    assert bodies == set(MALFORMED.values())
    # and the queue is empty, and the worker well
    workshop.eventually_empty(queue)
    assert all(thread.is_alive() for thread in [*worker.workers, *worker.consumers.values()])


def test_the_record_of_a_malformed_message_says_what_is_wrong_with_it(workshop: Workshop) -> None:
    queue = place_orders.queue_name
    workshop.publish(queue, MALFORMED["options null"])
    workshop.start(queue)

    ((where, actor, _, error, _),) = eventually(dead_letters)

    assert (where, actor) == (queue, "")
    assert "Expected `object`, got `null` - at `$.options`" in error


def test_what_is_not_signed_by_us_is_on_record_with_the_reason_and_changes_nothing(
    workshop: Workshop,
) -> None:
    # Given good orders as anyone could write them who can publish, between two of ours
    stocked("A", 9)
    queue = place_orders.queue_name
    ours, others = [order(("A", 1)) for _ in range(2)], [order(("A", 1)) for _ in FORGED]
    signed = [for_actor(place_orders, each).encode() for each in ours]
    contents = [for_the_record(for_actor(place_orders, each)) for each in others]
    forged = [UNKNOWN.sign(contents[0]), *contents[1:]]
    workshop.publish(queue, signed[0], *forged, signed[1])

    workshop.start(queue)

    eventually(lambda: orders_now(ours) == ["confirmed"] * 2)
    letters = eventually(lambda: (all_ := dead_letters()) and len(all_) == len(forged) and all_)
    assert {(actor, error_class) for _, actor, error_class, _, _ in letters} == {
        ("", "SignatureError")
    }
    assert sorted({error for *_, error, _ in letters}) == [
        "no signature", "signed with the unknown key id 'gone'",
    ]  # fmt: skip
    workshop.eventually_empty(queue)
    assert (outcomes(others), stock_of("A")) == ([None] * len(others), (9, 2))
    # and they can't be put back, now or later
    put_back(*letter_ids())
    assert rows("SELECT DISTINCT state FROM dead_letters") == [("failed",)]


def test_a_failure_is_put_back_after_its_key_was_rotated_away(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a failure whose message another key had signed, one that is gone since
    stocked("A", 9)
    bug = order(("A", 1))
    failed = for_actor(place_orders, bug)
    letters.record(failed, ValueError("a bug"), "")
    gone = EnvelopeEncoder(UNKNOWN)
    unread = for_actor(place_orders, order(("A", 1)))
    with monkeypatch.context() as patch:
        patch.setattr("dramatiq.message.global_encoder", gone)
        letters.record(for_actor(place_orders, late := order(("A", 1))), ValueError("a bug"), "")
        body = unread.encode()
    # and one that came when the key was gone
    letters.record_malformed(place_orders.queue_name, body, ValueError("unknown key"))

    put_back(*letter_ids())

    # Then what was verified when it came goes out again, the other one does not
    workshop.start(place_orders.queue_name)
    eventually(lambda: orders_now([bug, late]) == ["confirmed"] * 2)
    assert rows("SELECT state FROM dead_letters ORDER BY id") == [
        ("retried",), ("retried",), ("failed",),
    ]  # fmt: skip


def test_a_message_with_the_name_of_another_queue_is_on_record(workshop: Workshop) -> None:
    stocked("A", 1)
    astray = message(move_orders.queue_name, "place_orders", order(("A", 1)))
    workshop.publish(place_orders.queue_name, astray.encode())
    workshop.start(place_orders.queue_name)

    ((queue, _, _, error, _),) = eventually(dead_letters)

    assert queue == place_orders.queue_name
    assert move_orders.queue_name in error
    workshop.eventually_empty(place_orders.queue_name)


def test_a_message_for_an_actor_that_is_not_there_is_on_record(workshop: Workshop) -> None:
    stocked("A", 1)
    queue, good = place_orders.queue_name, order(("A", 1))
    workshop.publish(
        queue, message(queue, "no_such_actor", {}).encode(), for_actor(place_orders, good).encode()
    )
    workshop.start(queue)

    ((_, actor, error_class, _, _),) = eventually(dead_letters)

    assert (actor, error_class) == ("no_such_actor", "ActorNotFound")
    eventually(lambda: orders_now([good]) == ["confirmed"])
    workshop.eventually_empty(queue)


def test_malformed_messages_stay_while_they_can_not_be_recorded(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[str] = []

    def unwritable(*_: Any) -> None:
        tried.append("tried")
        raise OSError("no database")

    queue = place_orders.queue_name
    workshop.publish(queue, b"not json")
    with monkeypatch.context() as patch:
        patch.setattr("actors.consumer.dead_letters.record_malformed", unwritable)
        workshop.start(queue)
        eventually(lambda: len(tried) >= 2)

    eventually(lambda: len(dead_letters()) == 1)
    workshop.eventually_empty(queue)


NOT_COMMANDS = {
    "no list": {"id": "x"},
    "null": None,
    "text": "commands",
    "a list of anything": ["x"],
    "unknown members": [{**msgspec.to_builtins(order(("A", 1))), "discount": 100}],
    "a quantity of nothing": [
        {**msgspec.to_builtins(order(("A", 1))), "lines": [{"sku": "A", "quantity": 0}]}
    ],
    "NUL": [{**msgspec.to_builtins(order(("A", 1))), "customer_id": "a\0b"}],
    "an id that is none": [{**msgspec.to_builtins(order(("A", 1))), "id": "1; DROP TABLE orders"}],
}


@pytest.mark.parametrize("name", NOT_COMMANDS)
def test_what_breaks_the_contract_becomes_a_dead_letter_and_changes_nothing(
    workshop: Workshop, name: str
) -> None:
    stocked("A", 9)
    queue = place_orders.queue_name
    bad = message(queue, "place_orders", options=LAST_TRY)
    bad.kwargs["commands"] = msgspec.Raw(msgspec.json.encode(NOT_COMMANDS[name]))
    workshop.broker.enqueue(bad)
    workshop.start(queue)

    ((_, actor, _, _, traceback),) = eventually(dead_letters)

    assert actor == "place_orders"
    assert "Traceback" in traceback
    assert stock_of("A") == (9, 0)
    workshop.eventually_empty(queue)


def test_commands_nested_so_deeply_that_a_thread_can_not_read_them_become_a_dead_letter(
    workshop: Workshop,
) -> None:
    queue = place_orders.queue_name
    bodies = []
    for levels in (200, *range(930, 1_000, 3), 1_500):
        # Some of these a consumer's thread can read, and a worker's, deeper in its stack, can't.
        nested = {"id": new_id(), "at": now(), "extra": "HERE"}
        content = for_the_record(message(queue, "place_orders", nested, options=LAST_TRY))
        deep = content.replace(b'"HERE"', b"[" * levels + b"]" * levels)
        bodies.append(signer.sign(deep))
    workshop.publish(queue, *bodies)

    workshop.start(queue)

    eventually(lambda: len(dead_letters()) == len(bodies))
    workshop.eventually_empty(queue)


# --- bugs ---


def test_one_bad_command_of_a_batch_does_not_hold_up_its_neighbours(
    workshop: Workshop, curse: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a batch with an order that PostgreSQL will not store
    stocked("A", 100)
    good = [order(("A", 1)) for _ in range(4)]
    bad = msgspec.structs.replace(order(("A", 1)), customer_id=CURSED)
    monkeypatch.setattr("actors.retries.RETRIES_MAX", 1)
    workshop.broker.enqueue(for_actor(place_orders, *good[:2], bad, *good[2:]))

    # When a worker comes to it
    workshop.start(place_orders.queue_name)

    # Then its neighbours are decided
    eventually(lambda: orders_now(good) == ["confirmed"] * 4)
    # and it is a dead letter with its cause, and its outcome says so
    ((queue, actor, error_class, error, traceback),) = eventually(dead_letters)
    assert (queue, actor, error_class) == ("holdfast.orders", "place_orders", "IntegrityError")
    assert "violates check constraint" in error
    assert "Traceback (most recent call last)" in traceback
    assert "actors/placing.py" in traceback
    assert outcomes([bad]) == ["failed"]
    # and nothing of it took effect, and a move of it waits for nothing
    late = move(bad.id, "shipped")
    apply(move_orders, late)
    assert outcomes([late]) == ["rejected"]
    assert stock_of("A") == (100, 4)
    assert_books_agree()
    workshop.eventually_empty(place_orders.queue_name)


def test_an_order_that_failed_is_shown_as_failed_with_what_was_asked_for(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    stocked("A", 5)
    bad = order(("A", 2))
    with_bug(monkeypatch)
    workshop.broker.enqueue(for_actor(place_orders, bad, **LAST_TRY))
    workshop.start(place_orders.queue_name)

    eventually(dead_letters)

    (found,) = reads.orders_by_id([bad.id])
    assert found is not None
    assert found.outcome == "failed"
    assert found.order is not None
    assert (found.order.status, found.order.version) == ("failed", 1)
    assert [(line.sku, line.quantity) for line in found.order.lines] == [("A", 2)]
    assert [type_ for _, type_, _, _ in reads.events(bad.id)] == ["order.failed"]
    assert stock_of("A") == (5, 0)


def test_a_bug_is_tried_again_before_it_is_given_up(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    stocked("A", 5)
    passing = order(("A", 2))
    attempts = with_bug(monkeypatch, times=2)
    workshop.broker.enqueue(for_actor(place_orders, passing))
    workshop.start(place_orders.queue_name)

    eventually(lambda: orders_now([passing]) == ["confirmed"])

    assert len(attempts) == 3
    assert dead_letters() == []


def test_faults_that_passed_leave_a_bug_its_retries(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    stocked("A", 5)
    placed = order(("A", 2))
    with_bug(monkeypatch, times=1)
    workshop.broker.enqueue(for_actor(place_orders, placed, retries=50, passing=True))
    workshop.start(place_orders.queue_name)

    eventually(lambda: orders_now([placed]) == ["confirmed"])
    assert dead_letters() == []


def with_bug(monkeypatch: pytest.MonkeyPatch, times: int = 1_000) -> list[str]:
    """A bug in the rule, for so many calls; returns what notes the calls."""
    calls: list[str] = []
    right = allocation.allocate

    def allocate(*arguments: Any) -> Any:
        calls.append("call")
        if len(calls) <= times:
            raise ZeroDivisionError("a bug")
        return right(*arguments)

    monkeypatch.setattr("actors.placing.allocate", allocate)
    return calls


def test_an_error_of_any_text_can_be_recorded(
    workshop: Workshop, caplog: pytest.LogCaptureFixture
) -> None:
    # What the log quotes can't be sent from one of the tests' processes to the other.
    caplog.set_level(logging.CRITICAL + 1)

    def odd(commands: msgspec.Raw) -> None:
        raise ValueError("NUL \0, a lone surrogate \udc80, and much " + "x" * 10_000)

    actor = declare(workshop.broker, odd, new_queue())
    workshop.broker.enqueue(for_actor(actor, "a", **LAST_TRY))
    workshop.start(actor.queue_name)

    ((_, _, error_class, error, _),) = eventually(dead_letters)

    assert error_class == "ValueError"
    assert "much xxx" in error
    workshop.eventually_empty(actor.queue_name)


def test_a_command_that_was_decided_after_all_keeps_its_outcome(workshop: Workshop) -> None:
    stocked("A", 5)
    placed = order(("A", 1))
    apply(place_orders, placed)
    duplicate = for_actor(place_orders, placed)

    letters.record(duplicate, ValueError("late"), "Traceback")

    assert outcomes([placed]) == ["applied"]
    assert orders_now([placed]) == ["confirmed"]


@pytest.mark.parametrize("threads", [1, 4])
def test_copies_of_a_message_that_fails_are_one_failure(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch, threads: int
) -> None:
    # Given a message as it is there after publishes that RabbitMQ took, and did not confirm
    stocked("A", 5)
    bad = order(("A", 1))
    copy = for_actor(place_orders, bad, **LAST_TRY).encode()
    workshop.publish(place_orders.queue_name, *[copy] * 6)
    with monkeypatch.context() as patch:
        with_bug(patch)
        workshop.start(place_orders.queue_name, threads=threads)
        workshop.eventually_empty(place_orders.queue_name)

    # Then it is one failure, with the attempts of all
    assert outcomes([bad]) == ["failed"]
    ((letter, attempts),) = rows("SELECT id, attempts FROM dead_letters")
    assert attempts >= 6 * LAST_TRY["retries"]
    # and put back it is decided
    assert put_back(letter) == "applied"
    eventually(lambda: orders_now([bad]) == ["confirmed"])


def test_what_fails_again_after_it_was_put_back_is_another_failure(workshop: Workshop) -> None:
    stocked("A", 5)
    failed = for_actor(place_orders, order(("A", 1)))
    letters.record(failed, ValueError("a bug"), "")
    put_back(*letter_ids())

    letters.record(failed, ValueError("a bug"), "")

    assert rows("SELECT state FROM dead_letters ORDER BY id") == [("retried",), ("failed",)]


# --- putting back ---


def given_a_failed_order(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> Any:
    failed = order(("A", 2), ("A", 1))
    with monkeypatch.context() as patch:
        with_bug(patch)
        workshop.broker.enqueue(for_actor(place_orders, failed, **LAST_TRY))
        workshop.start(place_orders.queue_name)
        eventually(dead_letters)
    workshop.eventually_empty(place_orders.queue_name)
    return failed


def test_a_dead_letter_that_is_put_back_is_decided_and_its_timeline_goes_on(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    stocked("A", 5)
    failed = given_a_failed_order(workshop, monkeypatch)
    (letter,) = letter_ids()

    assert put_back(letter) == "applied"

    eventually(lambda: orders_now([failed]) == ["confirmed"])
    assert outcomes([failed]) == ["applied"]
    events = [(sequence, type_) for sequence, type_, _, _ in reads.events(failed.id)]
    assert events == [(1, "order.failed"), (2, "order.confirmed")]
    assert stock_of("A") == (5, 3)
    assert_books_agree()
    workshop.eventually_empty(place_orders.queue_name)


def test_a_dead_letter_is_put_back_once(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    stocked("A", 5)
    failed = given_a_failed_order(workshop, monkeypatch)
    (letter,) = letter_ids()
    put_back(letter)
    eventually(lambda: orders_now([failed]) == ["confirmed"])

    assert put_back(letter) == "rejected"

    assert orders_now([failed]) == ["confirmed"]
    assert stock_of("A") == (5, 3)


def test_while_it_waits_a_command_that_was_put_back_is_not_decided(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    stocked("A", 5)
    failed = given_a_failed_order(workshop, monkeypatch)
    workshop.stop_workers()
    (letter,) = letter_ids()

    put_back(letter)

    assert outcomes([failed]) == ["pending"]
    (found,) = reads.commands_by_id([failed.id])
    assert found is not None
    assert found.status == "pending"


def test_a_dead_letter_that_fails_again_is_a_second_one_and_can_be_put_back_too(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    stocked("A", 5)
    failed = given_a_failed_order(workshop, monkeypatch)
    (first,) = letter_ids()
    monkeypatch.setattr("actors.retries.RETRIES_MAX", 0)

    with monkeypatch.context() as patch:
        with_bug(patch)
        put_back(first)
        eventually(lambda: len(dead_letters()) == 2)
    assert outcomes([failed]) == ["failed"]
    put_back(letter_ids()[1])

    eventually(lambda: orders_now([failed]) == ["confirmed"])
    sequence = [number for number, *_ in reads.events(failed.id)]
    assert sequence == sorted(set(sequence))
    assert_books_agree()


def test_what_can_not_be_published_is_not_put_back(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    stocked("A", 5)
    failed = given_a_failed_order(workshop, monkeypatch)
    workshop.stop_workers()
    (letter,) = letter_ids()
    monkeypatch.setattr("dramatiq.brokers.rabbitmq.MAX_ENQUEUE_ATTEMPTS", 1)
    away = workshop.new_broker()
    away.parameters[0].port = 1

    with monkeypatch.context() as patch, pytest.raises(ConnectionClosed):
        patch.setattr("actors.operations.broker", away)
        put_back(letter)

    assert outcomes([failed]) == ["failed"]
    assert rows("SELECT state, settled_at FROM dead_letters") == [("failed", None)]
    assert put_back(letter) == "applied"
    assert outcomes([failed]) == ["pending"]


@pytest.mark.parametrize("kind", ["missing", "malformed"])
def test_there_is_nothing_to_put_back_of_a_letter_that_is_missing_or_was_malformed(
    workshop: Workshop, kind: str
) -> None:
    letter = 404
    if kind == "malformed":
        letters.record_malformed("holdfast.orders", b"not json", ValueError("no"))
        (letter,) = letter_ids()

    assert put_back(letter) == ("rejected" if kind == "missing" else "applied")

    assert rows("SELECT done, skipped FROM operations") == ([] if kind == "missing" else [(0, 1)])
    assert rows("SELECT state FROM dead_letters WHERE state <> 'failed'") == []


def test_what_a_worker_of_another_version_refused_is_put_back_and_decided(
    workshop: Workshop,
) -> None:
    stocked("A", 1)
    refused = order(("A", 1))
    body = for_actor(place_orders, refused, of_a_newer_one=1).encode()
    letters.record_malformed(place_orders.queue_name, body, ValueError("unknown option"))

    assert put_back(*letter_ids()) == "applied"

    workshop.start(place_orders.queue_name)
    eventually(lambda: orders_now([refused]) == ["confirmed"])
    assert rows("SELECT state FROM dead_letters") == [("retried",)]
    workshop.eventually_empty(place_orders.queue_name)


# --- order of arrival ---


def test_a_move_that_comes_before_its_order_is_decided_waits_and_then_applies(
    workshop: Workshop,
) -> None:
    # Given a shipment of an order that is not decided, beside one of an order that is
    stocked("A", 5)
    early, decided = order(("A", 2)), order(("A", 1))
    apply(place_orders, decided)
    waits, applies = move(early.id, "shipped"), move(decided.id, "shipped")
    workshop.broker.enqueue(for_actor(move_orders, waits, applies))
    workshop.start(move_orders.queue_name)
    eventually(lambda: outcomes([applies]) == ["applied"])
    assert outcomes([waits]) == [None]

    # When its order is decided
    apply(place_orders, early)

    # Then it is shipped
    eventually(lambda: orders_now([early, decided]) == ["shipped", "shipped"])
    assert outcomes([waits]) == ["applied"]
    assert stock_of("A") == (2, 0)
    assert_books_agree()
    workshop.eventually_empty(move_orders.queue_name)


# --- duplicates ---


def test_a_message_that_is_delivered_three_times_has_one_effect(workshop: Workshop) -> None:
    stocked("A", 100)
    placed = [order(("A", 2)) for _ in range(5)]
    received = adjustment("A", 7)
    shipped = [move(each.id, "shipped") for each in placed]
    sent = [
        for_actor(place_orders, *placed),
        for_actor(adjust_stock, received),
        for_actor(move_orders, *shipped),
    ]
    for each in sent * 3:
        workshop.broker.enqueue(each)
    queues = [each.queue_name for each in sent]
    workshop.start(*queues)
    workshop.start(*queues, broker=workshop.new_broker())

    eventually(lambda: orders_now(placed) == ["shipped"] * 5)
    workshop.eventually_empty(*queues)

    assert stock_of("A") == (100 + 7 - 10, 0)
    assert rows("SELECT count(*) FROM stock_movements") == [(1 + 5 + 1 + 5,)]
    assert rows("SELECT count(*) FROM order_events") == [(10,)]
    assert set(outcomes([*placed, received, *shipped])) == {"applied"}
    assert_books_agree()


def test_more_orders_than_stock_over_two_workers_never_oversell(workshop: Workshop) -> None:
    stocked("HOT", 50)
    placed = [order(("HOT", 1)) for _ in range(120)]
    for start in range(0, 120, 10):
        workshop.broker.enqueue(for_actor(place_orders, *placed[start : start + 10]))
    workshop.start(place_orders.queue_name)
    workshop.start(place_orders.queue_name, broker=workshop.new_broker())

    eventually(lambda: None not in outcomes(placed))

    assert orders_now(placed).count("confirmed") == 50
    assert orders_now(placed).count("rejected") == 70
    assert stock_of("HOT") == (50, 50)
    assert_books_agree()


def test_the_time_an_order_was_placed_is_when_it_was_accepted(workshop: Workshop) -> None:
    stocked("A", 1)
    accepted_at = now()
    placed = order(("A", 1), at=accepted_at)

    apply(place_orders, placed)

    assert rows("SELECT placed_at FROM orders WHERE id = %s", placed.id) == [(accepted_at,)]
