"""Limits of actors hold over all workers, and a message that waits for one loses nothing."""

import time
from threading import Event, Lock
from typing import Any

import msgspec
import pytest
from dramatiq.errors import ConnectionClosed
from dramatiq.middleware import Middleware, MiddlewareError

from actors.broker import Broker
from actors.controls import controls
from actors.limits import Limited
from models.queries import controls as switches
from models.queries import rate_limits
from tests.conftest import eventually
from tests.integration.workshop import (
    Workshop,
    dead_letters,
    declare,
    for_actor,
    new_queue,
    rows,
)


class Runs:
    """An actor's function that notes when it ran and how many ran at once."""

    def __init__(self, name: str) -> None:
        self.__name__ = name
        self.started_at: list[float] = []
        self.at_once_max = 0
        self.may_end = Event()
        self.failures_left = 0
        self._lock = Lock()
        self._at_once = 0

    def __call__(self, commands: msgspec.Raw) -> None:
        with self._lock:
            self.started_at.append(time.monotonic())
            self._at_once += 1
            self.at_once_max = max(self.at_once_max, self._at_once)
        try:
            assert self.may_end.wait(60)
            if self.failures_left:
                self.failures_left -= 1
                raise ValueError("a bug")
        finally:
            with self._lock:
                self._at_once -= 1


class Looks(Middleware):
    """Notes the messages that met a limit, and those that went through the delay queue."""

    def __init__(self) -> None:
        self.waits_ms: list[int] = []
        self.options: list[dict[str, Any]] = []
        self.delayed: list[Any] = []

    def after_process_message(
        self, _broker: Any, message: Any, *, result: Any = None, exception: Any = None
    ) -> None:
        if isinstance(exception, Limited):
            self.waits_ms.append(exception.delay_ms)
            self.options.append(dict(message.options))

    def after_enqueue(self, _broker: Any, message: Any, delay: int | None) -> None:
        if delay is not None:
            self.delayed.append(message)


def two_workers(workshop: Workshop, work: Any, **limits: Any) -> tuple[Any, Looks]:
    """An actor with limits on two brokers, as two processes have it, and what its limits did."""
    queue, looks, actor = new_queue(), Looks(), None
    for _ in range(2):
        broker = workshop.new_broker()
        actor = declare(broker, work, queue, **limits)
        broker.add_middleware(looks)
        workshop.start(queue, broker=broker, threads=4)
    return actor, looks


def test_a_rate_limit_holds_over_two_workers(workshop: Workshop) -> None:
    work = Runs("rated")
    work.may_end.set()
    actor, looks = two_workers(workshop, work, rate_limit="4/s")

    for name in range(10):
        workshop.broker.enqueue(for_actor(actor, name))

    eventually(lambda: len(work.started_at) == 10)
    # Ten messages need three seconds' shares, the second of which lasts a second.
    first, *_, last = work.started_at
    assert last - first > 0.9
    counted = rows("SELECT value FROM rate_limits WHERE key LIKE 'rated:rate@%%'")
    assert max(value for (value,) in counted) <= 4
    assert sum(value for (value,) in counted) == 10
    workshop.eventually_empty(actor.queue_name)
    assert looks.delayed == []


def test_a_concurrency_limit_holds_over_two_workers(workshop: Workshop) -> None:
    work = Runs("slotted")
    actor, looks = two_workers(workshop, work, concurrency=2)
    for name in range(6):
        workshop.broker.enqueue(for_actor(actor, name))

    # Two run, and the others have been looked at more than once.
    eventually(lambda: len(work.started_at) == 2 and len(looks.waits_ms) >= 8)
    work.may_end.set()

    eventually(lambda: len(work.started_at) == 6)
    assert work.at_once_max == 2
    workshop.eventually_empty(actor.queue_name)
    assert looks.delayed == []


def test_a_slot_that_comes_free_is_taken_at_once(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("actors.limits.SLOT_POLL_MS", 1_000)
    work = Runs("quick")
    work.may_end.set()
    actor = declare(workshop.broker, work, new_queue(), concurrency=1)
    for name in range(20):
        workshop.broker.enqueue(for_actor(actor, name))
    workshop.start(actor.queue_name, threads=4)

    eventually(lambda: len(work.started_at) == 20)

    assert work.at_once_max == 1
    # Most did not wait until somebody looked again: together that would take 19 s.
    assert work.started_at[-1] - work.started_at[0] < 10
    workshop.eventually_empty(actor.queue_name)


def test_a_message_that_waits_for_a_limit_loses_no_retry(workshop: Workshop) -> None:
    # Given one message that holds the only slot, and one that waits for it
    work = Runs("single")
    actor, looks = two_workers(workshop, work, concurrency=1)
    workshop.broker.enqueue(for_actor(actor, "holds"))
    eventually(lambda: work.started_at)
    workshop.broker.enqueue(for_actor(actor, "waits"))

    # When it was sent away more often than a message may fail
    eventually(lambda: len(looks.waits_ms) > 6)
    work.may_end.set()

    # Then it runs all the same, and none of that counted as a failure
    eventually(lambda: len(work.started_at) == 2)
    assert looks.options == [{}] * len(looks.options)
    assert dead_letters() == []
    workshop.eventually_empty(actor.queue_name)


def test_what_waits_for_a_limit_stays_in_its_queue_and_that_in_its_bounds(
    workshop: Workshop,
) -> None:
    # Given an actor at its limit, with a short queue
    work = Runs("bounded")
    work.may_end.set()
    broker, looks = workshop.new_broker(queue_length_max=5), Looks()
    actor = declare(broker, work, new_queue(), rate_limit="1/h")
    broker.add_middleware(looks)
    worker = workshop.start(actor.queue_name, broker=broker, threads=2)
    broker.enqueue(for_actor(actor, "runs"))
    eventually(lambda: work.started_at)

    # When messages come, then the queue refuses soon
    sent = 0
    with pytest.raises(ConnectionClosed):
        for name in range(50):
            broker.enqueue(for_actor(actor, name))
            sent += 1

    # and no more is with the worker than was fetched ahead, looked at once a thread at most
    consumer = worker.consumers[actor.queue_name].consumer
    eventually(lambda: len(consumer.held) == 4 and looks.waits_ms)
    assert len(looks.waits_ms) <= 2
    assert looks.delayed == []
    # and all of it is in the queue when the worker ends
    workshop.stop_workers()
    eventually(lambda: workshop.messages_in(actor.queue_name) == sent)


def test_what_waits_for_a_limit_keeps_no_thread_from_other_actors(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a worker of one thread, which would sleep for long over a fault
    monkeypatch.setattr("actors.consumer.PUT_BACK_PAUSE_S", 600)
    limited, free = Runs("waits"), Runs("free")
    limited.may_end.set()
    free.may_end.set()
    first = declare(workshop.broker, limited, new_queue(), rate_limit="1/h")
    second = declare(workshop.broker, free, new_queue())
    workshop.start(first.queue_name, second.queue_name, threads=1)
    for name in range(20):
        workshop.broker.enqueue(for_actor(first, name))
    eventually(lambda: limited.started_at)

    for name in range(20):
        workshop.broker.enqueue(for_actor(second, name))

    eventually(lambda: len(free.started_at) == 20)
    assert len(limited.started_at) == 1


def test_what_waits_for_a_limit_goes_back_when_its_queue_is_paused(workshop: Workshop) -> None:
    controls.refresh()
    work = Runs("paused")
    work.may_end.set()
    actor = declare(workshop.broker, work, new_queue(), rate_limit="1/h")
    worker = workshop.start(actor.queue_name)
    for name in range(9):
        workshop.broker.enqueue(for_actor(actor, name))
    consumer = eventually(lambda: worker.consumers[actor.queue_name].consumer)
    eventually(lambda: work.started_at and len(consumer.held) == 4)

    switches.pause(actor.queue_name, "a test", "Ada")
    controls.refresh()

    eventually(lambda: workshop.messages_in(actor.queue_name) == 8)
    assert not consumer.held


def test_a_slot_comes_free_when_its_message_fails(workshop: Workshop) -> None:
    work = Runs("failing")
    work.may_end.set()
    work.failures_left = 1
    actor, _ = two_workers(workshop, work, concurrency=1)

    workshop.broker.enqueue(for_actor(actor, "fails once"))

    eventually(lambda: len(work.started_at) == 2)
    workshop.eventually_empty(actor.queue_name)
    assert rows("SELECT value FROM rate_limits WHERE key = 'failing:slots'") == [(0,)]


def test_limited_work_goes_on_after_its_database_connections_were_cut(workshop: Workshop) -> None:
    # Given workers whose threads each have a connection
    work = Runs("cut")
    work.may_end.set()
    actor, _ = two_workers(workshop, work, rate_limit="1000/s")
    for name in range(40):
        workshop.broker.enqueue(for_actor(actor, name))
    eventually(lambda: len(work.started_at) == 40)

    # When all of them are cut
    rows(
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
        "WHERE pid <> pg_backend_pid() AND datname = current_database()"
    )
    for name in range(40):
        workshop.broker.enqueue(for_actor(actor, name))

    # Then the limiter finds new ones
    eventually(lambda: len(work.started_at) == 80)
    workshop.eventually_empty(actor.queue_name)
    assert dead_letters() == []


def test_what_was_fetched_ahead_goes_back_long_before_rabbitmq_misses_it(
    workshop: Workshop,
) -> None:
    work = Runs("hourly")
    work.may_end.set()
    actor, looks = two_workers(workshop, work, rate_limit="1/h")
    for name in range(2):
        workshop.broker.enqueue(for_actor(actor, name))

    eventually(lambda: looks.waits_ms)

    assert max(looks.waits_ms) <= 10 * 60_000


@pytest.mark.parametrize("limit", ["100", "0/s", "100 per second", "5/d", "-1/s", "1.5/s"])
def test_an_actor_with_a_limit_that_makes_no_sense_is_not_declared_without_one(
    workshop: Workshop, limit: str
) -> None:
    def odd(commands: msgspec.Raw) -> None: ...

    with pytest.raises(MiddlewareError, match=r"like 100/s"):
        declare(workshop.broker, odd, new_queue(), rate_limit=limit)


def test_an_actor_without_a_limit_counts_nothing(workshop: Workshop) -> None:
    def free(commands: msgspec.Raw) -> None: ...

    broker: Broker = workshop.broker
    declare(broker, free, new_queue()).fn(commands=msgspec.Raw(b"[]"))

    assert rows("SELECT key FROM rate_limits") == []


def test_a_counter_counts_to_its_maximum_and_back_to_its_minimum(database: None) -> None:
    assert rate_limits.add("k", 1, 60_000)
    assert not rate_limits.add("k", 1, 60_000)

    assert rate_limits.increase("k", 1, 2, 60_000)
    assert not rate_limits.increase("k", 1, 2, 60_000)
    assert rate_limits.decrease("k", 2, 0, 60_000)
    assert not rate_limits.decrease("k", 1, 0, 60_000)


def test_a_counter_that_expired_begins_anew(database: None) -> None:
    assert rate_limits.add("k", 5, 0)

    assert not rate_limits.increase("k", 1, 100, 60_000)
    assert rate_limits.add("k", 1, 60_000)
    assert rows("SELECT value FROM rate_limits") == [(1,)]


def test_counters_that_are_long_expired_are_forgotten(database: None) -> None:
    rate_limits.add("old", 1, -3_700_000)
    rate_limits.add("fresh", 1, 60_000)

    assert rate_limits.forget_expired() == 1
    assert rows("SELECT key FROM rate_limits") == [("fresh",)]


def test_a_sum_over_several_counters_is_limited(database: None) -> None:
    keys = ["w@1", "w@2"]

    assert rate_limits.increase_below_sum("w@1", keys, 2, 3, 60_000)
    assert rate_limits.increase_below_sum("w@2", keys, 1, 3, 60_000)
    assert not rate_limits.increase_below_sum("w@2", keys, 1, 3, 60_000)
