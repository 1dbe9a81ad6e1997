"""This machine's clock beside the database's."""

import logging
from datetime import UTC, datetime, timedelta

import pytest

from models.host_clock import HostClock


@pytest.mark.parametrize(
    ("asked_at", "at", "answered_at", "ahead_s"),
    [
        (100.0, 100.05, 100.1, 0.0),
        # What the answer was under way for may explain it.
        (100.0, 90.0, 109.9, 10.0),
        (100.0, 108.0, 109.0, 0.0),
        (100.0, 120.0, 101.0, -19.0),
        (12_960_100.0, 100.0, 12_960_100.1, 12_960_000.0),
    ],
)
def test_it_is_off_by_what_nothing_else_explains(
    asked_at: float, at: float, answered_at: float, ahead_s: float
) -> None:
    clock = HostClock()

    clock.compare(asked_at, at, answered_at)

    assert clock.ahead_s == ahead_s
    assert clock.is_wrong == (abs(ahead_s) > 5)


def test_a_wrong_one_is_said_once_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    clock = HostClock()

    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            clock.compare(160.0, 100.0, 160.1)
    assert [record.getMessage() for record in caplog.records] == [
        "Synchronize the clock by NTP: this machine's clock is 1 min ahead of the database's."
    ]
    assert clock.words == "this machine's clock is 1 min ahead of the database's"

    assert datetime.now(UTC) - clock.now() > timedelta(seconds=59)

    clock.compare(100.0, 100.0, 100.1)
    assert clock.words == ""
    assert datetime.now(UTC) - clock.now() < timedelta(seconds=30)
    clock.compare(40.0, 100.0, 40.0)
    assert clock.words == "this machine's clock is 1 min behind the database's"
