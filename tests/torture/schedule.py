"""Which fault comes when: from the seed alone, so that the same seed is the same schedule."""

from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from random import Random
from typing import Final, NamedTuple

PAUSE_S: Final = (0.0, 0.2)


class Planned(NamedTuple):
    """A fault to come. seed: of its own choices; pause_s: before it."""

    number: int
    fault: str
    pause_s: float
    seed: str


def chosen(names: Sequence[str], patterns: str) -> list[str]:
    """The names that match one of the patterns, which are split by commas.

    A pattern without a colon matches no name with one. Raises ValueError for one that none matches.
    """
    wanted: dict[str, None] = {}
    for pattern in map(str.strip, patterns.split(",")):
        found = [n for n in names if (":" in n) == (":" in pattern) and fnmatchcase(n, pattern)]
        if not found:
            raise ValueError(f"no fault is called {pattern}; there are: {', '.join(names)}")
        wanted |= dict.fromkeys(found)
    return list(wanted)


def schedule(seed: int, names: Sequence[str]) -> Iterator[Planned]:
    """Every fault once, in some order, and again in another one, for ever."""
    random = Random(seed)
    number = 0
    while True:
        for name in random.sample(sorted(names), len(names)):
            number += 1
            yield Planned(number, name, random.uniform(*PAUSE_S), f"{seed}-{number}")
