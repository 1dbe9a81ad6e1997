"""Mapped files have their room on the disk before anything is written to them."""

import os
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.mmap_dict import MmapedDict

from web.reserved_files import ReservedDict


def allocated(path: Path) -> bool:
    found = path.stat()
    return found.st_blocks * 512 >= found.st_size > 0


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="files have holes here")
def test_a_new_file_and_what_it_grows_by_are_allocated(tmp_path: Path) -> None:
    path = tmp_path / "counter_1.db"
    values: Any = ReservedDict(str(path))
    assert allocated(path)
    size = path.stat().st_size

    for number in range(2_000):
        values.write_value(f"key-{number}-{'x' * 100}", float(number), 0.0)

    assert allocated(path)
    assert path.stat().st_size > size
    values.close()
    reader: Any = MmapedDict
    read = reader.read_all_values_from_file(str(path))
    assert [value for _, value, _, _ in read] == [float(number) for number in range(2_000)]


def test_without_room_nothing_is_left_and_nothing_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    values: Any = ReservedDict(str(tmp_path / "counter_1.db"))
    values.write_value("first", 1.0, 0.0)
    monkeypatch.setattr(os, "posix_fallocate", full, raising=False)

    with pytest.raises(OSError, match="No space"):
        ReservedDict(str(tmp_path / "counter_2.db"))
    assert [path.name for path in tmp_path.iterdir()] == ["counter_1.db"]
    with pytest.raises(OSError, match="No space"):
        values.write_value("x" * (1 << 17), 2.0, 0.0)
    values.write_value("first", 3.0, 0.0)
    assert [(key, value) for key, value, _ in values.read_all_values()] == [("first", 3.0)]
    values.close()
