"""Mergeable histograms: fixed buckets, four to each doubling, so within 12.5 % of a value.

Buckets are the same everywhere and for ever, so histograms of processes and of times add up number
by number. After HdrHistogram (Gil Tene). Times are counted in tenths of a millisecond.
"""

import operator
from collections.abc import Iterable, Sequence

#: 0 to 3 have a bucket each; then each doubling has four, up to 2**36 (79 days in time).
BUCKETS = 4 * 35
UNITS_PER_S = 10_000


def bucket(value: int) -> int:
    """The bucket of a value; what is negative (clocks differ) counts as 0."""
    if value < 4:
        return max(value, 0)
    octave = value.bit_length() - 3
    return min(4 * octave + (value >> octave), BUCKETS - 1)


def bucket_of_time(seconds: float) -> int:
    """The bucket of a duration."""
    return bucket(int(seconds * UNITS_PER_S))


def low(index: int) -> int:
    """The least value of a bucket; that of the next one is its end."""
    if index < 8:
        return index
    octave, quarter = divmod(index, 4)
    return (4 + quarter) << (octave - 1)


def add(histograms: Iterable[Sequence[int]]) -> list[int]:
    """The sum of histograms, however long each is."""
    total: list[int] = []
    for one in histograms:
        longer, shorter = (total, one) if len(total) > len(one) else (one, total)
        total = [*map(operator.add, longer, shorter), *longer[len(shorter) :]]
    return total


def quantile(counts: Sequence[int], q: float) -> float | None:
    """The value below which a share q of all lies (the middle of its bucket), None of nothing."""
    total = sum(counts)
    if total == 0:
        return None
    rank, seen = q * total, 0
    for index, count in enumerate(counts):
        seen += count
        if count and seen >= rank:
            return (low(index) + low(index + 1) - 1) / 2
    raise AssertionError("counts add up to their total")


def quantile_s(counts: Sequence[int], q: float) -> float | None:
    """As `quantile`, of durations, in seconds."""
    value = quantile(counts, q)
    return None if value is None else (value + 0.5) / UNITS_PER_S


def mean(counts: Sequence[int]) -> float | None:
    """The mean of the values, each taken as the middle of its bucket; None of nothing."""
    total = sum(counts)
    if total == 0:
        return None
    return sum(c * (low(i) + low(i + 1) - 1) / 2 for i, c in enumerate(counts)) / total
