"""What the actors of this process did: counted as it happens, in memory, a lock per message.

The reporter (actors/heartbeat.py) takes the figures every couple of seconds and writes them down.
"""

from bisect import bisect_right
from collections import Counter
from collections.abc import Collection, Sequence
from datetime import UTC, datetime, timedelta
from threading import Lock, get_ident
from time import perf_counter, time
from typing import Any, Protocol

from dramatiq.middleware import Middleware

from actors.crashes import NotAlone
from actors.limits import Limited
from models.rules.figures import ActorFigures, blank
from models.rules.histograms import BUCKETS, UNITS_PER_S, bucket, bucket_of_time, low

#: Where the buckets of durations end. To search these takes a third of the time of arithmetic.
BUCKET_ENDS = [timedelta(seconds=low(index) / UNITS_PER_S) for index in range(1, BUCKETS)]


class Accepted(Protocol):
    """A command; at: when the front door accepted it."""

    @property
    def at(self) -> datetime: ...


class Recorder:
    """Counts, until they are taken. Any thread may call any method."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._figures: dict[str, ActorFigures] = {}
        self._redone: Counter[str] = Counter()

    def decided(
        self, actor: str, batch: Sequence[object], decided: Collection[Accepted], refused: int
    ) -> None:
        """Count a transaction that is committed.

        batch: all its commands; decided: those that were ours; refused: how many of these.
        """
        now = datetime.now(UTC)
        try:
            took = Counter([bisect_right(BUCKET_ENDS, now - command.at) for command in decided])
        except TypeError:
            took = (
                Counter()
            )  # A time without its zone: not from our front door, and no reason to fail.
        with self._lock:
            figures = self._of(actor)
            figures.decided += len(decided)
            figures.refused += refused
            figures.batch[bucket(len(batch))] += 1
            for index, count in took.items():
                figures.took[index] += count

    def limited(self, actor: str) -> None:
        """Count a message that a limit sent to wait: it neither ran nor failed."""
        with self._lock:
            self._of(actor).limited += 1

    def redone(self, actor: str) -> None:
        """Count a transaction to be done again: others took the stock that it decided by."""
        with self._lock:
            self._redone[actor] += 1

    def redone_ever(self) -> dict[str, int]:
        """How many since this process began, by actor."""
        with self._lock:
            return dict(self._redone)

    def ran(self, actor: str, waited_s: float, ran_s: float, *, failed: bool, dead: bool) -> None:
        """Count a message that ran. dead: this failure was its last; any other is tried again."""
        with self._lock:
            figures = self._of(actor)
            figures.waited[bucket_of_time(waited_s)] += 1
            figures.ran[bucket_of_time(ran_s)] += 1
            figures.handled += not failed
            figures.failed += failed
            figures.dead += failed and dead
            figures.retried += failed and not dead

    def take(self) -> list[ActorFigures]:
        """What was counted since the last call."""
        with self._lock:
            taken, self._figures = self._figures, {}
        return list(taken.values())

    def _of(self, actor: str) -> ActorFigures:
        figures = self._figures.get(actor)
        if figures is None:
            figures = self._figures[actor] = blank(actor)
        return figures


#: What happens in this process.
recorder = Recorder()


class Stopwatch(Middleware):
    """Times the wait and the run. The last one, so the closest around the actor."""

    def before_process_message(self, _broker: Any, message: Any) -> None:
        # Now: a retry writes when it is put back over it.
        message.waited_s, message.started = time() - _waiting_since(message), perf_counter()

    def after_process_message(
        self,
        _broker: Any,
        message: Any,
        *,
        result: Any = None,  # noqa: ARG002 - the name is Dramatiq's
        exception: BaseException | None = None,  # noqa: ARG002 - the name is Dramatiq's
    ) -> None:
        message.ran_s = perf_counter() - message.started


class Stats(Middleware):
    """Counts what became of messages.

    The first one: after-hooks run from the last middleware to the first, so that by then `Retries`
    has said what is to become of a failure.
    """

    def __init__(self, to: Recorder = recorder) -> None:
        self._recorder = to
        #: The actors at work, by thread. To set or remove an item needs no lock.
        self.running: dict[int, str] = {}
        #: How many ended, one way or the other; as threads add to it at once, not to the last one.
        self.finished = 0

    def before_process_message(self, _broker: Any, message: Any) -> None:
        self.running[get_ident()] = message.actor_name

    def after_process_message(
        self,
        _broker: Any,
        message: Any,
        *,
        result: Any = None,  # noqa: ARG002 - the name is Dramatiq's
        exception: BaseException | None = None,
    ) -> None:
        if isinstance(exception, NotAlone):
            # It did not begin. Nor did anything end: that it waited in vain must hide no hang.
            self.running.pop(get_ident(), None)
            return
        self._end()
        if isinstance(exception, Limited):
            self._recorder.limited(message.actor_name)
            return
        self._recorder.ran(
            message.actor_name,
            message.waited_s,
            message.ran_s,
            failed=exception is not None,
            dead=message.failed,
        )

    def after_skip_message(self, _broker: Any, _message: Any) -> None:
        self._end()

    def _end(self) -> None:
        self.running.pop(get_ident(), None)
        self.finished += 1


def _waiting_since(message: Any) -> float:
    """When it was last put onto a queue, as far as it says so."""
    since: int = message.options.get("requeue_timestamp", message.message_timestamp)
    return since / 1000
