"""Natural batching on the event loop: who comes while one flush is in flight shares the next."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any

import pytest

from web.batcher import Batcher, TooManyWaitingError


class Flushes:
    """A flush that notes its batches and holds each until it is let go."""

    def __init__(self, result: Callable[[int], object] = lambda item: item * 10) -> None:
        self.batches: list[list[int]] = []
        self.go = asyncio.Event()
        self._result = result

    async def __call__(self, items: list[int]) -> Sequence[Any]:
        self.batches.append(items)
        await self.go.wait()
        results = [self._result(item) for item in items]
        for result in results:
            if isinstance(result, BaseException):
                raise result
        return results


def run(scenario: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(asyncio.wait_for(scenario(), 60))


async def submitted(batcher: Batcher[int, Any], *items: int) -> list[asyncio.Task[Any]]:
    """Callers that wait for these items, in order; the first flush has begun."""
    callers = [asyncio.create_task(batcher.submit(item)) for item in items]
    for _ in range(5):
        await asyncio.sleep(0)
    return callers


def batcher_of(
    flush: Callable[[list[int]], Awaitable[Sequence[Any]]],
    batch_max: int = 100,
    waiting_max: int = 100,
) -> Batcher[int, Any]:
    return Batcher(flush, batch_max=batch_max, waiting_max=waiting_max)


def test_a_caller_alone_waits_for_no_one() -> None:
    async def scenario() -> None:
        flushes = Flushes()
        flushes.go.set()

        assert await batcher_of(flushes).submit(7) == 70
        assert flushes.batches == [[7]]

    run(scenario)


def test_who_comes_while_a_flush_is_in_flight_shares_the_next_one() -> None:
    async def scenario() -> None:
        flushes = Flushes()
        batcher = batcher_of(flushes)
        first = await submitted(batcher, 1)
        rest = await submitted(batcher, 2, 3, 4)

        flushes.go.set()

        assert await asyncio.gather(*first, *rest) == [10, 20, 30, 40]
        assert flushes.batches == [[1], [2, 3, 4]]

    run(scenario)


def test_a_batch_is_no_larger_than_it_may_be() -> None:
    async def scenario() -> None:
        flushes = Flushes()
        batcher = batcher_of(flushes, batch_max=2)
        first = await submitted(batcher, 1)
        rest = await submitted(batcher, 2, 3, 4, 5, 6)

        flushes.go.set()
        await asyncio.gather(*first, *rest)

        assert flushes.batches == [[1], [2, 3], [4, 5], [6]]

    run(scenario)


def test_a_failed_flush_fails_each_of_its_callers_and_no_other() -> None:
    async def scenario() -> None:
        flushes = Flushes(lambda item: OSError("no broker") if item == 3 else item * 10)
        batcher = batcher_of(flushes, batch_max=2)
        first = await submitted(batcher, 1)
        rest = await submitted(batcher, 2, 3, 4)

        flushes.go.set()
        outcomes = await asyncio.gather(*first, *rest, return_exceptions=True)

        assert outcomes[0] == 10
        assert isinstance(outcomes[1], OSError)
        assert isinstance(outcomes[2], OSError)
        assert outcomes[3] == 40

    run(scenario)


@pytest.mark.parametrize("results", [[], [1]])
def test_a_flush_that_answers_for_too_few_leaves_no_caller_hanging(results: list[int]) -> None:
    async def scenario() -> None:
        async def flush(items: list[int]) -> list[int]:
            return results if len(items) == 2 else [0]

        batcher = batcher_of(flush)
        callers = await submitted(batcher, 1, 2)

        async with asyncio.timeout(30):
            outcomes = await asyncio.gather(*callers, return_exceptions=True)

        assert all(isinstance(outcome, ValueError) for outcome in outcomes)
        assert await batcher.submit(9) == 0

    run(scenario)


def test_a_caller_that_goes_away_stops_neither_the_flush_nor_the_others() -> None:
    async def scenario() -> None:
        flushes = Flushes()
        batcher = batcher_of(flushes)
        (leaves_in_flight,) = await submitted(batcher, 1)
        leaves_early, stays = await submitted(batcher, 2, 3)

        leaves_in_flight.cancel()
        leaves_early.cancel()
        flushes.go.set()

        assert await stays == 30
        # What was in flight went on; who had gone before its turn was left out.
        assert flushes.batches == [[1], [3]]

    run(scenario)


def test_when_all_who_waited_have_gone_nothing_is_flushed() -> None:
    async def scenario() -> None:
        flushes = Flushes()
        batcher = batcher_of(flushes)
        first = await submitted(batcher, 1)
        gone = await submitted(batcher, 2, 3)
        for caller in gone:
            caller.cancel()

        flushes.go.set()
        await asyncio.gather(*first, *gone, return_exceptions=True)
        await batcher.drain()

        assert flushes.batches == [[1]]

    run(scenario)


def test_a_failed_flush_whose_callers_have_gone_complains_to_no_one() -> None:
    async def scenario() -> None:
        complaints: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(
            lambda _, context: complaints.append(context)
        )
        flushes = Flushes(lambda _: OSError("no broker"))
        batcher = batcher_of(flushes)
        (gone,) = await submitted(batcher, 1)
        gone.cancel()

        flushes.go.set()
        await batcher.drain()

        assert complaints == []

    run(scenario)


def test_more_callers_than_may_wait_are_told_to_come_back() -> None:
    async def scenario() -> None:
        flushes = Flushes()
        batcher = batcher_of(flushes, waiting_max=2)
        first = await submitted(batcher, 1)
        waiting = await submitted(batcher, 2, 3)

        with pytest.raises(TooManyWaitingError):
            await batcher.submit(4)

        flushes.go.set()
        assert await asyncio.gather(*first, *waiting) == [10, 20, 30]
        assert await batcher.submit(5) == 50

    run(scenario)


def test_draining_waits_for_what_is_in_flight_and_what_waits() -> None:
    async def scenario() -> None:
        flushes = Flushes()
        batcher = batcher_of(flushes)
        callers = [*await submitted(batcher, 1), *await submitted(batcher, 2)]
        draining = asyncio.create_task(batcher.drain())
        await asyncio.sleep(0)
        assert not draining.done()

        flushes.go.set()
        await draining

        assert flushes.batches == [[1], [2]]
        assert [await caller for caller in callers] == [10, 20]

    run(scenario)


def test_draining_what_is_idle_returns_at_once() -> None:
    async def scenario() -> None:
        await batcher_of(Flushes()).drain()

    run(scenario)


def test_it_works_again_after_it_was_idle() -> None:
    async def scenario() -> None:
        flushes = Flushes()
        flushes.go.set()
        batcher = batcher_of(flushes)

        assert [await batcher.submit(n) for n in (1, 2)] == [10, 20]
        assert flushes.batches == [[1], [2]]

    run(scenario)
