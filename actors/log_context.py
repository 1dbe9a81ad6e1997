"""What a log line about a message is about: its id and the traces of its commands.

A worker's thread remembers the message it works on, and no more: only a line that is written makes
anyone look into it.
"""

import logging
import threading
from typing import Any

from dramatiq.middleware import Middleware

from actors.traces import traced

TRACES_MAX = 5
_CACHED = "_holdfast_about"

_current = threading.local()


def about(message: Any) -> dict[str, Any]:
    """A message as extras of a log line. trace.id: of its first command, for most have one."""
    # A batch is large and a message may have many lines: it is read for the first one.
    known: dict[str, Any] | None = message.__dict__.get(_CACHED)
    if known is None:
        known = message.__dict__[_CACHED] = _read(message)
    return known


def _read(message: Any) -> dict[str, Any]:
    traces = [command.trace_id for command in traced(message)]
    found = {
        "holdfast.message_id": message.message_id,
        "holdfast.actor": message.actor_name,
        "holdfast.commands": len(traces),
    }
    if traces:
        found["trace.id"] = traces[0]
    if len(traces) > 1:
        found["holdfast.trace_ids"] = traces[:TRACES_MAX]
    return found


def current_message() -> Any:
    """What this thread works on; None outside of a message."""
    return getattr(_current, "message", None)


class LogContext(Middleware):
    """Remembers what each thread works on. First of all middleware, so that it forgets last."""

    def before_process_message(self, _broker: Any, message: Any) -> None:
        _current.message = message

    def after_process_message(
        self,
        _broker: Any,
        _message: Any,
        *,
        result: Any = None,  # noqa: ARG002 - the name is Dramatiq's
        exception: BaseException | None = None,  # noqa: ARG002 - the name is Dramatiq's
    ) -> None:
        _current.message = None

    def after_skip_message(self, _broker: Any, _message: Any) -> None:
        _current.message = None


class CurrentMessage(logging.Filter):
    """Adds what a thread works on to each of its lines. Never raises: Dramatiq logs where an error
    would have its message acknowledged, failed or not.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        message = current_message()
        if message is None:
            return True
        try:
            for name, value in about(message).items():
                record.__dict__.setdefault(name, value)
        except Exception as error:  # a line that says less is better than a message lost
            record.__dict__.setdefault("holdfast.unknown", repr(error))
        return True
