"""Back-pressure: new orders are turned away before their queue is full, until it has room again.

A full queue refuses whatever comes, in the middle of a publish. Before that, while the backlog is
long, new orders get a 503 that says when to come back; what is in the queue is decided meanwhile.
Moves, stock, products and operators have queues of their own and go on.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from typing import Final

logger = logging.getLogger(__name__)

LOOK_EVERY_S: Final = 1.0
RETRY_AFTER_MIN_S: Final = 1
#: What a client is told when the queue is full.
RETRY_AFTER_MAX_S: Final = 30


class Backlog:
    """Whether new orders are turned away, by how many messages wait.

    It begins at `above` and ends below `below`, both shares of `length_max`, so that it does not
    go to and fro. A length that is not known turns nobody away.
    """

    def __init__(self, length_max: int, *, above: float, below: float) -> None:
        self._above = above * length_max
        self._below = below * length_max
        self._length_max = length_max
        self._length: int | None = None
        self._shedding = False

    @property
    def length(self) -> int | None:
        """How many messages waited at the last look; None: it can't be told."""
        return self._length

    def learn(self, length: int | None) -> None:
        """Take note of how many messages wait; None: it can't be told."""
        before = self._shedding
        if length is None:
            self._shedding = False
        elif length >= self._above:
            self._shedding = True
        elif length < self._below:
            self._shedding = False
        self._length = length
        if self._shedding != before:
            logger.warning(
                "New orders are %s: %s of %d messages wait.",
                "turned away" if self._shedding else "taken again", length, self._length_max,
            )  # fmt: skip

    def retry_after_s(self) -> int | None:
        """When to come back, the later the longer the backlog; None: orders are taken."""
        if not self._shedding or self._length is None:
            return None
        share = (self._length - self._below) / (self._length_max - self._below)
        span = RETRY_AFTER_MAX_S - RETRY_AFTER_MIN_S
        return RETRY_AFTER_MIN_S + round(span * min(max(share, 0.0), 1.0))


async def keep_watch(backlog: Backlog, look: Callable[[], Awaitable[int | None]]) -> None:
    """Look at the queue once a second, until cancelled."""
    while True:
        length = None
        with contextlib.suppress(Exception):  # whatever it is, it is not known then
            length = await look()
        backlog.learn(length)
        await asyncio.sleep(LOOK_EVERY_S)
