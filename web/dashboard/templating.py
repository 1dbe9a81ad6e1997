"""Jinja2 as the pages use it: everything escaped, nothing undefined, words for people."""

import secrets
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import jinja2

from config import Settings
from web.dashboard import words
from web.dashboard.snapshot import Counts, Snapshot
from web.dashboard.static import StaticFiles

FOLDER: Final = Path(__file__).parent / "templates"


class Templates:
    """Renders the pages. `render` adds what base.html needs to what a page hands in."""

    def __init__(self, given: Settings, static: StaticFiles) -> None:
        self._environment = jinja2.Environment(
            loader=jinja2.FileSystemLoader(FOLDER),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
        )
        self._environment.globals.update(
            static=static.address,
            environment=given.environment,
            fresh_key=lambda: secrets.token_urlsafe(16),
        )
        self._environment.filters.update(words.FILTERS)

    def render(self, req: Any, template: str, **context: object) -> str:
        """A page for whoever asks. Always there: session (None for nobody), csrf, may_operate,
        nonce, now, path, done (the outcome of an action, see acting.py; None without), nav
        (counts beside the navigation)."""
        session = getattr(req.context, "session", None)
        always: dict[str, object] = {
            "session": session,
            "csrf": session.csrf if session else "",
            "may_operate": bool(session and session.may_operate),
            "nonce": req.context.nonce,
            "now": _now(context),
            "path": req.path,
            "done": getattr(req.context, "done", None),
            "nav": getattr(req.context, "nav", Counts()),
        }
        return self._environment.get_template(template).render(always | context)

    def fragment(self, template: str, *, may_operate: bool, **context: object) -> str:
        """A part of a page that is the same for all of a role: no session, no token."""
        always: dict[str, object] = {"may_operate": may_operate, "csrf": "", "now": _now(context)}
        return self._environment.get_template(template).render(always | context)


def _now(context: Mapping[str, object]) -> datetime:
    """The time that a page's "ago" counts from: a snapshot's own, by the database's clock."""
    snapshot = context.get("snapshot")
    return snapshot.at if isinstance(snapshot, Snapshot) else datetime.now(UTC)
