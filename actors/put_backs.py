"""Messages that come back to this process: how often, for how long, and why. In memory alone.

An attempt that decides nothing leaves its message to be tried again, here or elsewhere. Mostly that
passes. What does not would loop unseen, above all where its failure can't be recorded: so each is
counted here, which needs no server, and shown by the worker's health, metrics and report.

Limits and pauses are no failures and don't count. Nor does what failed while the database took no
reports: then that is what is wrong, and all have their time again when it is over.
"""

from collections import Counter
from collections.abc import Mapping
from threading import Lock
from typing import Any, Final

from dramatiq.common import current_millis, q_name

from actors.health import PutBack
from actors.undecided import error_line
from models.rules.ascii_text import readable

#: Not seen for so long it was decided, or another process has it. A retry waits half a minute.
STALE_MS: Final = 120_000
#: Messages that are told apart; beyond that they are counted only.
MESSAGES_MAX: Final = 1_000
#: Messages that are shown one by one.
SHOWN_MAX: Final = 20


class PutBacks:
    """The messages that came back. Any thread may call any method."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._messages: dict[str, PutBack] = {}
        self._totals: Counter[str] = Counter()
        self._forgiven_ms = 0

    def note(self, message: Any, error: BaseException) -> PutBack:
        """Count an attempt that decided nothing; returns all that is known of the message's."""
        return self.note_one(
            message.message_id, message.queue_name, message.actor_name, error,
            first_ms=message.options.get("first_failed_at"),
            count=getattr(message, "deliveries", 0),
        )  # fmt: skip

    def note_one(
        self, message_id: str, queue: str, actor: str, error: BaseException, *,
        first_ms: int | None = None, count: int = 0,
    ) -> PutBack:  # fmt: skip
        """As `note`. first_ms, count: what the message itself says of other processes' attempts."""
        now = current_millis()
        text = f"{type(error).__name__}: {error_line(error)}"
        with self._lock:
            self._totals[actor] += 1
            known = self._messages.get(message_id)
            if known is None:
                first = max(min(first_ms or now, now), self._forgiven_ms)
            else:
                first, count = known.first_ms, max(count, known.count + 1)
            found = PutBack(
                message_id=message_id, queue=q_name(queue), actor=actor, count=max(count, 1),
                first_ms=first, last_ms=now, error=readable(text),
            )  # fmt: skip
            if known is not None or self._has_room(now):
                self._messages[message_id] = found
        return found

    def forget(self, message_id: str) -> None:
        """A message was decided, or its failure is on record."""
        # Nearly always: no lock, for every message passes here.
        if message_id in self._messages:
            with self._lock:
                self._messages.pop(message_id, None)

    def forgive(self) -> None:
        """The database is away: begin anew when it is back."""
        with self._lock:
            self._messages.clear()
            self._forgiven_ms = current_millis()

    def longest(self) -> list[PutBack]:
        """Those that come back the longest, first."""
        with self._lock:
            self._drop_stale(current_millis())
            found = sorted(self._messages.values(), key=lambda one: -one.lasted_s)
        return found[:SHOWN_MAX]

    def by_actor(self) -> dict[str, tuple[int, float]]:
        """How many messages come back now, and for how long one of them has (s), by actor."""
        found: dict[str, tuple[int, float]] = {}
        with self._lock:
            self._drop_stale(current_millis())
            for one in self._messages.values():
                count, lasted_s = found.get(one.actor, (0, 0.0))
                found[one.actor] = count + 1, max(lasted_s, one.lasted_s)
        return found

    def totals(self) -> Mapping[str, int]:
        """How often messages came back since this process began, by actor."""
        with self._lock:
            return dict(self._totals)

    def _has_room(self, now: int) -> bool:
        if len(self._messages) >= MESSAGES_MAX:
            self._drop_stale(now)
        return len(self._messages) < MESSAGES_MAX

    def _drop_stale(self, now: int) -> None:
        for id_, one in list(self._messages.items()):
            if now - one.last_ms > STALE_MS:
                del self._messages[id_]


#: Those of this process.
put_backs: Final = PutBacks()
