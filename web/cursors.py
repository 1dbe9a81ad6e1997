"""Where a list goes on: an opaque word, which belongs to one list and its filters.

On another list, or with other filters, the same position would skip or repeat items.
"""

import base64
from collections.abc import Mapping
from datetime import datetime, timedelta
from hashlib import blake2b
from typing import Any, Final, NamedTuple, TypeVar

import msgspec

from web.problems import Problem, invalid_parameter

#: In a list, what its order is by.
Position = TypeVar("Position", bound=tuple[Any, ...])
#: Written as four characters of base64 for every three.
DIGEST_BYTES: Final = 6
DIGEST_CHARACTERS: Final = 8


class Cursors(NamedTuple):
    """The cursors of one list. digest: tells it from other lists, and from other filters."""

    digest: str

    def write(self, position: tuple[Any, ...]) -> str:
        """A position as an opaque word."""
        return self.digest + _base64(msgspec.json.encode(position))

    def read(self, text: str | None, kind: type[Position]) -> Position | None:
        """The position that an opaque word stands for, None without. Raises Problem (422)."""
        if text is None:
            return None
        if not text.startswith(self.digest):
            raise _refused()
        try:
            encoded = text[DIGEST_CHARACTERS:]
            padded = encoded + "=" * (-len(encoded) % 4)
            position: Position = msgspec.json.decode(
                base64.b64decode(padded, altchars=b"-_", validate=True), type=kind
            )
        except (ValueError, RecursionError):
            raise _refused() from None
        # Those that we give out are in UTC; PostgreSQL does not know every offset that Python does.
        if any(
            isinstance(part, datetime) and part.utcoffset() != timedelta(0) for part in position
        ):
            raise _refused()
        if self.write(position) != text:
            raise _refused()
        return position


def cursors_of(path: str, filters: Mapping[str, object]) -> Cursors:
    """The cursors of the list at an address, with these filters."""
    name = msgspec.json.encode([path, sorted(filters.items())])
    return Cursors(_base64(blake2b(name, digest_size=DIGEST_BYTES).digest()))


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _refused() -> Problem:
    return invalid_parameter(
        "cursor", "must be a next_cursor of this list with these parameters, unchanged"
    )
