"""What operators do to failures: put back or discard one, some, all that match; once each."""

from datetime import timedelta
from typing import Any

import msgspec
import peewee
import pytest

from actors import dead_letters as letters
from actors import settled
from actors.commands import DiscardFailures, PauseQueue, RetryFailures
from actors.inventory import adjust_stock
from actors.moves import move_orders
from actors.operations import _begin, operate
from actors.placing import place_orders
from actors.settled import query_of
from actors.stats import recorder
from models import database as db
from models.queries import audit, failures, operations, reads
from models.queries.audit import AuditFilter
from models.queries.failures import FailureQuery
from tests.conftest import eventually
from tests.integration.workshop import (
    OPERATOR,
    Workshop,
    adjustment,
    apply,
    assert_books_agree,
    discard,
    failures_like,
    for_actor,
    message,
    move,
    now,
    operated,
    operation,
    order,
    orders_now,
    outcomes,
    put_back,
    rows,
    stock_of,
    stocked,
)
from tests.seeding import FAILED_ORDERS

LAST_TRY = {"retries": 5}


def fail(actor: Any, *commands: Any, error: Exception | None = None) -> int:
    """A failure on record; returns its id."""
    letters.record(for_actor(actor, *commands), error or ValueError("a bug"), "Traceback: a bug")
    ((newest,),) = rows("SELECT max(id) FROM dead_letters")
    return int(newest)


def states() -> list[str]:
    return [state for (state,) in rows("SELECT state FROM dead_letters ORDER BY id")]


# --- the record ---


def test_the_record_says_what_a_failure_is_about(workshop: Workshop) -> None:
    placed = order(("A", 1), ("B", 2), ("A", 3))

    found = failures.one(fail(place_orders, placed))

    assert found is not None
    assert found.summary.subjects == [
        f"command:{placed.id}", f"order:{placed.id}", "customer:c-1", "sku:A", "sku:B",
    ]  # fmt: skip
    assert found.summary.trace_id == placed.id.replace("-", "")
    assert found.command_ids == [placed.id]
    assert found.arguments["commands"][0]["lines"][1] == {"sku": "B", "quantity": 2}


def test_a_move_that_failed_is_found_by_its_order_and_the_trace_of_its_client(
    workshop: Workshop,
) -> None:
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    moved = move(order().id, "shipped", traceparent=f"00-{trace}-00f067aa0ba902b7-01")
    id_ = fail(move_orders, moved)

    (found,) = failures.page(FailureQuery(subject=f"order:{moved.order_id}"), None, 10)

    assert (found.id, found.trace_id) == (id_, trace)


def test_what_can_be_read_of_commands_that_break_the_contract_is_on_record(
    workshop: Workshop,
) -> None:
    odd = {**msgspec.to_builtins(order(("A", 1))), "customer_id": "x\0y", "lines": [
        {"sku": "B", "quantity": 0}, 7, {"sku": 5}, {"sku": "C" * 5_000}]}  # fmt: skip

    found = failures.one(fail(place_orders, odd, "no command", None))

    assert found is not None
    assert found.summary.subjects == [
        f"command:{odd['id']}", f"order:{odd['id']}", "customer:x\\0y", "sku:B",
    ]  # fmt: skip


def test_the_first_failure_is_known_through_retries_and_splits(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    def allocate(*_: Any) -> Any:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr("actors.placing.allocate", allocate)
    monkeypatch.setattr("actors.retries.RETRIES_MAX", 1)
    stocked("A", 5)
    workshop.broker.enqueue(for_actor(place_orders, order(("A", 1)), order(("A", 1))))
    workshop.start(place_orders.queue_name)

    eventually(lambda: len(states()) == 2)

    for first, last in rows("SELECT first_failed_at, failed_at FROM dead_letters"):
        assert timedelta(milliseconds=100) < last - first < timedelta(seconds=15)


def test_a_first_failure_from_the_future_is_taken_as_now(workshop: Workshop) -> None:
    letters.record(
        for_actor(place_orders, order(("A", 1)), first_failed_at=10**17), ValueError("x"), ""
    )

    assert rows("SELECT first_failed_at <= failed_at FROM dead_letters") == [(True,)]


# --- finding ---


def test_failures_are_found_by_each_of_their_traits(workshop: Workshop) -> None:
    first = fail(place_orders, order(("A", 1)), error=KeyError("frobnicator of doom"))
    second = fail(adjust_stock, adjustment("B", 5), error=ValueError("another"))
    ((at,),) = rows("SELECT failed_at FROM dead_letters WHERE id = %s", first)

    def like(**members: Any) -> list[int]:
        query = FailureQuery(**members)
        found = [row.id for row in failures.page(query, None, 10)]
        assert failures.count(query) == (len(found), max(found, default=0))
        return found

    assert like() == [second, first]
    assert like(ids=[first]) == like(up_to_id=first) == like(actor="place_orders") == [first]
    assert like(queue="holdfast.skus") == like(error_class="ValueError") == [second]
    assert like(subject="sku:A") == like(text="doom frobnicator") == [first]
    assert like(text='"frobnicator of"') == [first]
    assert like(text='"of frobnicator"') == like(subject="sku:C") == []
    assert like(failed_after=at) == [second]
    assert like(failed_before=at + timedelta(microseconds=1)) == [first]
    assert like(state="discarded") == []
    assert like(state=None) == [second, first]


@pytest.mark.parametrize("text", ["-boom", "boom or -other", '-"a phrase"', "!!", ""])
def test_words_of_which_none_has_to_be_there_find_nothing_and_read_nothing(
    workshop: Workshop, text: str
) -> None:
    fail(place_orders, order(("A", 1)))
    query = FailureQuery(text=text)

    assert not failures.can_be_found(text)
    assert (failures.count(query), failures.groups(query)) == ((0, 0), [])
    assert operated(RetryFailures(failures_like(text=text or "-x"))) == "rejected"
    where, params = failures.conditions(query)
    plan = rows(f"EXPLAIN SELECT 1 FROM dead_letters WHERE {where}", *params)
    assert "dead_letters" not in str(plan)


@pytest.mark.parametrize("text", ["bug", "bug -boom", "boom or bug", '"a bug"', "-boom bug"])
def test_words_that_have_to_be_there_find_what_has_them(workshop: Workshop, text: str) -> None:
    fail(place_orders, order(("A", 1)))

    assert failures.can_be_found(text)
    assert failures.count(FailureQuery(text=text))[0] == 1


def test_failures_are_grouped_with_their_trend(workshop: Workshop) -> None:
    for _ in range(3):
        fail(place_orders, order(("A", 1)), error=KeyError("k"))
    newest = fail(adjust_stock, adjustment("B", 5), error=ValueError("v"))
    db.execute(
        "UPDATE dead_letters SET failed_at = failed_at - interval '2 hours' WHERE id = "
        "(SELECT min(id) FROM dead_letters)"
    )

    large, small = failures.groups(FailureQuery(), trend_hours=4)

    assert (large.actor, large.error_class, large.count) == ("place_orders", "KeyError", 3)
    assert large.trend == [0, 1, 0, 2]
    assert large.first_at < large.last_at
    assert (small.newest_id, small.example, small.trend) == (newest, "v", [0, 0, 0, 1])


def test_pages_follow_each_other_without_gaps(workshop: Workshop) -> None:
    ids = [fail(place_orders, order(("A", 1))) for _ in range(5)]

    seen: list[int] = []
    after = None
    while batch := failures.page(FailureQuery(), after, 2):
        seen += [row.id for row in batch]
        after = (batch[-1].failed_at, batch[-1].id)

    assert seen == ids[::-1]


# --- putting back ---


def test_all_that_matches_is_put_back_in_batches_and_decided_once(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    # In one go, however busy the machine is.
    monkeypatch.setattr("actors.operations.SLICE_S", 30.0)
    stocked("A", 10_000)
    stocked("B", 10_000)
    db.execute(FAILED_ORDERS, ("A", 1_200))
    other = fail(adjust_stock, adjustment("B", 5))
    command = operation(RetryFailures(failures_like(actor="place_orders")))

    apply(operate, command)

    done = operations.one(command.id)
    assert done is not None
    assert (done.total, done.done, done.skipped, done.status) == (1_200, 1_200, 0, "applied")
    assert done.finished_at is not None
    assert operations.running() == []
    # Batches, not a message each
    assert workshop.messages_in(f"{place_orders.queue_name}.DQ") == 3
    assert [row.id for row in failures.page(FailureQuery(), None, 10)] == [other]
    workshop.start(place_orders.queue_name)
    eventually(lambda: stock_of("A") == (10_000, 1_200))
    assert_books_agree()
    workshop.eventually_empty(place_orders.queue_name)


def test_what_was_put_back_and_fails_again_is_a_new_failure(workshop: Workshop) -> None:
    odd = {**msgspec.to_builtins(order(("A", 1))), "discount": 5}
    first = fail(place_orders, odd)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("actors.retries.RETRIES_MAX", 0)
        assert put_back(first) == "applied"
        workshop.start(place_orders.queue_name)
        eventually(lambda: states() == ["retried", "failed"])

    assert len(failures.for_commands([odd["id"]])) == 2
    (again,) = failures.page(FailureQuery(), None, 10)
    assert again.id > first
    assert again.first_failed_at >= failures.for_commands([odd["id"]])[0].failed_at


def test_a_redelivered_operation_is_done_once(workshop: Workshop) -> None:
    stocked("A", 10)
    fail(place_orders, order(("A", 1)))
    command = operation(RetryFailures(failures_like()))
    apply(operate, command)
    later = fail(place_orders, order(("A", 1)))

    apply(operate, command)

    assert [row.id for row in failures.page(FailureQuery(), None, 10)] == [later]
    assert workshop.messages_in(f"{place_orders.queue_name}.DQ") == 1


def test_an_operation_that_broke_in_the_middle_goes_on_where_it_was(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    stocked("A", 100)
    monkeypatch.setattr("actors.operations.STEP_FAILURES_MAX", 10)
    db.execute(FAILED_ORDERS, ("A", 45))
    command = operation(RetryFailures(failures_like()))
    advance, steps = operations.advance, []

    def breaks(*arguments: Any) -> None:
        steps.append(arguments)
        if len(steps) == 3:
            raise peewee.OperationalError("the connection is gone")
        advance(*arguments)

    monkeypatch.setattr("models.queries.operations.advance", breaks)
    with pytest.raises(peewee.OperationalError):
        apply(operate, command)
    half = operations.one(command.id)
    assert half is not None
    assert (half.total, half.done, half.status, half.finished_at) == (45, 20, "pending", None)
    assert [each.command_id for each in operations.running()] == [command.id]

    apply(operate, command)

    whole = operations.one(command.id)
    assert whole is not None
    assert (whole.done, whole.status) == (45, "applied")
    # The step that broke had published: what is there twice takes effect once.
    assert workshop.messages_in(f"{place_orders.queue_name}.DQ") == 6
    workshop.start(place_orders.queue_name)
    workshop.eventually_empty(place_orders.queue_name)
    assert stock_of("A") == (100, 45)
    assert_books_agree()


def many_at_once(workshop: Workshop, monkeypatch: pytest.MonkeyPatch, letters: int) -> list[Any]:
    """Eight retries of the same failures, in small steps, on a worker with a thread for each."""
    stocked("A", 10_000)
    monkeypatch.setattr("actors.operations.STEP_FAILURES_MAX", 10)
    db.execute(FAILED_ORDERS, ("A", letters))
    commands = [operation(RetryFailures(failures_like())) for _ in range(8)]
    for command in commands:
        workshop.broker.enqueue(for_actor(operate, command))
    workshop.start(operate.queue_name, threads=8)
    return commands


def test_operations_on_the_same_failures_at_once_share_them(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("actors.operations.SLICE_S", 0.1)
    monkeypatch.setattr("actors.operations.TAKEN_MS", 20)
    monkeypatch.setattr("actors.operations.GIVE_WAY_MS", 100)

    commands = many_at_once(workshop, monkeypatch, 400)

    # Who came too late found nothing to do, or nothing left.
    eventually(lambda: set(outcomes(commands)) <= {"applied", "rejected"})
    assert rows("SELECT sum(done) FROM operations") == [(400,)]
    ((shared,),) = rows("SELECT count(*) FROM operations WHERE done > 0")
    assert shared > 1
    assert states() == ["retried"] * 400
    workshop.start(place_orders.queue_name)
    workshop.eventually_empty(place_orders.queue_name, operate.queue_name)
    assert stock_of("A") == (10_000, 400)


def test_a_pause_does_not_wait_for_work_on_many_failures(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands = many_at_once(workshop, monkeypatch, 6_000)
    eventually(lambda: len(operations.running()) == len(commands))
    pause = operation(PauseQueue(place_orders.queue_name, "a test"))

    workshop.broker.enqueue(for_actor(operate, pause))

    eventually(lambda: outcomes([pause]) == ["applied"])
    assert len(operations.running()) == len(commands)
    # Enough seen: they find nothing more.
    db.execute("DELETE FROM dead_letters WHERE state = 'failed'")
    eventually(lambda: set(outcomes(commands)) == {"applied"})


def test_each_operation_is_counted_once(workshop: Workshop) -> None:
    recorder.take()
    command = operation(RetryFailures(failures_like()))
    apply(operate, command)
    stocked("A", 10)
    fail(place_orders, order(("A", 1)))
    done = operation(DiscardFailures(failures_like(), "noise"))
    for _ in range(3):
        apply(operate, done, command)

    (figures,) = [one for one in recorder.take() if one.actor == "operate"]

    assert (figures.decided, figures.refused) == (2, 1)


def test_an_operation_that_failed_runs_no_more(workshop: Workshop) -> None:
    command = operation(RetryFailures(failures_like()))
    fail(place_orders, order(("A", 1)))
    with pytest.MonkeyPatch.context() as patch, pytest.raises(ZeroDivisionError):
        patch.setattr("actors.operations.requeue.publish", lambda *_: 1 / 0)
        apply(operate, command)
    assert [one.command_id for one in operations.running()] == [command.id]

    fail(operate, command)

    assert operations.running() == []
    # Until it is put back.
    ((letter,),) = rows("SELECT max(id) FROM dead_letters")
    assert put_back(letter) == "applied"
    assert [one.command_id for one in operations.running()] == [command.id]


def test_what_can_not_be_read_is_skipped_and_counted(workshop: Workshop) -> None:
    stocked("A", 10)
    letters.record_malformed("holdfast.orders", b"not json", ValueError("no"))
    placed = order(("A", 1))
    fail(place_orders, placed)
    command = operation(RetryFailures(failures_like()))

    apply(operate, command)

    done = operations.one(command.id)
    assert done is not None
    assert (done.total, done.done, done.skipped, done.status) == (2, 1, 1, "applied")
    assert states() == ["failed", "retried"]


def test_commands_that_are_no_batch_go_back_alone(workshop: Workshop) -> None:
    stocked("A", 10)
    queue, placed = place_orders.queue_name, order(("A", 1))
    odd = message(queue, "place_orders")
    odd.kwargs["commands"] = msgspec.Raw(b'{"id": "x"}')
    letters.record(odd, ValueError("no"), "")
    fail(place_orders, placed)

    assert operated(RetryFailures(failures_like())) == "applied"

    assert workshop.messages_in(f"{queue}.DQ") == 2
    workshop.start(queue)
    eventually(lambda: orders_now([placed]) == ["confirmed"])


# --- discarding ---


def test_a_discarded_failure_is_settled_with_its_reason_and_its_command_stays_failed(
    workshop: Workshop,
) -> None:
    placed = order(("A", 1))
    id_ = fail(place_orders, placed)
    command = operation(DiscardFailures(failures_like(ids=[id_]), "a test order"))

    apply(operate, command)

    assert outcomes([command, placed]) == ["applied", "failed"]
    found = failures.one(id_)
    assert found is not None
    assert (found.summary.state, found.summary.discard_reason) == ("discarded", "a test order")
    assert found.summary.settled_by == command.id
    assert put_back(id_) == discard(id_) == "rejected"


def test_what_can_not_be_read_can_be_discarded(workshop: Workshop) -> None:
    letters.record_malformed("holdfast.orders", b"not json", ValueError("no"))

    assert operated(DiscardFailures(failures_like(), "noise")) == "applied"

    assert states() == ["discarded"]


def test_where_nothing_matches_the_refusal_says_so(workshop: Workshop) -> None:
    command = operation(RetryFailures(failures_like(actor="nobody")))

    apply(operate, command)

    (found,) = reads.commands_by_id([command.id])
    assert found is not None
    assert (found.kind, found.status) == ("operate", "rejected")
    assert found.problem is not None
    assert found.problem["type"] == "/problems/nothing-matches"
    assert operations.one(command.id) is None


def begun(command: Any) -> None:
    """An operation that has counted what it is about, and settled nothing yet."""
    with db.transaction():
        _begin(command, query_of(command.action.filter))


@pytest.mark.parametrize("chosen", [True, False], ids=["ticked", "all that matches"])
def test_an_operation_that_comes_too_late_says_what_became_of_each(
    workshop: Workshop, chosen: bool
) -> None:
    # Given a bulk discard of fifty failures, and somebody who retries them before its first step
    stocked("A", 100)
    db.execute(FAILED_ORDERS, ("A", 50))
    ids = [id_ for (id_,) in rows("SELECT id FROM dead_letters")]
    like = failures_like(ids=ids) if chosen else failures_like()
    loser = operation(DiscardFailures(like, "noise"))
    begun(loser)
    assert operated(RetryFailures(failures_like())) == "applied"

    # When it goes on
    apply(operate, loser)

    # Then it says so
    work = operations.one(loser.id)
    assert work is not None
    assert (work.total, work.done, work.skipped, work.status) == (50, 0, 0, "applied")
    assert settled.in_words(work) == (
        "applied to 0 of 50: 50 were retried by someone else meanwhile"
    )


def test_those_that_were_chosen_and_settled_before_are_accounted_for(workshop: Workshop) -> None:
    stocked("A", 100)
    db.execute(FAILED_ORDERS, ("A", 6))
    ids = [id_ for (id_,) in rows("SELECT id FROM dead_letters ORDER BY id")]
    put_back(*ids[:2])
    discard(ids[2])
    db.execute("DELETE FROM dead_letters WHERE id = %s", (ids[3],))
    command = operation(RetryFailures(failures_like(ids=ids)))

    apply(operate, command)

    work = operations.one(command.id)
    assert work is not None
    assert settled.in_words(work) == (
        "applied to 2 of 6: 2 were retried by someone else meanwhile, 1 was discarded by someone "
        "else meanwhile, 1 is no longer on record"
    )
    # And where nothing is left at all, the refusal says it
    late = operation(RetryFailures(failures_like(ids=ids[:3])))
    apply(operate, late)
    (found,) = reads.commands_by_id([late.id])
    assert found is not None
    assert found.problem is not None
    assert found.problem["detail"].endswith(
        "No open failure matches: 2 were retried by someone else meanwhile, "
        "1 was discarded by someone else meanwhile."
    )


# --- the audit log ---


def test_the_audit_log_says_who_did_what_with_what_result(workshop: Workshop) -> None:
    stocked("A", 5)
    adjusted = msgspec.structs.replace(adjustment("A", -9), origin=OPERATOR)
    anonymous = adjustment("A", 1)
    apply(adjust_stock, adjusted, anonymous)
    id_ = fail(place_orders, order(("A", 1)))
    discard(id_)

    newest, oldest = audit.page(AuditFilter(), None, 10)

    assert (oldest.entry.action, oldest.entry.target) == ("adjust_stock", "sku:A")
    assert oldest.entry.details == {"sku": "A", "delta": -9, "reason": "received"}
    assert (oldest.status, oldest.entry.key_name) == ("rejected", OPERATOR.name)
    assert (oldest.entry.address, oldest.entry.agent) == (OPERATOR.address, OPERATOR.agent)
    assert oldest.problem is not None
    assert (newest.entry.action, newest.entry.target) == ("discard_failures", f"failure:{id_}")
    assert newest.entry.details["reason"] == "of no use"
    assert newest.status == "applied"
    after = (newest.entry.at, newest.entry.command_id)
    assert audit.page(AuditFilter(), after, 10) == [oldest]
    assert audit.page(AuditFilter(target="sku:A", action="adjust_stock"), None, 10) == [oldest]
    assert audit.page(AuditFilter(key_id="key-1", before=now()), None, 1) == [newest]


def test_a_change_by_hand_that_failed_is_in_the_audit_log(workshop: Workshop) -> None:
    moved = move(order().id, "shipped", origin=OPERATOR)
    fail(move_orders, moved)

    (entry,) = audit.page(AuditFilter(), None, 10)

    assert (entry.entry.command_id, entry.entry.target) == (moved.id, f"order:{moved.order_id}")
    assert entry.status == "failed"
