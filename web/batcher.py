"""Natural batching: while one flush is in flight, the next callers gather for the next.

There is no timer and no size to tune: idle, a batch is one item and waits for nothing; busy,
batches grow by themselves, so the cost per item falls as load rises. Knows neither HTTP nor AMQP
nor SQL. After LMAX's BatchEventProcessor and graphql/dataloader.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

T = TypeVar("T")
R = TypeVar("R")


class TooManyWaitingError(Exception):
    """As many callers wait as may; come back later."""


class Batcher(Generic[T, R]):
    """Gathers the items of concurrent callers into calls of `flush`, one call at a time.

    flush: takes items, returns a result for each, in order; what it raises, every caller of that
    batch gets, so that none hangs. batch_max: items per call; waiting_max: callers at once.
    """

    def __init__(
        self,
        flush: Callable[[list[T]], Awaitable[Sequence[R]]],
        *,
        batch_max: int,
        waiting_max: int,
    ) -> None:
        self._flush = flush
        self._batch_max = batch_max
        self._waiting_max = waiting_max
        self._waiting: list[tuple[T, asyncio.Future[R]]] = []
        self._running: asyncio.Task[None] | None = None

    async def submit(self, item: T) -> R:
        """The result for one item. A caller that goes away does not stop its flush.

        Raises TooManyWaitingError, or what the flush raised.
        """
        if len(self._waiting) >= self._waiting_max:
            raise TooManyWaitingError
        future: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, future))
        if self._running is None:
            self._running = asyncio.create_task(self._run())
        return await future

    async def drain(self) -> None:
        """Return when nothing waits and nothing is in flight."""
        while self._running is not None:
            await asyncio.wait([self._running])

    async def _run(self) -> None:
        try:
            while self._waiting:
                batch = self._waiting[: self._batch_max]
                del self._waiting[: self._batch_max]
                # Who has gone before its turn has no use for an answer.
                await self._flush_one([pair for pair in batch if not pair[1].done()])
        finally:
            self._running = None

    async def _flush_one(self, batch: list[tuple[T, asyncio.Future[R]]]) -> None:
        if not batch:
            return
        try:
            results = await self._flush([item for item, _ in batch])
            answers = list(zip(batch, results, strict=True))
        except BaseException as error:  # it is each caller's, who would hang without it
            for _, future in batch:
                if not future.done():
                    future.set_exception(error)
                    # A caller that is gone will not look: that is no error of its own.
                    future.exception()
            if not isinstance(error, Exception):
                raise
            return
        for (_, future), result in answers:
            if not future.done():
                future.set_result(result)
