"""Why a body is not taken, in words for people, and all that is wrong with it at once."""

import json
import re
from typing import Any, Final

import msgspec

from web.broken_rules import broken_rules
from web.problems import Problem, breaks_rules
from web.repeated_members import may_lack, repeated_members

#: What a decoder raises.
DECODING: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)

_AT: Final = re.compile(r"\(byte ([0-9]+)\)")


def refusal(body: bytes, error: Exception, type_: Any) -> Problem:
    """The answer to a body that could not be decoded as a type. error: of DECODING."""
    if isinstance(error, msgspec.ValidationError):
        try:
            # A rule may be broken before the JSON is.
            document = _document(body)
            problem = repeated(body) if may_lack(document, body) else None
            return problem or breaks_rules(broken_rules(type_, document))
        except (*DECODING, ValueError) as worse:
            error = worse
    return Problem(400, "not-json", "Not JSON", f"The body is not JSON: {_why(body, error)}.")


def repeated(body: bytes) -> Problem | None:
    """The answer to a body with a member more than once, None where there is none. body: JSON."""
    errors = repeated_members(body)
    if not errors:
        return None
    detail = f"{errors[0]['pointer']}: {errors[0]['detail']}. Send each member once."
    return Problem(400, "repeated-member", "A member is repeated", detail, errors=errors)


def _document(body: bytes) -> Any:
    """A body as JSON of any shape. Raises those of DECODING, and ValueError."""
    try:
        return msgspec.json.decode(body)
    except msgspec.ValidationError:  # a number that is none of ours: JSON all the same
        found = json.loads(body, parse_int=_whole, parse_float=float, parse_constant=_refuse)
        msgspec.json.encode(found)  # half a surrogate pair is no text
        return found


def _whole(digits: str) -> int | float:
    return int(digits) if len(digits) < 20 else float(digits)


def _refuse(word: str) -> Any:
    raise ValueError(word)


def _why(body: bytes, error: Exception) -> str:
    text = str(error)
    at = _AT.search(text)
    for begin, why in _BEGINS.items():
        if body.startswith(begin):
            return why
    if not body.strip():
        return "it is empty"
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    if "truncated" in text:
        return "it ends too early"
    if "trailing characters" in text and at:
        return f"something follows its end, at byte {int(at[1]) - 1}"  # msgspec is past it
    return _why_at(body, text, at and at[1])


_BEGINS: Final = {
    b"\xef\xbb\xbf": "it begins with a byte order mark; send UTF-8 without one",
    b"\xff\xfe": "it is UTF-16; send UTF-8",
    b"\xfe\xff": "it is UTF-16; send UTF-8",
}


def _why_at(body: bytes, text: str, at: str | None) -> str:
    try:
        body.decode()
    except UnicodeDecodeError as error:
        return f"it is not UTF-8, at byte {error.start}"
    kind = next((word for word in _KINDS if word in text), "character")
    return f"wrong {kind} at byte {at}" if at else "it is malformed"


#: What msgspec can find wrong at a place, by the word of it that people know, too.
_KINDS: Final = ("surrogate pair", "escape", "number", "trailing comma")
