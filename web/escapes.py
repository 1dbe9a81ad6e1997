"""Percent escapes in a query that stand for no text: readers replace what they can't decode, and
would look for another text than the one that was sent."""

import re
from typing import Final
from urllib.parse import unquote_plus, unquote_to_bytes

_BROKEN: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")


def wrong_escapes(query: str) -> list[dict[str, str]]:
    """What is wrong with the escapes of a query as it was sent: [{"parameter", "detail"}], one for
    each parameter."""
    errors: dict[str, str] = {}
    for pair in query.split("&") if "%" in query else ():
        if detail := _fault(pair):
            errors.setdefault(unquote_plus(pair.partition("=")[0])[:100], detail)
    return [{"parameter": name, "detail": detail} for name, detail in errors.items()]


def _fault(text: str) -> str:
    if _BROKEN.search(text):
        return "has a % without two hexadecimal digits; a percent sign itself is %25"
    try:
        unquote_to_bytes(text).decode("utf-8")
    except UnicodeDecodeError:
        return "is not UTF-8"
    return ""
