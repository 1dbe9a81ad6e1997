"""Keys are found while the database answers, and those known go on while it does not."""

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import peewee
import pytest

from models.queries import api_keys
from models.queries.api_keys import Key
from web.auth import KNOWN_WAIT_S, Keyring
from web.problems import Problem
from web.reading import Reader

ADA = Key("key_ada", frozenset(), None, "Ada")


class Table:
    """The keys as a database tells them: at once, late, or never."""

    def __init__(self) -> None:
        self.found: Key | None = ADA
        self.error: Exception | None = None
        self.answers = threading.Event()
        self.answers.set()
        self.asked = 0

    def find(self, _digest: bytes) -> Key | None:
        self.asked += 1
        self.answers.wait(60)
        if self.error is not None:
            raise self.error
        return self.found


@pytest.fixture
def table(monkeypatch: pytest.MonkeyPatch) -> Iterator[Table]:
    table = Table()
    monkeypatch.setattr(api_keys, "find", table.find)
    yield table
    table.answers.set()


def run(scenario: Callable[[Keyring], Coroutine[Any, Any, None]], cache_s: float = 0.0) -> None:
    reader = Reader(2)
    try:
        asyncio.run(asyncio.wait_for(scenario(Keyring(reader, cache_s)), 60))
    finally:
        reader.close()


def test_a_known_key_does_not_wait_for_a_database_that_hangs(table: Table) -> None:
    async def scenario(keyring: Keyring) -> None:
        assert await keyring.find("ada") == ADA
        table.answers.clear()
        more = 60
        began = time.monotonic()

        assert await keyring.find("ada") == ADA
        first_s = time.monotonic() - began
        # Who comes while the same look-up is under way waits no more.
        for _ in range(more):
            assert await keyring.find("ada") == ADA
        took_s = time.monotonic() - began

        assert first_s > KNOWN_WAIT_S * 0.9
        assert took_s < more * KNOWN_WAIT_S / 2
        assert table.asked == 2
        table.answers.set()

    run(scenario)


def test_a_key_that_was_revoked_is_refused_as_soon_as_the_database_has_said_so(
    table: Table,
) -> None:
    async def scenario(keyring: Keyring) -> None:
        assert await keyring.find("ada") == ADA
        table.found = None
        assert await keyring.find("ada") is None

    run(scenario)


def test_what_a_slow_database_said_behind_counts(table: Table) -> None:
    async def scenario(keyring: Keyring) -> None:
        assert await keyring.find("ada") == ADA
        table.answers.clear()
        table.found = None
        assert await keyring.find("ada") == ADA
        table.answers.set()
        while await keyring.find("ada") is not None:
            await asyncio.sleep(0.01)

    run(scenario)


def test_a_database_that_is_away_leaves_known_keys_and_no_others(table: Table) -> None:
    async def scenario(keyring: Keyring) -> None:
        assert await keyring.find("ada") == ADA
        table.error = peewee.OperationalError("away")
        assert await keyring.find("ada") == ADA
        with pytest.raises(Problem, match="looked up"):
            await keyring.find("bob")

    run(scenario)


def test_a_key_is_not_looked_up_again_at_once(table: Table) -> None:
    async def scenario(keyring: Keyring) -> None:
        for _ in range(5):
            assert await keyring.find("ada") == ADA
        assert table.asked == 1

    run(scenario, cache_s=60)
