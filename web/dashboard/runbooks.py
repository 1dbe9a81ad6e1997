"""Runbooks: what to do about a trouble that the verdict names, as docs/runbooks has it."""

import re
from pathlib import Path
from typing import Any, Final

from web.dashboard.page import Deps, Page, Routes
from web.problems import not_found

FOLDER: Final = Path(__file__).parents[2] / "docs" / "runbooks"
_NAME: Final = re.compile(r"[A-Za-z]{1,64}")


class Runbooks(Page):
    """GET lists them."""

    async def on_get(self, req: Any, resp: Any) -> None:
        names = sorted(file.stem for file in FOLDER.glob("*.md") if file.stem != "README")
        self.render(req, resp, "runbooks.html", names=names)


class Runbook(Page):
    """GET shows one as it is written: it has to be of use in a terminal, too."""

    async def on_get(self, req: Any, resp: Any, name: str) -> None:
        file = FOLDER / f"{name}.md"
        if _NAME.fullmatch(name) is None or not file.is_file():
            raise not_found(f"There is no runbook {name[:64]}.")
        title, _, text = file.read_text(encoding="utf-8").partition("\n")
        self.render(req, resp, "runbook.html", title=title.lstrip("# "), text=text.strip())


def routes(deps: Deps) -> Routes:
    return {
        "/dashboard/runbooks": Runbooks(deps),
        "/dashboard/runbooks/{name}": Runbook(deps),
    }
