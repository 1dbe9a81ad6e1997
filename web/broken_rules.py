"""What is wrong with a value that its type does not allow: all of it, in words for people.

msgspec stops at the first fault and says it in words of its own. Where it has refused a value, this
looks at it again, so that what is taken costs nothing more.
"""

import re
from collections.abc import Iterator
from datetime import datetime
from functools import lru_cache
from itertools import islice
from typing import Any, Final

import msgspec
from msgspec import inspect

from actors.commands import NO_NUL

Errors = Iterator[dict[str, str]]

#: More than these nobody reads at once.
ERRORS_MAX: Final = 100
#: Of an object with names of any kind: more than fit into what it may have of bytes.
NAMES_MAX: Final = 4_096
_KNOWN_MAX: Final = 64


def broken_rules(type_: Any, value: Any, pointer: str = "") -> list[dict[str, str]]:
    """[{"pointer", "detail"}] for a value as JSON has it. pointer: to the value, from the body."""
    return list(islice(_look(_info(type_), value, pointer), ERRORS_MAX))


def step(pointer: str, name: object) -> str:
    """The JSON pointer (RFC 6901) to a member or an item below another pointer."""
    return f"{pointer}/{str(name).replace('~', '~0').replace('/', '~1')}"


_info = lru_cache(maxsize=_KNOWN_MAX)(inspect.type_info)


def _look(info: inspect.Type, value: Any, pointer: str) -> Errors:
    match info:
        case inspect.Metadata(type=inner, extra=extra):
            errors = _look(inner, value, pointer)
            said = (extra or {}).get("rule")
            # A type that says its rule itself needs nobody else's words.
            yield from errors if said is None else (error | {"detail": said} for error in errors)
        case inspect.UnionType(types=types):
            yield from _look_at_choice(types, value, pointer)
        case inspect.StructType() if isinstance(value, dict):
            yield from _look_at_members(info, value, pointer)
        case inspect.ListType(item_type=item) if isinstance(value, list):
            if _has_length(info, value):
                yield from _look_at_items(item, value, pointer)
            else:
                yield _error(pointer, rule(info))
        case inspect.DictType() if isinstance(value, dict):
            yield from _look_at_names(info, value, pointer)
        case _ if not _fits(info, value):
            yield _error(pointer, rule(info))


def _look_at_members(info: inspect.StructType, value: dict[str, Any], pointer: str) -> Errors:
    fields = {field.encode_name: field for field in info.fields}
    for name, field in fields.items():
        if name in value:
            yield from _look(field.type, value[name], step(pointer, name))
        elif field.required:
            yield _error(step(pointer, name), "is missing")
    for name in value:
        if name not in fields and name != info.tag_field:
            yield _error(step(pointer, name), f"is unknown; allowed: {', '.join(fields)}")


def _look_at_items(item: inspect.Type, value: list[Any], pointer: str) -> Errors:
    for index, one in enumerate(value):
        # msgspec finds those that are wrong at a tenth of the cost.
        if not (isinstance(item, inspect.StructType) and _converts(one, item.cls)):
            yield from _look(item, one, step(pointer, index))


def _look_at_names(info: inspect.DictType, value: dict[str, Any], pointer: str) -> Errors:
    for name, one in islice(value.items(), NAMES_MAX):
        if any(_look(info.key_type, name, "")):
            yield _error(step(pointer, name), f"its name {rule(info.key_type)}")
        yield from _look(info.value_type, one, step(pointer, name))
    if len(value) > NAMES_MAX:
        yield _error(pointer, f"must have at most {NAMES_MAX} members")


def _look_at_choice(types: tuple[inspect.Type, ...], value: Any, pointer: str) -> Errors:
    """A value that may be null, or one of several tagged structs."""
    rest = [info for info in types if not isinstance(info, inspect.NoneType)]
    if value is None and len(rest) < len(types):
        return
    if len(rest) > 1 and isinstance(value, dict):
        rest = [info for info in rest if _is_tagged(info, value)]
    if len(rest) == 1:
        yield from _look(rest[0], value, pointer)
    else:
        yield _error(pointer, "has an unknown type")


def _is_tagged(info: inspect.Type, value: dict[str, Any]) -> bool:
    return isinstance(info, inspect.StructType) and value.get(info.tag_field or "") == info.tag


def _fits(info: inspect.Type, value: Any) -> bool:
    match info:
        case inspect.IntType(ge=ge, le=le):
            in_range = type(value) is int and (ge is None or ge <= value)
            return in_range and (le is None or value <= le)
        case inspect.StrType(pattern=pattern):
            fits = isinstance(value, str) and _has_length(info, value)
            return fits and (pattern is None or re.search(pattern, value) is not None)
        case inspect.LiteralType(values=values):
            return isinstance(value, str) and value in values
        case inspect.BoolType():
            return isinstance(value, bool)
        case inspect.DateTimeType():
            return _converts(value, datetime)
    return isinstance(info, inspect.AnyType)


def _converts(value: Any, type_: Any) -> bool:
    try:
        msgspec.convert(value, type_)
    except msgspec.ValidationError:
        return False
    return True


def _has_length(info: inspect.ListType | inspect.StrType, value: Any) -> bool:
    least, most = info.min_length, info.max_length
    return (least is None or least <= len(value)) and (most is None or len(value) <= most)


def rule(info: inspect.Type) -> str:
    """What a value of this type has to be, as the end of a sentence about it."""
    match info:
        case inspect.Metadata(type=inner, extra=extra):
            return str((extra or {}).get("rule") or rule(inner))
        case inspect.ListType(min_length=least, max_length=most):
            return f"must be a list of {least or 0} to {most} items"
        case inspect.StructType(fields=fields):
            names = [field.encode_name for field in fields if field.required]
            return f"must be an object with {', '.join(names)}"
        case inspect.StrType(min_length=least, max_length=most, pattern=pattern):
            length = f" of {least or 0} to {most} characters" if most else ""
            return f"must be a string{length}" + (" without NUL" if pattern == NO_NUL else "")
        case inspect.IntType(ge=ge, le=le):
            return f"must be a whole number from {ge:,} to {le:,}"
    return _SIMPLE.get(type(info)) or f"must be one of {', '.join(getattr(info, 'values', ()))}"


_SIMPLE: Final[dict[type[inspect.Type], str]] = {
    inspect.BoolType: "must be true or false",
    inspect.DateTimeType: "must be a time with its offset, such as 2026-11-23T14:00:00Z",
    inspect.DictType: "must be an object",
}


def _error(pointer: str, detail: str) -> dict[str, str]:
    return {"pointer": pointer, "detail": detail}
