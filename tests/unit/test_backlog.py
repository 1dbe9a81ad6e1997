"""New orders are turned away while too many wait, and not to and fro."""

import asyncio

import pytest

from web.backlog import RETRY_AFTER_MAX_S, Backlog, keep_watch


@pytest.fixture
def backlog() -> Backlog:
    return Backlog(100, above=0.8, below=0.6)


@pytest.mark.parametrize(
    ("lengths", "shed"),
    [
        ([], False),
        ([0, 79], False),
        ([80], True),
        # It goes on until there is room again,
        ([80, 79, 60], True),
        ([80, 59], False),
        # and begins again only where it did.
        ([80, 59, 79], False),
        ([80, 59, 80], True),
        # What is not known turns nobody away.
        ([80, None], False),
        ([80, None, 79], False),
        ([None], False),
    ],
)
def test_orders_are_turned_away_from_one_length_on_until_below_another(
    backlog: Backlog, lengths: list[int | None], shed: bool
) -> None:
    for length in lengths:
        backlog.learn(length)

    assert (backlog.retry_after_s() is not None) == shed


def test_the_longer_the_backlog_the_later_to_come_back(backlog: Backlog) -> None:
    waits = []
    for length in (80, 90, 100, 100_000, 60):
        backlog.learn(length)
        waits.append(backlog.retry_after_s() or 0)

    assert waits[0] < waits[1] < waits[2] == waits[3] == RETRY_AFTER_MAX_S
    assert waits[4] == 1


def test_a_look_that_fails_tells_nothing_and_is_tried_again(
    backlog: Backlog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("web.backlog.LOOK_EVERY_S", 0)
    seen: list[bool] = []

    async def look() -> int | None:
        seen.append(backlog.retry_after_s() is not None)
        match len(seen):
            case 1:
                return 90
            case 2:
                raise ConnectionError("gone")
            case 3:
                return 90
            case _:
                raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(keep_watch(backlog, look))

    assert seen == [False, True, False, True]
