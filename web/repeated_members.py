"""A member that an object of a body has twice: readers differ about which of the two counts.

msgspec takes the last one and says nothing. To look for them all costs ten times what it takes to
decode a body, so most bodies are only counted: each member's name and each text has two quotation
marks, and what was decided on has as many when it is written again, unless something was dropped.
"""

import json
from collections.abc import Iterator
from itertools import islice
from typing import Any, Final

import msgspec

from web.broken_rules import ERRORS_MAX, step

_encode: Final = msgspec.json.Encoder().encode


def may_have_repeated(body: bytes, decoded: Any) -> bool:
    """Whether something of a body was dropped. decoded: a struct that leaves out its defaults where
    it is written; a body that writes one out is decoded once more, as JSON of any shape."""
    return may_lack(decoded, body) and may_lack(msgspec.json.decode(body), body)


def may_lack(decoded: Any, body: bytes) -> bool:
    """Whether what was decoded may lack a member of the body; never False where it does."""
    # A mark inside a text may be spelt by its number, as System.Text.Json of .NET does.
    marks = body.count(b'"') + body.count(rb"\u0022")
    return marks != _encode(decoded).count(b'"')


def repeated_members(body: bytes) -> list[dict[str, str]]:
    """[{"pointer", "detail"}] for what is there again. body: JSON. Raises RecursionError."""
    # Numbers stay texts, since not all that JSON can write is one to Python.
    document = json.loads(body, object_pairs_hook=_kept, parse_int=str, parse_float=str)
    return list(islice(_repeated(document, ""), ERRORS_MAX))


class _Members(list[tuple[str, Any]]):
    """All members of an object, in order."""


def _kept(pairs: list[tuple[str, Any]]) -> _Members | None:
    """An object, None where nothing in it is there again: most are so, and need no second look."""
    is_plain = len(dict(pairs)) == len(pairs) and not any(_matters(value) for _, value in pairs)
    return None if is_plain else _Members(pairs)


def _matters(value: Any) -> bool:
    if isinstance(value, _Members):
        return True
    return isinstance(value, list) and any(isinstance(item, list) for item in value)


def _repeated(part: Any, pointer: str) -> Iterator[dict[str, str]]:
    if isinstance(part, _Members):
        seen = set()
        for name, inner in part:
            if name in seen:
                yield {"pointer": step(pointer, name), "detail": "appears more than once"}
            seen.add(name)
            yield from _repeated(inner, step(pointer, name))
    elif isinstance(part, list):
        for index, inner in enumerate(part):
            yield from _repeated(inner, step(pointer, index))
