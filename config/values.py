"""The text of a variable made into the value of a setting, or refused in words of our own."""

import math
from collections.abc import Mapping
from typing import Any, Final

import msgspec
from msgspec import inspect

from config.errors import SettingsError

SHOWN_MAX: Final = 80


def plain(name: str, value: str) -> str:
    """A variable's text without the white space around it. Raises SettingsError for what can't be
    seen inside it: a line break, a byte order mark, bytes that are no text.
    """
    stripped = value.strip()
    for character in stripped:
        if not character.isprintable():
            raise SettingsError(
                f"{name} has a character that can't be seen, U+{ord(character):04X}. Write the "
                "value again without it."
            )
    return stripped


def convert(
    of: type[msgspec.Struct], texts: Mapping[str, str], secret: frozenset[str]
) -> dict[str, Any]:
    """Values by field. texts: those that are set, by field. secret: fields that are not shown.

    Raises SettingsError that names every variable that is missing or can't be taken.
    """
    values, problems = {}, []
    for field in msgspec.structs.fields(of):
        text, name = texts.get(field.name), field.name.upper()
        if text is None:
            if field.required:
                problems.append(f"{name} is missing.")
            continue
        try:
            values[field.name] = _converted(text, field.type)
        except ValueError:
            shown = "" if field.name in secret else f" is {_shown(text)}; it"
            problems.append(f"{name}{shown} must be {_words(inspect.type_info(field.type))}.")
    if problems:
        raise SettingsError(" ".join(problems))
    return values


def refusal(name: str, value: object, reason: str) -> SettingsError:
    """The error of a value that may be shown. reason: `it must be …`."""
    return SettingsError(f"{name} is {_shown(str(value))}; {reason}.")


def _converted(text: str, kind: Any) -> Any:
    value = msgspec.convert(text, kind, strict=False)
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(text)
    return value


def _shown(text: str) -> str:
    return repr(text if len(text) <= SHOWN_MAX else text[:SHOWN_MAX] + "…")


def _words(kind: inspect.Type) -> str:
    """What values a type takes."""
    match kind:
        case inspect.UnionType():
            return _words(next(one for one in kind.types if not isinstance(one, inspect.NoneType)))
        case inspect.LiteralType():
            *others, last = map(str, kind.values)
            return f"{', '.join(others)} or {last}"
        case inspect.BoolType():
            return "true or false"
        case inspect.StrType():
            return _range("characters", kind.min_length, kind.max_length)
        case inspect.IntType():
            return "a whole number" + _bounds(kind)
        case inspect.FloatType():
            return "a number" + _bounds(kind)
    raise AssertionError(f"no setting has the type {kind}")


def _range(of: str, least: int | None, most: int | None) -> str:
    return f"{least or 0} to {most} {of}" if most else f"{least or 0} {of} or more"


def _bounds(kind: inspect.IntType | inspect.FloatType) -> str:
    """Such as ` from 1 to 65535`, ` of 1 or more`, ` above 0 and up to 1`."""
    if kind.ge is not None:
        return f" from {kind.ge} to {kind.le}" if kind.le is not None else f" of {kind.ge} or more"
    above = f" above {kind.gt}" if kind.gt is not None else ""
    return above + (f" and up to {kind.le}" if kind.le is not None else "")
