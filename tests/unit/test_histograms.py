"""Histograms: whoever counted, whenever, they add up, and they say a value within 12.5 %."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.rules.histograms import (
    BUCKETS,
    UNITS_PER_S,
    add,
    bucket,
    bucket_of_time,
    low,
    mean,
    quantile,
    quantile_s,
)

values = st.integers(0, 2**36 - 1)
histograms = st.lists(st.integers(0, 1000), max_size=BUCKETS)


def histogram(given: list[int]) -> list[int]:
    counts = Counter(map(bucket, given))
    return [counts[index] for index in range(BUCKETS)]


@given(values)
def test_a_value_lies_in_its_bucket(value: int) -> None:
    index = bucket(value)

    assert low(index) <= value < low(index + 1)


@given(st.integers(-(2**40), 2**40))
def test_any_value_has_a_bucket(value: int) -> None:
    assert 0 <= bucket(value) < BUCKETS


@given(values, values)
def test_buckets_are_in_the_order_of_values(one: int, other: int) -> None:
    if one <= other:
        assert bucket(one) <= bucket(other)


def test_buckets_follow_each_other_without_a_gap() -> None:
    assert [bucket(low(index)) for index in range(BUCKETS)] == list(range(BUCKETS))
    assert all(bucket(low(index) - 1) == index - 1 for index in range(1, BUCKETS))


@given(histograms, histograms, histograms)
def test_histograms_add_up_in_any_order_and_grouping(
    a: list[int], b: list[int], c: list[int]
) -> None:
    assert add([a, b]) == add([b, a])
    assert add([add([a, b]), c]) == add([a, add([b, c])])
    assert sum(add([a, b, c])) == sum(a) + sum(b) + sum(c)


def test_the_sum_of_no_histogram_is_one_of_nothing() -> None:
    assert add([]) == []
    assert add([[], [1, 2]]) == [1, 2]


@given(st.lists(values, min_size=1, max_size=200), st.floats(0, 1))
def test_a_quantile_is_within_an_eighth_of_the_exact_one(given: list[int], q: float) -> None:
    exact = sorted(given)[max(0, -int(-q * len(given) // 1) - 1)]

    found = quantile(histogram(given), q)

    assert found is not None
    assert abs(found - exact) <= exact * 0.125 + 0.5


@given(st.lists(values, min_size=1, max_size=200))
def test_a_mean_is_within_an_eighth_of_the_exact_one(given: list[int]) -> None:
    exact = sum(given) / len(given)

    found = mean(histogram(given))

    assert found is not None
    assert abs(found - exact) <= exact * 0.125 + 0.5


@given(st.lists(values, min_size=1, max_size=50), st.lists(values, min_size=1, max_size=50))
def test_a_quantile_of_two_processes_is_that_of_one_that_did_it_all(
    one: list[int], other: list[int]
) -> None:
    merged = add([histogram(one), histogram(other)])

    assert quantile(merged, 0.95) == quantile(histogram(one + other), 0.95)


def test_of_nothing_there_is_no_quantile_and_no_mean() -> None:
    assert quantile([], 0.5) is None
    assert quantile([0] * BUCKETS, 0.5) is None
    assert quantile_s([], 0.5) is None
    assert mean([]) is None


@pytest.mark.parametrize("seconds", [0.0012, 0.05, 1.0, 75.0, 86_400.0])
def test_durations_come_back_as_seconds(seconds: float) -> None:
    counts = [0] * BUCKETS
    counts[bucket_of_time(seconds)] = 1

    assert quantile_s(counts, 0.5) == pytest.approx(seconds, rel=0.125)


@pytest.mark.parametrize("seconds", [-3.0, 0.0, 0.4 / UNITS_PER_S])
def test_a_duration_of_nothing_or_less_is_the_first_bucket(seconds: float) -> None:
    assert bucket_of_time(seconds) == 0
