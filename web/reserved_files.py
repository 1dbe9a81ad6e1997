"""Files that prometheus_client maps, with their room on the disk reserved.

It makes them by length alone, so a value on a page for which the disk has no room ends the process
(SIGBUS). Reserved, the lack of room is an OSError before anything is mapped.
"""

import os
from pathlib import Path
from typing import Any

from prometheus_client import mmap_dict, values

#: Beside its key, what an entry takes at most: its length, padding and two numbers.
ENTRY_BYTES = 4 + 8 + 16


class ReservedDict(mmap_dict.MmapedDict):
    """A file of values, all of it on the disk. Raises OSError where there is no room."""

    def __init__(self, filename: str, read_mode: bool = False) -> None:
        if not read_mode:
            _reserve_new(Path(filename))
        super().__init__(filename, read_mode)  # type: ignore[no-untyped-call]

    def _init_value(self, key: str) -> None:
        capacity: int = self._capacity
        while self._used + len(key.encode()) + ENTRY_BYTES > capacity:
            capacity *= 2
        if capacity > self._capacity:
            _reserve(self._f.fileno(), capacity)
        super()._init_value(key)  # type: ignore[no-untyped-call]


def install() -> None:
    """From now on prometheus_client takes such files in this process."""
    files: Any = values
    files.MmapedDict = ReservedDict


def _reserve_new(path: Path) -> None:
    if path.exists() and path.stat().st_size:
        return
    with path.open("ab") as file:
        try:
            _reserve(file.fileno(), mmap_dict._INITIAL_MMAP_SIZE)
        except OSError:
            # An empty one can't be read.
            path.unlink()
            raise


def _reserve(number: int, size: int) -> None:
    # Not on macOS, where files have holes.
    if not hasattr(os, "posix_fallocate"):
        return
    before = os.fstat(number).st_size
    try:
        os.posix_fallocate(number, 0, size)
    except OSError:
        os.ftruncate(number, before)
        raise
