"""Where limits are counted: Redis needs what the extra `redis` brings, and no more."""

import sys

import msgspec
import pytest

from config import SettingsError, settings
from web.dashboard.sign_in import SignInLimit
from web.dashboard.transport import Clients
from web.rate_limit import ClientLimits

REDIS = "async+redis://cache:6379/0"


def test_limits_of_keys_and_of_sign_ins_need_the_client_of_the_extra(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "redis", None)
    given = msgspec.structs.replace(settings(), rate_limit_storage_url=REDIS)

    for build in (lambda: ClientLimits(REDIS), lambda: SignInLimit(given, Clients(given))):
        with pytest.raises(SettingsError, match=r"RATE_LIMIT_STORAGE_URL .*requirements-extras"):
            build()
