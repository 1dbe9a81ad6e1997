"""/openapi.json."""

from typing import Any


class OpenApi:
    """GET gives the document, open to all. encoded: it does not change while the process runs."""

    def __init__(self, encoded: bytes) -> None:
        self._encoded = encoded

    async def on_get(self, _req: Any, resp: Any) -> None:
        resp.content_type = "application/json"
        resp.data = self._encoded
