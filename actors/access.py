"""A right at RabbitMQ that is missing: named, and asked for again ever less often.

RabbitMQ closes the channel (403), each time anew, and 3.10 says of what access was refused, but
not which kind it was. Making a queue with dead letters needs two: so both are named.
"""

import logging
import time
from threading import Lock
from time import monotonic
from typing import Any, Final, Literal

from dramatiq.errors import ConnectionClosed

logger = logging.getLogger(__name__)

REFUSED: Final = 403
PAUSE_MIN_S: Final = 1.0
PAUSE_MAX_S: Final = 30.0
Right = Literal["configure or read", "write", "read"]


class RightMissing(ConnectionClosed):
    """RabbitMQ refuses something to our user; the message says which right is missing."""

    def __init__(self, text: str) -> None:
        super().__init__(text)  # type: ignore[no-untyped-call]  # Dramatiq's
        self.text = text

    def __str__(self) -> str:
        return self.text


def is_refused(error: Any) -> bool:
    """Whether RabbitMQ closed a channel for want of a right."""
    return getattr(error, "reply_code", None) == REFUSED


def explain(error: Any, right: Right) -> str:
    """Which right is missing, and where it is explained. right: what was being done needs it."""
    right = "write" if "exchange" in str(error.reply_text) else right
    return (
        f"RabbitMQ does not let this user {right}: {error.reply_text}. Give it the rights that "
        "docs/deploy/rabbitmq.md lists (rabbitmqctl set_permissions)."
    )


class Patience:
    """Refusals of one process, by queue: all its threads wait, longer each time, and try again."""

    def __init__(self) -> None:
        self._lock = Lock()
        # How often a queue was refused, and until when to wait.
        self._refusals: dict[str, tuple[int, float]] = {}

    def refused(self, queue: str, error: Any, right: Right) -> RightMissing:
        """Note a refusal; returns what to raise."""
        missing = RightMissing(explain(error, right))
        with self._lock:
            count, until = self._refusals.get(queue, (0, 0.0))
            if monotonic() >= until:
                # Threads are refused together: that is one refusal.
                pause_s = min(PAUSE_MIN_S * 2**count, PAUSE_MAX_S)
                self._refusals[queue] = (min(count + 1, 10), monotonic() + pause_s)
                logger.error("%s: %s Trying again in %.0f s.", queue, missing, pause_s)
        return missing

    def granted(self, queue: str) -> None:
        """It works: the next refusal is news again."""
        self._refusals.pop(queue, None)

    def wait(self, queue: str) -> None:
        """Return when it is worth another try."""
        _, until = self._refusals.get(queue, (0, 0.0))
        time.sleep(max(0.0, until - monotonic()))
