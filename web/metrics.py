"""What a web process counts: plain numbers on its event loop, a few hundred nanoseconds a request.

web/exposition.py hands them to Prometheus once a second; nothing here knows of it.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

REQUEST_SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 30.0)
PUBLISH_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0)
BATCH_COMMANDS: Final = (1, 2, 5, 10, 20, 50, 100, 200, 500)


class Spread:
    """How often a value fell into which bucket; `bounds` are the buckets' upper ends."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.total = 0.0
        self.counts = [0] * (len(bounds) + 1)

    def add(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    def take(self) -> tuple[list[int], float]:
        """All counts and the total so far; it begins anew."""
        taken = self.counts, self.total
        self.counts, self.total = [0] * len(self.counts), 0.0
        return taken


#: Requests of one kind: method, the route's template (None where there is none), and the status as
#: Falcon has it, a number or a line. A plain tuple: a named one takes five times as long to make.
Answered = tuple[str, str | None, Any]


class Answers(Spread):
    """How long requests of one kind took. failed: whether that is our fault."""

    __slots__ = ("failed",)

    def __init__(self, answered: Answered) -> None:
        super().__init__(REQUEST_SECONDS)
        self.failed = str(answered[2]).startswith("5")


class Figures:
    """All that is counted since it was last taken, but what is under way just now."""

    def __init__(self) -> None:
        self.answered: dict[Answered, Answers] = {}
        self.begun = 0
        self.ended = 0
        # What was refused before it became a request.
        self.refused: Counter[int] = Counter()
        # Commands by kind, commands per message, and how long RabbitMQ took to confirm one.
        self.accepted: Counter[str] = Counter()
        self.batches = Spread(BATCH_COMMANDS)
        self.publish_s = Spread(PUBLISH_SECONDS)
        self.publish_failures = 0
        # Requests with new orders that were turned away for the backlog.
        self.orders_shed = 0
        self.sse_viewers = 0
        # Attempts to sign in to the dashboard, by what came of them.
        self.sign_ins: Counter[str] = Counter()
        # Where there are replicas: lists by the server that they were read from, those that a
        # replica should have served by why it did not, and how far each is behind.
        self.list_reads: Counter[str] = Counter()
        self.replica_fallbacks: Counter[str] = Counter()
        self.replica_lag_s: dict[str, float] = {}

    def answers(self, answered: Answered) -> Answers:
        """Where requests of a kind are counted."""
        found = self.answered.get(answered)
        if found is None:
            found = self.answered[answered] = Answers(answered)
        return found

    def publish(self, kind: str, commands: int, took_s: float) -> None:
        """A message that RabbitMQ has confirmed."""
        self.accepted[kind] += commands
        self.batches.add(commands)
        self.publish_s.add(took_s)


#: Those of this process.
figures = Figures()
