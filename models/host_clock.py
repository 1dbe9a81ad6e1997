"""This machine's clock beside the database's, by which all that is kept is stamped."""

import logging
from datetime import UTC, datetime, timedelta
from typing import Final

from models.rules.formatting import duration

logger = logging.getLogger(__name__)

#: Beyond this a clock is wrong: waits, ages and the times of new orders are.
OFF_S_MAX: Final = 5.0


class HostClock:
    """How far this machine's clock is ahead of the database's, as last compared."""

    def __init__(self) -> None:
        #: Negative: it is behind. At least: what the answer was under way for may explain the rest.
        self.ahead_s = 0.0

    @property
    def is_wrong(self) -> bool:
        return abs(self.ahead_s) > OFF_S_MAX

    @property
    def words(self) -> str:
        """What is wrong with it; nothing where it is right."""
        if not self.is_wrong:
            return ""
        return f"this machine's clock is {duration(abs(self.ahead_s))} " + (
            "ahead of the database's" if self.ahead_s > 0 else "behind the database's"
        )

    def now(self) -> datetime:
        """The database's time, as far as this machine can tell: where its own is wrong, by that."""
        off_s = self.ahead_s if self.is_wrong else 0.0
        return datetime.now(UTC) - timedelta(seconds=off_s)

    def compare(self, asked_at: float, at: float, answered_at: float) -> None:
        """Take note of the database's time, which it said between two of ours (s since 1970)."""
        was_wrong = self.is_wrong
        self.ahead_s = max(asked_at - at, 0.0) + min(answered_at - at, 0.0)
        if self.is_wrong and not was_wrong:
            logger.warning("Synchronize the clock by NTP: %s.", self.words)


#: Of this process.
host_clock = HostClock()
