"""Limits of actors hold over all workers, and a message that waits for one loses nothing."""

import time
from threading import Event, Lock
from typing import Any

import msgspec
import pytest
from dramatiq.middleware import Middleware, MiddlewareError

from actors.broker import Broker
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
            assert self.may_end.wait(10)
            if self.failures_left:
                self.failures_left -= 1
                raise ValueError("a bug")
        finally:
            with self._lock:
                self._at_once -= 1


class Delays(Middleware):
    """Notes the messages that are put off."""

    def __init__(self) -> None:
        self.options: list[dict[str, Any]] = []
        self.delays: list[int] = []

    def after_enqueue(self, _broker: Any, message: Any, delay: int | None) -> None:
        if delay is not None:
            self.options.append(dict(message.options))
            self.delays.append(delay)


def two_workers(workshop: Workshop, work: Any, **limits: Any) -> tuple[Any, list[Delays]]:
    """An actor with limits on two brokers, as two processes have it, and what is put off."""
    queue, delays, actor = new_queue(), [Delays(), Delays()], None
    for put_off in delays:
        broker = workshop.new_broker()
        actor = declare(broker, work, queue, **limits)
        broker.add_middleware(put_off)
        workshop.start(queue, broker=broker, threads=4)
    return actor, delays


def test_a_rate_limit_holds_over_two_workers(workshop: Workshop) -> None:
    work = Runs("rated")
    work.may_end.set()
    actor, _ = two_workers(workshop, work, rate_limit="4/s")

    for name in range(10):
        workshop.broker.enqueue(for_actor(actor, name))

    eventually(lambda: len(work.started_at) == 10)
    # Ten messages need three seconds' shares, the second of which lasts a second.
    first, *_, last = work.started_at
    assert last - first > 0.9
    counted = rows("SELECT value FROM rate_limits WHERE key LIKE 'rated:rate@%%'")
    assert max(value for (value,) in counted) <= 4
    workshop.eventually_empty(actor.queue_name)


def test_a_concurrency_limit_holds_over_two_workers(workshop: Workshop) -> None:
    work = Runs("slotted")
    actor, delays = two_workers(workshop, work, concurrency=2)
    for name in range(6):
        workshop.broker.enqueue(for_actor(actor, name))

    # All six have been tried: two run, four wait.
    eventually(lambda: len(work.started_at) == 2 and sum(len(d.delays) for d in delays) >= 4)
    work.may_end.set()

    eventually(lambda: len(work.started_at) == 6)
    assert work.at_once_max == 2
    workshop.eventually_empty(actor.queue_name)


def test_a_message_that_waits_for_a_limit_loses_no_retry(workshop: Workshop) -> None:
    # Given one message that holds the only slot, and one that waits for it
    work = Runs("single")
    actor, delays = two_workers(workshop, work, concurrency=1)
    workshop.broker.enqueue(for_actor(actor, "holds"))
    eventually(lambda: work.started_at)
    workshop.broker.enqueue(for_actor(actor, "waits"))

    # When it was put off more often than a message may fail
    eventually(lambda: sum(len(d.delays) for d in delays) > 6)
    work.may_end.set()

    # Then it runs all the same, and none of that counted as a failure
    eventually(lambda: len(work.started_at) == 2)
    assert all("retries" not in options for d in delays for options in d.options)
    assert dead_letters() == []
    workshop.eventually_empty(actor.queue_name)


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


def test_a_wait_is_far_shorter_than_rabbitmq_lets_a_worker_hold_a_message(
    workshop: Workshop,
) -> None:
    work = Runs("hourly")
    work.may_end.set()
    actor, delays = two_workers(workshop, work, rate_limit="1/h")
    for name in range(2):
        workshop.broker.enqueue(for_actor(actor, name))

    eventually(lambda: delays[0].delays + delays[1].delays)

    assert max(delays[0].delays + delays[1].delays) <= 10 * 60_000


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
