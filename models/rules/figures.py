"""What an actor did, as numbers that add up over processes and over time."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from models.rules.histograms import BUCKETS, add

COUNTERS: Final = ("handled", "failed", "retried", "dead", "limited", "decided", "refused")
HISTOGRAMS: Final = ("batch", "waited", "ran", "took")


@dataclass(slots=True)
class ActorFigures:
    """Counts and histograms of one actor.

    Messages: handled without a fault; attempts that failed, each either retried or dead; limited:
    sent to wait by a limit. Commands: decided, of these refused. Histograms: commands per
    transaction (batch), and in tenths of a millisecond a message's wait and run, and a command's
    whole way from its acceptance to its commit (took). seconds: the time they cover, where known.
    """

    actor: str
    handled: int = 0
    failed: int = 0
    retried: int = 0
    dead: int = 0
    limited: int = 0
    decided: int = 0
    refused: int = 0
    batch: list[int] = field(default_factory=list)
    waited: list[int] = field(default_factory=list)
    ran: list[int] = field(default_factory=list)
    took: list[int] = field(default_factory=list)
    seconds: float = 0.0


def blank(actor: str) -> ActorFigures:
    """Figures of nothing, with a place for every bucket, to count in."""
    return ActorFigures(actor, **{name: [0] * BUCKETS for name in HISTOGRAMS})  # type: ignore[arg-type]


def total(actor: str, figures: Iterable[ActorFigures]) -> ActorFigures:
    """The sum of figures. seconds: of the first; they are of the same time."""
    given = list(figures)
    summed = ActorFigures(actor, seconds=given[0].seconds if given else 0.0)
    for name in COUNTERS:
        setattr(summed, name, sum(getattr(one, name) for one in given))
    for name in HISTOGRAMS:
        setattr(summed, name, trimmed(add(getattr(one, name) for one in given)))
    return summed


def trimmed(counts: list[int]) -> list[int]:
    """A histogram without the empty buckets at its end."""
    end = len(counts)
    while end and not counts[end - 1]:
        end -= 1
    return counts[:end]
