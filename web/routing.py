"""Falcon's router, for addresses exactly as they are written."""

from typing import Any

from falcon.routing import CompiledRouter

from web.problems import nothing_at


class ExactRouter(CompiledRouter):
    """Knows an address by its own spelling alone: Falcon's takes away slashes at the start, and
    uvicorn reads %2F as one, so that one address could be written in ways that others, such as
    rules about a path, do not know."""

    def find(self, uri: str, req: Any = None) -> Any:
        """Raises Problem (404) where a slash is doubled or escaped."""
        written: bytes = req.scope["raw_path"] if req is not None else b""
        if "//" in uri or (b"%" in written and b"%2f" in written.lower()):
            raise nothing_at(written.decode("latin-1"), slashes=True)
        return super().find(uri, req)
