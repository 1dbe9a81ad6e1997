"""How often a client may ask: a limit per API key, counted by the `limits` library.

In memory it counts per web process; with RATE_LIMIT_STORAGE_URL it counts over all of them.
"""

import logging
import time
from functools import lru_cache
from typing import Any

from limits import RateLimitItem, parse
from limits.aio.strategies import SlidingWindowCounterRateLimiter
from limits.errors import ConfigurationError, StorageError
from limits.storage import storage_from_string

from config import SettingsError
from models.queries.api_keys import Key
from web.problems import Problem

logger = logging.getLogger(__name__)


def limiter(storage_url: str) -> SlidingWindowCounterRateLimiter:
    """Counts hits where RATE_LIMIT_STORAGE_URL says. Raises SettingsError."""
    # The library's own choice for Redis is another client than that of the extra `redis`.
    client = {"implementation": "redispy"} if storage_url.startswith("async+redis") else {}
    try:
        storage: Any = storage_from_string(storage_url, wrap_exceptions=True, **client)
    except ConfigurationError:
        raise SettingsError(
            "RATE_LIMIT_STORAGE_URL names a Redis, and Redis' client is not installed: install "
            "requirements-extras.txt (docs/observability.md)."
        ) from None
    return SlidingWindowCounterRateLimiter(storage)


class ClientLimits:
    """Charges each request of a limited key one hit."""

    def __init__(self, storage_url: str) -> None:
        self._limiter = limiter(storage_url)

    async def charge(self, key: Key, resp: Any) -> None:
        """Count a request and say how many are left. Raises Problem (429) when none was."""
        limit = _parse(key.rate_limit or "")
        try:
            allowed = await self._limiter.hit(limit, key.id)
            window = await self._limiter.get_window_stats(limit, key.id)
        except StorageError as error:
            # Better an order too many than a shop that stands still.
            logger.warning("Client rate limits can't be counted: %s", error)
            return
        reset_s = max(1, round(window.reset_time - time.time()))
        headers = {
            "RateLimit-Policy": f'"key";q={limit.amount};w={limit.get_expiry()}',
            "RateLimit": f'"key";r={max(0, window.remaining)};t={reset_s}',
        }
        resp.set_headers(headers)
        if not allowed:
            raise Problem(
                429,
                "rate-limited",
                "Too many requests",
                f"This key may ask {key.rate_limit}. Try again in {reset_s} s.",
                headers={"Retry-After": str(reset_s)},
            )


@lru_cache(maxsize=1024)
def _parse(text: str) -> RateLimitItem:
    return parse(text)
