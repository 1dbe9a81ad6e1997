"""Whatever reads bytes from outside, over the corpus, pieces of it, and bytes that are made up."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz.decoders import CORPUS, HARNESSES
from tests.fuzz.mutations import damaged


@pytest.mark.parametrize("name", HARNESSES)
def test_the_corpus_breaks_nothing(name: str) -> None:
    for data in CORPUS[name]:
        HARNESSES[name](data)


@pytest.mark.parametrize("name", HARNESSES)
def test_damaged_and_made_up_bytes_break_nothing(name: str) -> None:
    @settings(derandomize=True, max_examples=150, deadline=None, database=None)
    @given(st.binary(max_size=300) | st.sampled_from(CORPUS[name]).flatmap(damaged))
    def check(data: bytes) -> None:
        HARNESSES[name](data)

    check()
