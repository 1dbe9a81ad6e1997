"""The traces that the commands of a message belong to, read without knowing what they ask for."""

from typing import Any

import msgspec

from actors.commands import TraceParent


class Traced(msgspec.Struct):
    """Of a command, what says where it comes from."""

    id: str
    traceparent: TraceParent | None = None

    @property
    def trace_id(self) -> str:
        """32 hex digits: the client's own trace, or the command's id."""
        parent = self.traceparent
        return self.id.replace("-", "") if parent is None else parent[3:35]


_decoder = msgspec.json.Decoder(list[Traced])


def traced(message: Any) -> list[Traced]:
    """The commands of a message; none where they can't be read."""
    try:
        return _decoder.decode(message.kwargs["commands"])
    except (KeyError, TypeError, ValueError, RecursionError):
        # ValueError: what is no UTF-8 is none of msgspec's own errors.
        return []
