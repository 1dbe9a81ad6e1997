"""Which messages a worker has that no queue shows: with its threads, or held until they are due."""

from collections.abc import Iterable, Mapping
from heapq import nsmallest
from typing import Any, Final

import msgspec
from dramatiq.common import dq_name, q_name

from actors import commands
from actors.health import PutBack
from models.rules.ascii_text import readable

#: Delayed messages that are shown one by one.
SHOWN_MAX: Final = 20
ERROR_CHARACTERS_MAX: Final = 200

Held = dict[str, Any]


#: Why a message waits for its time; the dashboard has the words.
FAILED: Final = "failed"
PASSING: Final = "passing"
SPLIT: Final = "split"
GOES_ON: Final = "goes_on"
PUT_BACK: Final = "put_back"


class Holdings:
    """What the consumers of a worker hold, as `models.queries.workers.WorkerReport` has it."""

    def __init__(self) -> None:
        # How many commands the messages that were shown last have, by id.
        self._counts: dict[str, int] = {}

    def of(self, consumers: Iterable[Any], came_back: Iterable[PutBack] = ()) -> dict[str, Held]:
        """By main queue; consumers: the worker's consumer threads; came_back: its put-backs."""
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
        for message in came_back:
            if message.queue in found:
                found[message.queue]["put_back"].append(msgspec.to_builtins(message))
        self._counts = shown
        return found

    def _delayed(self, messages: list[Any], shown: dict[str, int]) -> Held:
        soonest = nsmallest(SHOWN_MAX, messages, key=_eta)
        for message in soonest:
            # Large batches, and the same ones again every couple of seconds: read once.
            id_ = message.message_id
            shown[id_] = self._counts.get(id_) or _count(message)
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
        "put_back": [],
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
        "reason": _reason(message),
        "error": _error(message.options.get("traceback")),
        "commands": count,
    }


def _reason(message: Any) -> str:
    """Told by what the only senders of delayed messages write into them: actors/retries.py, the
    actor of operations, and actors/requeue.py."""
    if message.options.get("traceback") or message.options.get("retries"):
        return PASSING if message.options.get("passing") else FAILED
    if message.actor_name == commands.ROUTES[commands.Operate].actor:
        return GOES_ON
    return SPLIT if "retries" in message.options else PUT_BACK


def _error(traceback: str | None) -> str:
    """What a traceback says of its error, as any encoding of PostgreSQL can hold it.

    That is the line below the last frame: PostgreSQL's own errors go on with DETAIL and CONTEXT.
    """
    last = (traceback or "").rpartition("Traceback (most recent call last):\n")[2]
    lines = (line for line in last.splitlines() if line and not line[0].isspace())
    return readable(next(lines, "")[:ERROR_CHARACTERS_MAX])


def _count(message: Any) -> int:
    try:
        return len(commands.split(message.kwargs["commands"]))
    except (KeyError, ValueError, RecursionError):
        return 0
