"""Reads from an event loop: psycopg2 blocks, so statements run on a few threads of their own."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, Protocol, TypeVar

import peewee

from models.database import discard_connection, lost_connection, read_from

#: Longer than a statement may take, shorter than a client's patience.
DEADLINE_S = 8.0
#: What one statement looks for at most, by id.
READ_BATCH_MAX = 500

P = ParamSpec("P")
R = TypeVar("R")


class Lists(Protocol):
    """Where lists are read: from the primary, or from whichever server may do."""

    async def run(self, read: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Run a read, all of it on one server. Raises peewee's errors."""


class Reader:
    """A few threads with a database connection each: to the primary, or to a replica."""

    def __init__(self, threads: int, replica_url: str | None = None) -> None:
        self._threads = (
            ThreadPoolExecutor(threads, "read")
            if replica_url is None
            else ThreadPoolExecutor(threads, "replica", read_from, (replica_url,))
        )

    async def run(self, read: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Run a read on one of the threads; once more where its connection had gone stale.

        Raises peewee.OperationalError when it takes too long: a server that is frozen still
        holds its connections, so that no time-out of its own or of TCP's ever strikes.
        """
        loop = asyncio.get_running_loop()
        work = loop.run_in_executor(self._threads, lambda: _run(read, *args, **kwargs))
        try:
            async with asyncio.timeout(DEADLINE_S):
                return await work
        except TimeoutError:
            raise peewee.OperationalError("the database does not answer in time") from None

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)


def _run(read: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    try:
        return read(*args, **kwargs)
    except Exception as error:  # any may leave the connection half-way
        discard_connection()
        if not lost_connection(error):
            raise
    return read(*args, **kwargs)
