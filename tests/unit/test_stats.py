"""Counting in memory: nothing is counted twice, and nothing falls between two takes."""

import threading
from bisect import bisect_right
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.heartbeat import STEPS_MAX, Unwritten
from actors.stats import BUCKET_ENDS, Recorder
from models.rules.figures import ActorFigures, total
from models.rules.histograms import bucket, quantile, quantile_s

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


@dataclass
class Accepted:
    at: datetime


def test_a_transaction_counts_its_commands_and_how_long_each_took() -> None:
    recorder = Recorder()
    waited = [Accepted(datetime.now(UTC) - timedelta(seconds=2)) for _ in range(3)]

    recorder.decided("place_orders", [*waited, "a duplicate"], waited, refused=1)

    (figures,) = recorder.take()
    assert (figures.actor, figures.decided, figures.refused) == ("place_orders", 3, 1)
    assert quantile(figures.batch, 0.5) == pytest.approx(4, rel=0.125)
    assert sum(figures.took) == 3
    assert quantile_s(figures.took, 0.5) == pytest.approx(2, rel=0.15)


def test_a_command_from_a_clock_that_is_ahead_took_no_time() -> None:
    recorder = Recorder()

    recorder.decided("a", [1], [Accepted(datetime.now(UTC) + timedelta(hours=1))], 0)

    assert recorder.take()[0].took[0] == 1


def test_a_time_without_a_zone_is_no_reason_to_fail() -> None:
    recorder = Recorder()

    recorder.decided("a", [1], [Accepted(datetime(2026, 1, 1))], 0)  # noqa: DTZ001

    assert recorder.take()[0].decided == 1


def test_an_attempt_that_failed_was_retried_or_was_the_last() -> None:
    recorder = Recorder()

    recorder.ran("a", 0.1, 0.2, failed=False, dead=False)
    recorder.ran("a", 0.1, 0.2, failed=True, dead=False)
    recorder.ran("a", 0.1, 0.2, failed=True, dead=True)
    recorder.limited("a")

    (figures,) = recorder.take()
    counts = figures.handled, figures.failed, figures.retried, figures.dead, figures.limited
    assert counts == (1, 2, 1, 1, 1)
    assert sum(figures.waited) == sum(figures.ran) == 3


def test_what_was_taken_is_not_there_again() -> None:
    recorder = Recorder()
    recorder.limited("a")

    assert len(recorder.take()) == 1
    assert recorder.take() == []


def test_threads_lose_nothing_while_it_is_taken() -> None:
    recorder, taken = Recorder(), []

    def count() -> None:
        for _ in range(2_000):
            recorder.limited("a")

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        taken += recorder.take()
    taken += recorder.take()

    assert total("a", taken).limited == 8_000


def test_figures_wait_by_the_step_they_are_of() -> None:
    waiting = Unwritten()
    waiting.add([ActorFigures("a", handled=1)], NOON)
    waiting.add([ActorFigures("a", handled=2, ran=[0, 1])], NOON + timedelta(seconds=9))
    waiting.add([ActorFigures("a", handled=4)], NOON + timedelta(seconds=10))

    assert [(one.at, one.figures.handled) for one in waiting.counted()] == [
        (NOON, 3),
        (NOON + timedelta(seconds=10), 4),
    ]


def test_of_a_long_outage_the_oldest_figures_are_merged_and_none_is_lost() -> None:
    waiting = Unwritten()
    for step in range(STEPS_MAX + 50):
        waiting.add([ActorFigures("a", handled=1)], NOON + timedelta(seconds=10 * step))

    counted = waiting.counted()
    assert len(counted) == STEPS_MAX
    assert sum(one.figures.handled for one in counted) == STEPS_MAX + 50


@given(st.floats(0, 5_000_000))
def test_a_command_is_in_the_bucket_of_the_time_it_took(seconds: float) -> None:
    took = timedelta(seconds=seconds)

    assert bisect_right(BUCKET_ENDS, took) == bucket(took // timedelta(microseconds=100))
