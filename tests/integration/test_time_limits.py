"""Work is bounded by PostgreSQL's time-outs: what takes too long ends, and its thread lives on.

Dramatiq's own TimeLimit raises into the thread, which libpq does not hear, and which ends the
thread for good where it hits a hook.
"""

import threading
from collections.abc import Iterator
from datetime import timedelta

import msgspec
import peewee
import pytest
from dramatiq.middleware import TimeLimit

from actors.retries import BACKOFF_MAX_MS, OUTAGE_PAUSE_MAX_MS
from config import CONSUMER_TIMEOUT_MS, settings
from models import database as db
from models.database import fetch, transaction
from tests.conftest import eventually
from tests.integration.workshop import Workshop, dead_letters, declare, for_actor, new_queue, rows

SLEEPS = "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query = %s"
ENDLESS = "SELECT pg_sleep(600)"


@pytest.fixture
def impatient(migrated: None) -> Iterator[None]:
    """PostgreSQL ends statements soon."""
    db.discard_connection()
    db.configure(msgspec.structs.replace(settings(), statement_timeout_ms=300, lock_timeout_ms=100))
    yield
    db.discard_connection()
    db.configure(settings())


class Slow:
    """An actor's function whose first statement never ends by itself."""

    __name__ = "slow"

    def __init__(self) -> None:
        self.errors: list[peewee.OperationalError] = []
        self.threads: list[threading.Thread] = []

    def __call__(self, commands: msgspec.Raw) -> None:
        self.threads.append(threading.current_thread())
        if not self.errors:
            try:
                with transaction():
                    fetch(ENDLESS)
            except peewee.OperationalError as error:
                self.errors.append(error)
                raise


def test_a_statement_beyond_its_time_ends_and_its_thread_lives_on(
    workshop: Workshop, impatient: None
) -> None:
    # Given one thread, and a message whose statement would take ten minutes
    slow = Slow()
    actor = declare(workshop.broker, slow, new_queue())
    workshop.broker.enqueue(for_actor(actor, "a"))

    worker = workshop.start(actor.queue_name, threads=1)

    # Then PostgreSQL ends it, which passes by itself: the same thread does it again, and it is done
    eventually(lambda: len(slow.threads) == 2)
    workshop.eventually_empty(actor.queue_name)
    assert [db.sqlstate(error) for error in slow.errors] == ["57014"]
    assert slow.threads[0] is slow.threads[1] is worker.workers[0]
    assert slow.threads[0].is_alive()
    assert rows(SLEEPS, ENDLESS) == [(0,)]
    assert dead_letters() == []


def test_nothing_raises_into_a_thread(workshop: Workshop) -> None:
    assert not any(isinstance(one, TimeLimit) for one in workshop.broker.middleware)


def test_no_delay_of_a_retry_comes_near_the_time_after_which_rabbitmq_gives_it_to_another() -> None:
    longest = timedelta(milliseconds=max(BACKOFF_MAX_MS, OUTAGE_PAUSE_MAX_MS))

    assert longest <= timedelta(minutes=10)
    assert longest * 10 < timedelta(milliseconds=CONSUMER_TIMEOUT_MS)
