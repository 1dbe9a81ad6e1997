"""Dramatiq's rate limiters on PostgreSQL, so that they need no further server."""

import time
from collections.abc import Callable, Sequence

from dramatiq.rate_limits.backend import RateLimiterBackend

from models.queries import rate_limits

POLL_S = 0.05


class PostgresBackend(RateLimiterBackend):
    """Counters in the table `rate_limits`. Times are in milliseconds, as Dramatiq has them."""

    def add(self, key: str, value: int, ttl: int) -> bool:
        return rate_limits.add(key, value, ttl)

    def incr(self, key: str, amount: int, maximum: int, ttl: int) -> bool:
        return rate_limits.increase(key, amount, maximum, ttl)

    def decr(self, key: str, amount: int, minimum: int, ttl: int) -> bool:
        return rate_limits.decrease(key, amount, minimum, ttl)

    def incr_and_sum(
        self, key: str, keys: Callable[[], Sequence[str]], amount: int, maximum: int, ttl: int
    ) -> bool:
        return rate_limits.increase_below_sum(key, keys(), amount, maximum, ttl)

    def wait(self, key: str, timeout: int) -> bool:
        deadline = time.monotonic() + timeout / 1000
        while not rate_limits.take(f"{key}:event"):
            if time.monotonic() >= deadline:
                return False
            time.sleep(POLL_S)
        return True

    def wait_notify(self, key: str, ttl: int) -> None:
        rate_limits.add(f"{key}:event", 1, ttl)
