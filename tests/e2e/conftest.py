"""Fixtures of the end-to-end tests: a shop to talk to, and keys of one's own."""

from collections.abc import Callable, Iterator

import httpx
import pytest

from tests.conftest import System
from tests.e2e.shop import Shop, fresh

MakeKey = Callable[..., str]


@pytest.fixture(scope="session")
def client(system: System) -> Iterator[httpx.Client]:
    """Somebody with every right; one for all tests, since to make one takes its time."""
    with system.client() as client:
        yield client


@pytest.fixture(scope="session")
def anybody(system: System) -> Iterator[httpx.Client]:
    """Somebody without a key."""
    with httpx.Client(base_url=system.base_url, timeout=40) as client:
        yield client


@pytest.fixture
def shop(client: httpx.Client) -> Shop:
    return Shop(client)


@pytest.fixture(scope="session")
def make_key(system: System) -> MakeKey:
    """Make an API key with some scopes; returns its token."""

    def make(*scopes: str, rate_limit: str = "") -> str:
        options = [f"--scope={scope}" for scope in scopes]
        if rate_limit:
            options += ["--rate-limit", rate_limit]
        return system.run("keys", "create", fresh("key"), *options).split()[-1]

    return make


@pytest.fixture(scope="session")
def other_client(system: System, make_key: MakeKey) -> Iterator[httpx.Client]:
    """A second API client, who may do as much as the first."""
    scopes = ("orders:read", "orders:write", "inventory:read", "inventory:write")
    with system.client(make_key(*scopes)) as client:
        yield client
