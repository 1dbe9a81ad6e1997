"""/docs: the HTTP API, to be read and tried."""

from typing import Any

from web.dashboard.page import Deps, Routes


class Docs:
    """GET shows /openapi.json by Swagger UI. Open to all; a key typed there stays in the page."""

    def __init__(self, deps: Deps) -> None:
        self._templates = deps.templates

    async def on_get(self, req: Any, resp: Any) -> None:
        resp.content_type = "text/html; charset=utf-8"
        resp.text = self._templates.render(req, "docs.html")


def routes(deps: Deps) -> Routes:
    return {"/docs": Docs(deps)}
