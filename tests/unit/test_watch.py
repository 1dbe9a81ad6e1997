"""How a worker counts for how long nothing was finished."""

import time
from types import SimpleNamespace
from typing import Any

from actors.health import DATABASE_S_MAX, Vitals, broken
from actors.stats import Stats
from actors.watch import Watch


def test_time_without_the_database_does_not_count_as_hung() -> None:
    # Given a worker whose one thread is busy for ever, and a database that is away at first
    seen: list[Vitals] = []
    away_s = [DATABASE_S_MAX + 1]
    counting = Stats()
    counting.running = {1: "place_orders"}
    worker: Any = SimpleNamespace(
        workers=[], consumers={}, broker=SimpleNamespace(parameters=[])
    )  # fmt: skip
    watch = Watch(
        worker, counting, every_s=2, database_s=lambda: away_s[0], leave=seen.append,
        give_up=lambda _reasons: None,
    )  # fmt: skip

    def look_after(seconds: float) -> Vitals:
        watch._looked_at = time.monotonic() - seconds
        watch.look()
        return seen[-1]

    for _ in range(100):
        assert look_after(4).stuck_s == 0
    away_s[0] = 0
    for _ in range(75):
        assert not list(broken(look_after(4)))

    # Then its time begins when the database is back
    assert list(broken(look_after(4)))
    counting.finished += 1
    assert not list(broken(look_after(4)))
