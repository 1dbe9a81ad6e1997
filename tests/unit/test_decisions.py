"""Clients who wait for decisions: one poll asks for so many and no more, and all get their turn."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from typing import Any, cast

from models.queries.reads import FoundCommand
from web.answers import Changes
from web.decisions import Decisions
from web.intake import Taken
from web.reading import READ_BATCH_MAX

IDS = [str(number) for number in range(3 * READ_BATCH_MAX + 1)]


class Polls:
    """A reader that notes what it is asked for, and knows of a decision the third time."""

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self._asked: Counter[str] = Counter()

    async def run(self, _read: Any, ids: Sequence[str]) -> list[FoundCommand | None]:
        self.sizes.append(len(ids))
        self._asked.update(ids)
        return [self._outcome() if self._asked[id_] > 2 else None for id_ in ids]

    @staticmethod
    def _outcome() -> FoundCommand:
        return FoundCommand("place_order", "applied", None, None)


def test_the_commands_that_wait_take_turns() -> None:
    polls = Polls()

    outcomes = asyncio.run(Decisions(cast(Any, polls), len(IDS)).wait_all(IDS, 60))

    assert outcomes.keys() == set(IDS)
    assert max(polls.sizes) == READ_BATCH_MAX
    assert sum(polls.sizes) == 3 * len(IDS)


def test_where_too_many_would_wait_the_next_does_not() -> None:
    polls = Polls()

    outcomes = asyncio.run(Decisions(cast(Any, polls), len(IDS) - 1).wait_all(IDS, 60))

    assert (outcomes, polls.sizes) == ({}, [])


def test_a_replay_is_no_error_as_the_process_stops() -> None:
    """What it repeats was accepted: it is pending, as far as that can be told."""

    class Stopping:
        async def order_status(self, _id: str) -> str:
            raise asyncio.CancelledError

    changes = Changes(cast(Any, None), cast(Any, None), cast(Any, Stopping()))
    taken = Taken("1", replayed=True)

    assert asyncio.run(changes._known_status(taken, is_order=True)) == "pending"
