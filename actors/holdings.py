"""Which messages a worker has that no queue shows: with its threads, or held until they are due."""

from collections.abc import Iterable, Mapping
from heapq import nsmallest
from typing import Any, Final

import msgspec
from dramatiq.common import dq_name, q_name

from actors import commands

#: Delayed messages that are shown one by one.
SHOWN_MAX: Final = 20
ERROR_CHARACTERS_MAX: Final = 200

Held = dict[str, Any]


class Holdings:
    """What the consumers of a worker hold, as `models.queries.workers.WorkerReport` has it."""

    def __init__(self) -> None:
        self._commands: dict[str, int] = {}

    def of(self, consumers: Iterable[Any]) -> dict[str, Held]:
        """By main queue; consumers: the worker's consumer threads."""
        found: dict[str, Held] = {}
        shown: dict[str, int] = {}
        for thread in consumers:
            # A copy at once: its own thread goes on.
            messages = list(getattr(thread.consumer, "held", {}).values())
            held = found.setdefault(q_name(thread.queue_name), _nothing())
            if thread.queue_name == dq_name(thread.queue_name):
                held.update(self._delayed(messages, shown))
            else:
                held.update(_waiting(messages))
        self._commands = shown
        return found

    def _delayed(self, messages: list[Any], shown: dict[str, int]) -> Held:
        soonest = nsmallest(SHOWN_MAX, messages, key=_eta)
        for message in soonest:
            # Large batches, and the same ones again every couple of seconds: counted once.
            id_ = message.message_id
            known = self._commands.get(id_)
            shown[id_] = _count(message) if known is None else known
        return {
            "delayed_held": len(messages),
            "next_eta_ms": _eta(soonest[0]) if soonest else None,
            "delayed": [_shown(message, shown[message.message_id]) for message in soonest],
        }


def delayed_by_actor(consumers: Iterable[Any]) -> Mapping[str, int]:
    """How many delayed messages are held, by actor."""
    counts: dict[str, int] = {}
    for thread in consumers:
        if thread.queue_name == dq_name(thread.queue_name):
            for message in list(getattr(thread.consumer, "held", {}).values()):
                counts[message.actor_name] = counts.get(message.actor_name, 0) + 1
    return counts


def _nothing() -> Held:
    return {
        "unacked": 0, "oldest_ms": None, "delayed_held": 0, "next_eta_ms": None, "delayed": [],
    }  # fmt: skip


def _waiting(messages: list[Any]) -> Held:
    stamps = [message.message_timestamp for message in messages]
    return {"unacked": len(stamps), "oldest_ms": min(stamps, default=None)}


def _eta(message: Any) -> int:
    eta: int = message.options.get("eta", 0)
    return eta


def _shown(message: Any, count: int) -> Held:
    return {
        "message_id": message.message_id,
        "actor": message.actor_name,
        "eta_ms": _eta(message),
        "retries": message.options.get("retries", 0),
        "error": _error(message.options.get("traceback")),
        "commands": count,
    }


def _error(traceback: str | None) -> str:
    """What a traceback says last, as PostgreSQL can hold it."""
    lines = (traceback or "").strip().splitlines()
    last = lines[-1][:ERROR_CHARACTERS_MAX] if lines else ""
    return last.replace("\x00", "\\0").encode(errors="backslashreplace").decode()


def _count(message: Any) -> int:
    try:
        return len(commands.split(message.kwargs["commands"]))
    except (KeyError, msgspec.DecodeError, RecursionError):
        return 0
