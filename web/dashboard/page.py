"""What every page is built on: who is looking, how a page is rendered, what pages share."""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from actors.commands import Origin
from config import Settings
from models.queries.api_keys import Key
from web.answers import Reads
from web.dashboard.snapshot import Snapshots
from web.dashboard.templating import Templates
from web.decisions import Decisions
from web.ids import IdMint
from web.intake import Intake
from web.reading import Lists

READ: Final = "dashboard:read"
OPERATE: Final = "dashboard:operate"
#: Where a list of a page's addresses and resources is put together: `routes(deps)`.
Routes = Mapping[str, object]


class Session(NamedTuple):
    """Who is looking. csrf: the token that forms carry; empty for a bearer key, which needs none.

    origin: the same person as commands name it.
    """

    key: Key
    csrf: str
    may_operate: bool
    origin: Origin


class Deps(NamedTuple):
    """What pages share, one of each per process."""

    settings: Settings
    templates: Templates
    lists: Lists
    found: Reads
    intake: Intake
    decisions: Decisions
    mint: IdMint
    snapshots: Snapshots


class Page:
    """A resource whose GET is for readers and whose POST is for operators.

    The middleware (web/dashboard/access.py) has checked both, and a POST's token, before a method
    runs: `req.context.session` is the Session, `req.context.form` the Form of a POST.

    page_scope: "" is open to all; fields: what its address may carry behind a `?`, but for `done`
    (see acting.py), which leads back to any page; form: the fields of its POST, beside `csrf` and
    `key`; form_lists: those that may be repeated; for_people: False where a script asks (it is led
    to no sign-in page, and its errors are no HTML); browsers_only: a POST comes from a page of
    ours, whatever key it carries; with_token: and it carries the session's token; fresh_counts: the
    counts beside the navigation are asked for anew, since the page shows what an action does.
    """

    page_scope: str = READ
    post_scope: str = OPERATE
    fields: tuple[str, ...] = ()
    form: tuple[str, ...] = ()
    form_lists: tuple[str, ...] = ()
    for_people: bool = True
    browsers_only: bool = False
    with_token: bool = True
    fresh_counts: bool = False

    def __init__(self, deps: Deps) -> None:
        self.deps = deps
        fields = (*self.fields, "done") if self.for_people else self.fields
        #: As web/request_policy.py takes it.
        self.query = {"GET": fields, "POST": fields}

    def render(
        self, req: Any, resp: Any, template: str, *, status: int = 200, **context: object
    ) -> None:
        """Answer with a template."""
        resp.status = status
        resp.content_type = "text/html; charset=utf-8"
        resp.text = self.deps.templates.render(req, template, **context)


def redirect(resp: Any, address: str) -> None:
    """Answer a POST with an address to look at (303)."""
    resp.status = 303
    resp.set_header("Location", address)
