"""How much of a kind of work runs at once, so that readers and threads are left to the others."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from web.problems import unavailable

AT_ONCE_MAX: Final = 2


class Places:
    """AT_ONCE_MAX places in this process.

    busy: what is said where none is free; retry_after_s: and when to come back.
    """

    def __init__(self, busy: str, retry_after_s: int) -> None:
        self.taken = 0
        self._busy = busy
        self._retry_after_s = retry_after_s

    def take(self) -> None:
        """Raises Problem (503) where none is free."""
        if self.taken >= AT_ONCE_MAX:
            raise unavailable(self._busy, retry_after_s=self._retry_after_s)
        self.taken += 1

    def free(self) -> None:
        self.taken -= 1

    @contextmanager
    def place(self) -> Iterator[None]:
        """A place for as long as the block runs. Raises Problem (503) where none is free."""
        self.take()
        try:
            yield
        finally:
            self.free()
