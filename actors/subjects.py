"""What a message is about, read as loosely as can be: for the record of one that failed.

A message may have failed because its commands break the contract; what can be read of them still
tells an operator which order, product or customer it is about.
"""

import re
from collections.abc import Iterator
from itertools import islice
from typing import Any, Final

import msgspec

#: All that one record holds; a batch of commands is split before it fails for good.
SUBJECTS_MAX: Final = 1_000
#: Longer is no name of ours, and more than an index takes.
NAME_LENGTH_MAX: Final = 100
ID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
TRACE: Final = re.compile(r"00-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")


def subjects(commands: msgspec.Raw) -> list[str]:
    """`command:ID`, `order:ID`, `sku:SKU`, `customer:ID` of a batch, each once."""
    named = (name for command in _read(commands) for name in _named(command))
    return list(islice(dict.fromkeys(named), SUBJECTS_MAX))


def trace_id(commands: msgspec.Raw) -> str:
    """The trace of a batch of one command, '' where there are several or none can be read."""
    read = _read(commands)
    if len(read) != 1:
        return ""
    parent, id_ = read[0].get("traceparent"), read[0].get("id")
    if isinstance(parent, str) and (match := TRACE.fullmatch(parent)):
        return match[1]
    return str(id_).replace("-", "") if _is_id(id_) else ""


def _read(commands: msgspec.Raw) -> list[dict[str, Any]]:
    try:
        batch = msgspec.json.decode(commands)
    except (ValueError, RecursionError):
        return []
    given = batch if isinstance(batch, list) else [batch]
    return [command for command in given if isinstance(command, dict)]


def _named(command: dict[str, Any]) -> Iterator[str]:
    if _is_id(command.get("id")):
        yield f"command:{command['id']}"
        if "lines" in command or "customer_id" in command:
            # The command that places an order has the order's id.
            yield f"order:{command['id']}"
    if _is_id(command.get("order_id")):
        yield f"order:{command['order_id']}"
    if _is_name(command.get("customer_id")):
        yield f"customer:{command['customer_id']}"
    lines = command.get("lines")
    for holder in [command, *(lines if isinstance(lines, list) else [])]:
        if isinstance(holder, dict) and _is_name(holder.get("sku")):
            yield f"sku:{holder['sku']}"


def _is_id(value: object) -> bool:
    return isinstance(value, str) and ID.fullmatch(value) is not None


def _is_name(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value) <= NAME_LENGTH_MAX
