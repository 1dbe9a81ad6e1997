"""A month's rows as files: one compressed CSV a table, and a manifest that says what is in them.

    FOLDER/2024-01/orders.csv.gz … manifest.json

The manifest comes last, and nothing is called whole that was not read again from the disk.
"""

import csv
import gzip
import hashlib
import io
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import msgspec

from models.database import database, fetch
from models.queries.partitions import Partition
from models.queries.retention import Retired

MANIFEST: Final = "manifest.json"
#: As large as a value of PostgreSQL can be.
FIELD_MAX: Final = 2**30

COLUMNS = """
SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute
WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped ORDER BY attnum
"""


class ExportError(ValueError):
    """A month can't be exported; its tables stay."""


def write(
    folder: Path, month: Retired, tables: Sequence[Partition], say: Callable[[str], None]
) -> dict[str, Any]:
    """Write detached partitions, to which nobody writes; returns the manifest.

    What a broken off export of the same month left is written anew. Raises ExportError where an
    export of another database is in the way, or what is on the disk is not what was written.
    """
    place = place_of(folder, month)
    made = [path for path in (place, *place.parents) if not path.exists()]
    place.mkdir(mode=0o700, parents=True, exist_ok=True)
    for path in made:
        _sync_folder(path.parent)
    _check_owner(place, month)
    manifest: dict[str, Any] = {
        "month": f"{month.starts_at:%Y-%m}",
        "from": month.starts_at.isoformat(),
        "to": month.ends_at.isoformat(),
        "retired_at": month.retired_at.isoformat(),
        "format": 'CSV by COPY with a header, NULL as nothing and the empty text as ""; gzip',
        "tables": [],
    }
    # First of all whose folder it is, for whoever comes to it after a crash.
    _write_manifest(place, manifest)
    for each in tables:
        say(f"{each.name}: exporting")
        manifest["tables"].append(_write_table(place / f"{each.table}.csv.gz", each))
    _write_manifest(place, manifest)
    return manifest


def place_of(folder: Path, month: Retired) -> Path:
    """Where the files of a month are."""
    return folder / f"{month.starts_at:%Y-%m}"


def is_whole(folder: Path, month: Retired) -> bool:
    """Whether all files of a month's manifest are there as they were written."""
    place, manifest = place_of(folder, month), month.manifest
    return manifest is not None and all(
        (place / each["file"]).is_file() and _sha256(place / each["file"]) == each["sha256"]
        for each in manifest["tables"]
    )


def _check_owner(place: Path, month: Retired) -> None:
    with suppress(FileNotFoundError):
        found = msgspec.json.decode((place / MANIFEST).read_bytes())
        if found.get("retired_at") != month.retired_at.isoformat():
            raise ExportError(
                f"{place} has the export of another database, or of another time. Move it away."
            )


def _write_table(path: Path, partition: Partition) -> dict[str, Any]:
    name = partition.name
    part = path.with_name(path.name + ".part")
    with _private(part) as file:
        with gzip.GzipFile("", "wb", 6, file, mtime=0) as packed:
            rows = _copy(name, packed)
        file.flush()
        os.fsync(file.fileno())
    found = _count_rows(part)
    if found != rows:
        raise ExportError(f"{part} has {found:,} rows, and {name} has {rows:,}")
    part.replace(path)
    _sync_folder(path.parent)
    return {
        "table": partition.table,
        "file": path.name,
        "rows": rows,
        "bytes": path.stat().st_size,
        "sha256": _sha256(path),
        "columns": [{"name": column, "type": type_} for column, type_ in fetch(COLUMNS, (name,))],
    }


def _copy(name: str, file: Any) -> int:
    with database.connection().cursor() as cursor:
        cursor.copy_expert(f"COPY {name} TO STDOUT WITH (FORMAT csv, HEADER)", file)
        return int(cursor.rowcount)


def _count_rows(path: Path) -> int:
    csv.field_size_limit(FIELD_MAX)
    with gzip.open(path, "rt", encoding="utf-8", newline="") as text:
        return sum(1 for _ in csv.reader(text)) - 1


def _write_manifest(place: Path, manifest: dict[str, Any]) -> None:
    part = place / (MANIFEST + ".part")
    with _private(part) as file:
        file.write(msgspec.json.format(msgspec.json.encode(manifest)))
        file.flush()
        os.fsync(file.fileno())
    part.replace(place / MANIFEST)
    _sync_folder(place)


def _private(path: Path) -> io.BufferedWriter:
    """A new file that only its owner reads: there are customers in it."""
    return open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb")  # noqa: PTH123 - by its number


def _sync_folder(folder: Path) -> None:
    number = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
