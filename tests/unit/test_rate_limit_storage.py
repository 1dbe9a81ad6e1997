"""Where client limits are counted: Redis needs what the extra `redis` brings, and no more."""

import sys

import pytest
from limits.errors import ConfigurationError

from web.rate_limit import ClientLimits


def test_redis_is_asked_through_the_client_of_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "redis", None)

    with pytest.raises(ConfigurationError, match="'redis'"):
        ClientLimits("async+redis://cache:6379/0")
