"""Attempts that never ended: what runs alone, what is given up, and what leaves no trace."""

from contextlib import suppress
from threading import Event, Lock, Thread
from typing import Any

import msgspec
import peewee
import pytest
from dramatiq.broker import MessageProxy

from actors.crashes import DEATHS_MAX, Crashes, NotAlone, SharedOrAlone
from actors.put_backs import put_backs
from actors.stats import Stats
from models import database as db
from models import housekeeping
from models.queries import attempts
from tests.conftest import eventually
from tests.integration.test_put_backs import refusing
from tests.integration.workshop import (
    Workshop,
    dead_letters,
    declare,
    for_actor,
    new_queue,
    rows,
)

ALL = "SELECT message_id, alone FROM attempts"


class Work:
    """An actor's function that notes what it ran, together with what; the first time it fails."""

    __name__ = "work"

    def __init__(self, *, failures: int = 0) -> None:
        self.ran: list[Any] = []
        self.noted: list[list[tuple[Any, ...]]] = []
        self.failures = failures
        self.at_once: dict[Any, int] = {}
        self._running = 0
        self._lock = Lock()

    def __call__(self, commands: msgspec.Raw) -> None:
        batch = msgspec.json.decode(commands)
        with self._lock:
            self._running += 1
            self.at_once[batch[0]] = self._running
        try:
            self.noted.append(rows(ALL))
            self.ran.append(batch)
            if len(self.ran) <= self.failures:
                raise peewee.OperationalError("the server closed the connection unexpectedly")
        finally:
            with self._lock:
                self._running -= 1


def died(message: Any, alone: int) -> None:
    """What the attempts of a message leave behind whose process died of each."""
    attempts.begin(message.message_id)
    for _ in range(alone):
        attempts.begin_alone(message.message_id)


def comes_again(workshop: Workshop, actor: Any, *messages: Any) -> None:
    """Put messages onto a queue, marked as what was delivered before."""
    workshop.publish(actor.queue_name, *(each.encode() for each in messages))
    with workshop.connect() as connection:
        channel = connection.channel()
        last = [channel.basic_get(actor.queue_name)[0].delivery_tag for _ in messages][-1]
        channel.basic_nack(last, multiple=True, requeue=True)


@pytest.fixture
def work() -> Work:
    return Work()


def test_what_came_for_the_first_time_is_not_noted(workshop: Workshop, work: Work) -> None:
    actor = declare(workshop.broker, work, new_queue())
    workshop.broker.enqueue(for_actor(actor, "a"))
    workshop.start(actor.queue_name)

    eventually(lambda: work.ran)

    assert work.noted == [[]]
    workshop.eventually_empty(actor.queue_name)


def test_what_comes_again_is_noted_for_as_long_as_it_runs(workshop: Workshop, work: Work) -> None:
    actor = declare(workshop.broker, work, new_queue())
    again = for_actor(actor, "a")
    comes_again(workshop, actor, again)
    workshop.start(actor.queue_name)

    workshop.eventually_empty(actor.queue_name)

    assert work.noted == [[(again.message_id, 0)]]
    assert rows(ALL) == []


def test_outages_leave_no_attempts_behind(workshop: Workshop) -> None:
    # Given a message that meets the database's absence more often than a deadly one may kill
    work = Work(failures=DEATHS_MAX + 3)
    actor = declare(workshop.broker, work, new_queue())
    workshop.broker.enqueue(for_actor(actor, "a"))

    workshop.start(actor.queue_name)

    eventually(lambda: len(work.ran) == work.failures + 1)
    workshop.eventually_empty(actor.queue_name)
    assert (rows(ALL), dead_letters()) == ([], [])
    assert all(alone == 0 for noted in work.noted for _, alone in noted)


def test_an_end_that_can_not_be_noted_is_noted_before_its_message_runs_again(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a database that goes away while a message runs, and is not back when it has ended
    work = Work(failures=2)
    actor = declare(workshop.broker, work, new_queue())
    comes_again(workshop, actor, for_actor(actor, "a"))
    end, tried = attempts.end, []

    def away_once(ids: Any) -> None:
        tried.append(ids)
        if len(tried) == 1:
            raise peewee.OperationalError("connection refused")
        end(ids)

    monkeypatch.setattr(attempts, "end", away_once)
    workshop.start(actor.queue_name)

    # Then it is no suspect
    workshop.eventually_empty(actor.queue_name)
    assert [alone for noted in work.noted for _, alone in noted] == [0, 0, 0]
    assert rows(ALL) == []


def test_an_end_that_can_not_be_noted_is_noted_soon_though_its_message_runs_elsewhere(
    workshop: Workshop, work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a message that ended while the database was away, and no other that comes again
    end, tried = attempts.end, []

    def away_once(ids: Any) -> None:
        tried.append(ids)
        if len(tried) == 1:
            raise peewee.OperationalError("connection refused")
        end(ids)

    monkeypatch.setattr(attempts, "end", away_once)
    actor = declare(workshop.broker, work, new_queue())
    comes_again(workshop, actor, for_actor(actor, "a"))
    workshop.start(actor.queue_name)

    workshop.eventually_empty(actor.queue_name)

    eventually(lambda: rows(ALL) == [])
    assert len(tried) == 2


def test_a_suspect_runs_alone(workshop: Workshop, work: Work) -> None:
    actor = declare(workshop.broker, work, new_queue())
    suspects = [for_actor(actor, f"suspect {n}") for n in range(4)]
    others = [for_actor(actor, f"other {n}") for n in range(20)]
    for one in suspects:
        died(one, alone=1)
    comes_again(workshop, actor, *others[:10], *suspects, *others[10:])

    workshop.start(actor.queue_name, threads=8)

    workshop.eventually_empty(actor.queue_name)
    assert len(work.ran) == 24
    assert [work.at_once[f"suspect {n}"] for n in range(4)] == [1] * 4
    assert rows(ALL) == []


def test_a_single_command_that_died_often_enough_is_given_up_without_another_try(
    workshop: Workshop, work: Work
) -> None:
    actor = declare(workshop.broker, work, new_queue())
    spared, given_up = for_actor(actor, "spared"), for_actor(actor, "given up")
    died(spared, alone=DEATHS_MAX - 1)
    died(given_up, alone=DEATHS_MAX)
    comes_again(workshop, actor, spared, given_up)

    workshop.start(actor.queue_name)

    ((_, _, error_class, error, _),) = eventually(dead_letters)
    workshop.eventually_empty(actor.queue_name)
    assert work.ran == [["spared"]]
    assert error_class == "WorkerDied"
    assert f"{DEATHS_MAX} times this message ran with nothing beside it" in error


def test_what_was_given_up_and_can_not_be_recorded_does_not_run_again(
    workshop: Workshop, work: Work
) -> None:
    put_backs.forgive()
    actor = declare(workshop.broker, work, new_queue())
    deadly = for_actor(actor, "deadly")
    died(deadly, alone=DEATHS_MAX)
    comes_again(workshop, actor, deadly)
    with refusing("dead_letters"):
        workshop.start(actor.queue_name)
        # By way of the delay queue it comes as if for the first time.
        eventually(lambda: work.ran or any(each.count > 2 for each in put_backs.longest()))
        assert work.ran == []

    ((_, _, error_class, _, _),) = eventually(dead_letters)
    workshop.eventually_empty(actor.queue_name)
    assert (error_class, work.ran) == ("WorkerDied", [])


def test_a_batch_that_died_once_is_split(workshop: Workshop, work: Work) -> None:
    actor = declare(workshop.broker, work, new_queue())
    batch = for_actor(actor, "a", "b", "c")
    died(batch, alone=1)
    comes_again(workshop, actor, batch)

    workshop.start(actor.queue_name)

    eventually(lambda: sorted(work.ran) == [["a"], ["b"], ["c"]])
    workshop.eventually_empty(actor.queue_name)
    assert dead_letters() == []


def test_without_its_table_messages_run_unwatched_and_it_is_said_once(
    workshop: Workshop,
    work: Work,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    # Given a database where nobody may note an attempt
    for name in ("BEGIN", "BEGIN_ALONE", "END"):
        monkeypatch.setattr(attempts, name, getattr(attempts, name).replace("attempts", "missing"))
    actor = declare(workshop.broker, work, new_queue())
    comes_again(workshop, actor, for_actor(actor, "a", "b"), for_actor(actor, "c"))

    workshop.start(actor.queue_name, threads=1)

    # Then a batch is not split, and nothing is tried again
    workshop.eventually_empty(actor.queue_name)
    assert (work.ran, dead_letters()) == ([["a", "b"], ["c"]], [])
    assert len([r for r in caplog.records if "not found out" in r.getMessage()]) == 1


def crashes_of(workshop: Workshop) -> Crashes:
    (found,) = (each for each in workshop.broker.middleware if isinstance(each, Crashes))
    return found


def test_beside_one_that_hangs_a_suspect_goes_back_uncounted_and_the_others_go_on(
    workshop: Workshop, work: Work
) -> None:
    # Given a thread that a message never leaves, and a suspect that waits for it
    hangs, leave = Event(), Event()

    def hang(commands: Any) -> None:
        hangs.set()
        leave.wait(60)

    crashes_of(workshop)._process._wait_s = 0.3
    hanging, actor = (declare(workshop.broker, run, new_queue()) for run in (hang, work))
    workshop.broker.enqueue(for_actor(hanging, "hangs"))
    workshop.start(hanging.queue_name)
    hangs.wait(60)
    suspect = for_actor(actor, "suspect")
    died(suspect, alone=1)
    comes_again(workshop, actor, suspect)
    try:
        workshop.start(actor.queue_name)
        eventually(lambda: crashes_of(workshop)._process._hung)

        # Then whatever comes later is done all the same
        for n in range(5):
            workshop.broker.enqueue(for_actor(actor, f"later {n}"))
        eventually(lambda: len(work.ran) == 5)
        assert ["suspect"] not in work.ran
        assert rows(ALL) == [(suspect.message_id, 1)]
    finally:
        leave.set()

    # And when it has ended, the suspect runs
    eventually(lambda: ["suspect"] in work.ran)
    workshop.eventually_empty(actor.queue_name)
    assert (rows(ALL), dead_letters()) == ([], [])


def test_a_worker_whose_message_hangs_is_stuck_whatever_waits_in_vain_to_be_alone(
    workshop: Workshop, work: Work
) -> None:
    stats = Stats()
    stats.running = {1: "hangs"}
    message: Any = MessageProxy(for_actor(declare(workshop.broker, work, new_queue()), "suspect"))

    stats.before_process_message(workshop.broker, message)
    stats.after_process_message(workshop.broker, message, exception=NotAlone(30))

    assert (stats.running, stats.finished) == ({1: "hangs"}, 0)


def test_housekeeping_forgets_attempts_after_a_day(database: None) -> None:
    attempts.begin("old")
    attempts.begin("new")
    db.execute("UPDATE attempts SET last_at = now() - interval '25 h' WHERE message_id = 'old'")

    housekeeping.run_once(partitions_ahead=1)

    assert rows(ALL) == [("new", 0)]


@pytest.fixture
def process() -> SharedOrAlone:
    return SharedOrAlone()


def test_who_waits_to_be_alone_goes_before_those_who_come_later(process: SharedOrAlone) -> None:
    order: list[str] = []
    entered, leave = Event(), Event()

    def first() -> None:
        with process.shared():
            entered.set()
            leave.wait(60)
            order.append("first")

    def alone() -> None:
        with process.alone():
            order.append("alone")

    def later() -> None:
        with process.shared():
            order.append("later")

    threads = [Thread(target=run) for run in (first, alone, later)]
    threads[0].start()
    entered.wait(60)
    threads[1].start()
    eventually(lambda: process._wanted_alone)
    threads[2].start()
    leave.set()
    for thread in threads:
        thread.join(60)

    assert order == ["first", "alone", "later"]


def test_who_is_not_alone_in_time_gives_up_and_lets_the_others_in() -> None:
    process = SharedOrAlone(wait_s=0.1)

    def in_vain() -> None:
        with pytest.raises(NotAlone), process.alone():
            pytest.fail("it is not alone")

    with process.shared():
        in_vain()
        # Who comes now does not wait for those who want to be alone beside it.
        for wanted in (0, 1):
            process._wanted_alone = wanted
            with process.shared():
                pass
        process._wanted_alone = 0

    # Nor has it anything to wait for any more.
    with process.alone():
        in_vain()
        assert process._taken
    assert (process._wanted_alone, process._hung) == (0, set())


def test_an_error_inside_lets_the_next_one_in(process: SharedOrAlone) -> None:
    for enter in (process.shared, process.alone, process.shared):
        with suppress(ValueError), enter():
            raise ValueError

    with process.alone():
        assert process._taken
