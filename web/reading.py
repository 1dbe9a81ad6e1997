"""Reads from an event loop: psycopg2 blocks, so statements run on a few threads of their own."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from models.database import discard_connection, lost_connection

P = ParamSpec("P")
R = TypeVar("R")


class Reader:
    """A few threads with a database connection each."""

    def __init__(self, threads: int) -> None:
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="read")

    async def run(self, read: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Run a read on one of the threads; once more where its connection had gone stale."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, lambda: _run(read, *args, **kwargs))

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)


def _run(read: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    try:
        return read(*args, **kwargs)
    except Exception as error:
        discard_connection()
        if not lost_connection(error):
            raise
    return read(*args, **kwargs)
