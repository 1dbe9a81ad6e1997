"""Messages that come back are counted in memory, each from when an attempt first failed."""

from typing import Any

import pytest
from dramatiq.broker import MessageProxy

from actors import put_backs as module
from actors.placing import place_orders
from actors.put_backs import MESSAGES_MAX, STALE_MS, PutBacks
from tests.integration.workshop import for_actor, order

BUG = ValueError("no ë here\nCONTEXT: a function")


class Clock:
    """Milliseconds that pass when told to."""

    now = 1_000_000

    def __call__(self) -> int:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(module, "current_millis", clock)
    return clock


def message(**options: Any) -> Any:
    return MessageProxy(for_actor(place_orders, order(("A", 1)), **options))


def test_a_message_that_comes_back_is_counted_until_it_is_settled(clock: Clock) -> None:
    found, looping, other = PutBacks(), message(), message()
    found.note(looping, BUG)
    clock.now += 61_000
    found.note(looping, BUG)
    found.note(other, BUG)

    longest, _ = found.longest()
    assert (longest.message_id, longest.count, longest.lasted_s) == (looping.message_id, 2, 61.0)
    assert longest.error == "ValueError: no \\xeb here"
    assert found.by_actor() == {"place_orders": (2, 61.0)}

    found.forget(looping.message_id)
    assert found.by_actor() == {"place_orders": (1, 0.0)}
    assert found.totals() == {"place_orders": 3}


def test_what_other_processes_tried_counts_as_far_as_the_message_says_so(clock: Clock) -> None:
    found, retried = PutBacks(), message(first_failed_at=clock.now - 90_000)
    retried.deliveries = 40

    found.note(retried, BUG)

    (only,) = found.longest()
    assert (only.count, only.lasted_s) == (40, 90.0)


def test_after_an_outage_all_have_their_time_again(clock: Clock) -> None:
    found, retried = PutBacks(), message(first_failed_at=clock.now - 90_000)
    found.note(retried, BUG)
    found.forgive()
    assert found.by_actor() == {}

    clock.now += 2_000
    found.note(retried, BUG)

    assert found.by_actor() == {"place_orders": (1, 2.0)}


def test_what_another_process_has_is_forgotten_and_there_is_a_bound(clock: Clock) -> None:
    found = PutBacks()
    for _ in range(MESSAGES_MAX + 5):
        found.note(message(), BUG)
    assert found.by_actor() == {"place_orders": (MESSAGES_MAX, 0.0)}

    clock.now += STALE_MS + 1
    found.note(message(), BUG)

    assert found.by_actor() == {"place_orders": (1, 0.0)}
    assert found.totals() == {"place_orders": MESSAGES_MAX + 6}
