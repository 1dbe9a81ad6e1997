"""A consumer that gets nothing begins anew, for RabbitMQ may have lost it without a word.

RabbitMQ 3.10 tells a consumer nothing when its quorum queue is deleted and made again within some
50 ms: the connection lives, and nothing comes. The new queue even counts that consumer, and hands
it messages, up to its prefetch, that never arrive. Nothing in AMQP tells this from a queue with
nothing in it; but what a channel was handed goes back to the queue when the channel is closed.

So a consumer that has been idle for a while takes a fresh channel of its connection, which takes
some milliseconds. Under load it never has to.
"""

from collections.abc import Sized
from time import monotonic
from typing import Final

#: Beyond this no message waits for consumers that were idle when it came.
IDLE_MAX_S: Final = 10.0


class Attachment:
    """How long one consumer has been idle: nothing came, and it holds nothing."""

    def __init__(self) -> None:
        self._idle_since = monotonic()

    def is_stale(self, *, delivered: bool, held: Sized) -> bool:
        """Call it with whatever came, a message or none; held: the messages not settled.

        Whether to begin anew, now: what was settled is so for long, thus no delivery tag of the old
        channel is in use any more.
        """
        now = monotonic()
        if delivered or held:
            self._idle_since = now
            return False
        if now - self._idle_since < IDLE_MAX_S:
            return False
        self._idle_since = now
        return True
