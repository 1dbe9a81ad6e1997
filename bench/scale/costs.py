"""What an order costs, in parts, so that growth comes from the parts and not from a curve."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

#: What the CPU time of a component is made of. second: of a process that runs; row: a stock row
#: that a transaction changes, however many lines ask for it; refused: an order, beside what every
#: order costs; beside: a transaction while others are under way, which costs switches, cold caches,
#: and a second look at rows that it waited for.
TERMS: Mapping[str, tuple[str, ...]] = {
    "load generator": ("request", "order"),
    "web": ("second", "request", "order", "line", "message"),
    "RabbitMQ": ("second", "message", "order", "line"),
    "worker": ("second", "message", "transaction", "order", "line", "refused", "beside"),
    "PostgreSQL": ("second", "transaction", "order", "line", "row", "refused", "beside"),
}


@dataclass(frozen=True)
class Costs:
    """Seconds. cpu: of each component, by term; the others are waits, and shares of work.

    held: of PostgreSQL's work, what is done while a transaction holds its stock rows, by term.
    trips: statements of a transaction, but for the last one, which takes the rows and commits.
    trips_s: what the round trips of a transaction take beside CPU.
    flush_s, flush_order_s: a commit's wait for the disk, and what each order adds.
    confirm_s: from a publish to its confirm, in a nearly idle system.
    look_s: CPU of a look for a decision that somebody waits for, with one statement, half of it in
    the front door and half in PostgreSQL.
    queue_s, queue_byte_s: one queue's process, per message and byte, when it is saturated.
    """

    cpu: Mapping[str, Mapping[str, float]]
    held: Mapping[str, float] = field(default_factory=dict)
    trips: int = 2
    trips_s: float = 0.0
    flush_s: float = 0.0
    flush_order_s: float = 0.0
    confirm_s: float = 0.0
    look_s: float = 0.0
    queue_s: float = 0.0
    queue_byte_s: float = 0.0
    message_bytes: Mapping[str, float] = field(default_factory=dict)

    def of(self, component: str, **counts: float) -> float:
        """CPU seconds of so many of each term; a term that was not fitted costs nothing."""
        terms = self.cpu.get(component, {})
        return sum(terms.get(name, 0.0) * count for name, count in counts.items())

    def held_s(self, rows: float) -> float:
        """What PostgreSQL does while a transaction holds so many rows, without the flush."""
        return self.held.get("transaction", 0.0) + self.held.get("row", 0.0) * rows

    def queue(self, orders: float, lines: float) -> float:
        """What a message costs its queue's process."""
        size = self.message_bytes.get("order", 0) * orders
        return self.queue_s + self.queue_byte_s * (size + self.message_bytes.get("line", 0) * lines)


class Sample(NamedTuple):
    """CPU seconds of one component in one run, and what was counted in it."""

    counts: Mapping[str, float]
    seconds: float


def fit(samples: Sequence[Sample], terms: Sequence[str]) -> dict[str, float]:
    """Seconds per term, none negative, with the least squares of the relative errors."""
    used = [sample for sample in samples if sample.seconds > 0]
    kept = list(terms)
    while kept:
        rows = [[s.counts.get(name, 0.0) / s.seconds for name in kept] for s in used]
        # Columns of very different sizes (seconds, lines) would lose the small ones.
        matrix = np.array(rows)
        scale = np.abs(matrix).max(axis=0)
        scale[scale == 0] = 1.0
        found, *_ = np.linalg.lstsq(matrix / scale, np.ones(len(used)), rcond=None)
        values = found / scale
        if (values >= 0).all():
            return dict.fromkeys(terms, 0.0) | dict(zip(kept, map(float, values), strict=True))
        # A cost below nothing is noise: the term goes, and the others take its part.
        kept.pop(int((values * scale).argmin()))
    return dict.fromkeys(terms, 0.0)


def distinct(drawn: float, among: int) -> float:
    """How many different ones are expected of so many draws."""
    return float(among * (1 - (1 - 1 / among) ** drawn))
