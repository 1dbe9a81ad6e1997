"""Searches and exports leave readers and threads to the others: two at once, each."""

import asyncio
from types import SimpleNamespace

import pytest

from web.dashboard import search
from web.dashboard.places import AT_ONCE_MAX, Places
from web.dashboard.search import SearchPage
from web.problems import Problem


def test_a_place_is_free_again_whatever_happens() -> None:
    places = Places("Others are there", 2)

    with pytest.raises(ValueError, match="a bug"), places.place():
        assert places.taken == 1
        raise ValueError("a bug")

    assert places.taken == 0


def test_a_search_beyond_two_at_once_is_told_when_to_come_back() -> None:
    nothing_is_ours = SimpleNamespace(is_ours=lambda kind, text: False)
    page = SearchPage(SimpleNamespace(mint=nothing_is_ours))  # type: ignore[arg-type]
    for _ in range(AT_ONCE_MAX):
        search.places.take()
    try:
        with pytest.raises(Problem, match="Other searches are running") as caught:
            asyncio.run(page.on_get(SimpleNamespace(params={"q": "striped"}), SimpleNamespace()))
    finally:
        for _ in range(AT_ONCE_MAX):
            search.places.free()

    assert caught.value.status == 503
    assert caught.value.headers == {"Retry-After": "2"}
    assert search.places.taken == 0
