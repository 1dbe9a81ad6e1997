"""The trace that a request belongs to: W3C Trace Context, carried on in commands.

https://www.w3.org/TR/trace-context/. A request that names none is its own: the id of its command,
32 hex digits, is the id of the trace.
"""

import re
from typing import Any
from uuid import uuid4

# Later versions may say more behind what version 00 says; ff is none.
_TRACEPARENT = re.compile(
    r"(?:00|(?!00|ff)[0-9a-f]{2}(?=.{53}(?:-.*)?\Z))"
    r"-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}"
)


def parse_traceparent(header: str | None) -> str | None:
    """A `traceparent` as version 00 writes it; None for one that is malformed, as without one."""
    if header is None:
        return None
    match = _TRACEPARENT.match(header)
    if match is None or (header[:2] == "00" and match.end() != len(header)):
        return None
    return f"00{match[0][2:]}"


def traceparent(req: Any) -> str | None:
    """The context that a request came with, or that of its span where spans are recorded."""
    span = getattr(req.context, "traceparent", None)
    return span or parse_traceparent(req.get_header("traceparent"))


def about(req: Any) -> dict[str, Any]:
    """What a log line about a request names: its trace, and the API key that asks."""
    session = getattr(req.context, "session", None)
    asking = getattr(req.context, "client", None) if session is None else session.key.id
    return {"trace.id": trace_id(req), "user.id": asking}


def tell_trace(req: Any, resp: Any, command_id: str | None = None) -> str:
    """The id of a request's trace, put into the answer's head for clients and gateways, too."""
    found = trace_id(req, command_id)
    resp.set_header("Trace-Id", found)
    return found


def trace_id(req: Any, command_id: str | None = None) -> str:
    """The trace of a request, 32 hex digits: the client's own, its command's id, or a fresh one."""
    parent = traceparent(req)
    if parent is not None:
        return parent[3:35]
    command_id = command_id or getattr(req.context, "command_id", None)
    if command_id is None:
        # The same for its log lines and its answer.
        command_id = req.context.command_id = uuid4().hex
    return command_id.replace("-", "")
