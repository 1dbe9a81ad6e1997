"""Who may see and do what on the pages: sessions and bearer keys, CSRF, what browsers may load."""

import asyncio
import secrets
from collections.abc import Callable
from hmac import compare_digest
from typing import Any, Final
from urllib.parse import urlencode

import falcon

from actors.commands import Origin
from models.queries.api_keys import Key
from models.rules.order_status import PENDING
from web.auth import Keyring
from web.dashboard import acting, transport
from web.dashboard.errors import as_page
from web.dashboard.forms import read_form
from web.dashboard.page import OPERATE, Deps, Page, Session
from web.dashboard.sessions import Sessions
from web.dashboard.snapshot import Counts
from web.problems import Problem
from web.request_policy import takes

#: Counts beside the navigation are nice to have; no page waits for them longer.
NAV_WAIT_S: Final = 0.3
#: After an action they are what somebody looks for.
FRESH_WAIT_S: Final = 1.5
SAFE: Final = ("GET", "HEAD")
#: As long as an Origin's members may be.
NAME_MAX: Final = 100
AGENT_MAX: Final = 300
_HEADERS: Final = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}


class Access:
    """Falcon middleware for everything under /dashboard."""

    def __init__(
        self, deps: Deps, keyring: Keyring, sessions: Sessions, clients: transport.Clients,
        charge: Callable[[Key, Any], Any],
    ) -> None:  # fmt: skip
        self._deps = deps
        self._clients = clients
        self._keyring = keyring
        self._sessions = sessions
        self._charge = charge

    async def process_request(self, req: Any, resp: Any) -> None:
        if not ours(req):
            return
        req.context.nonce = secrets.token_urlsafe(18)
        resp.set_headers(_HEADERS)
        resp.set_header("Content-Security-Policy", policy(req.context.nonce))
        resp.set_header("Cache-Control", "no-store")

    async def process_resource(self, req: Any, resp: Any, resource: Any, _params: Any) -> None:
        if not isinstance(resource, Page):
            return
        session = await self.who(req)
        req.context.session = session
        if not takes(resource, req.method):
            # 405, or OPTIONS: its answer tells and changes nothing.
            return
        if req.method not in SAFE:
            await _check_sender(req, resource, session)
        if not resource.page_scope:
            return
        if session is None:
            raise _sign_in_first(req, resource)
        if session.key.rate_limit is not None:
            await self._charge(session.key, resp)
        _check_scope(req, resource, session)
        if resource.for_people:
            await self._prepare(req, resource)

    async def process_response(self, req: Any, resp: Any, resource: Any, _succeeded: bool) -> None:
        if ours(req):
            as_page(self._deps.templates, req, resp, resource)

    async def who(self, req: Any) -> Session | None:
        """Who asks, None for nobody. A bearer key counts alone, whatever cookie comes with it."""
        token = transport.bearer(req)
        csrf = ""
        if token is not None:
            key = await self._keyring.find(token) if token else None
        else:
            ticket = self._sessions.read(req)
            key = None if ticket is None else await self._keyring.by_id(ticket.key_id)
            csrf = "" if ticket is None else ticket.csrf
        if key is None:
            return None
        return Session(key, csrf, OPERATE in key.scopes, self._origin(req, key))

    def _origin(self, req: Any, key: Key) -> Origin:
        """Who asks, within what a command may say of it."""
        said = (key.id, key.name, self._clients.address(req), req.get_header("User-Agent") or "")
        bounds = (NAME_MAX, NAME_MAX, NAME_MAX, AGENT_MAX)
        return Origin(
            *(text.replace("\0", "")[:most] for text, most in zip(said, bounds, strict=True))
        )

    async def _prepare(self, req: Any, resource: Page) -> None:
        """What base.html shows around a page."""
        done = req.get_param("done")
        req.context.done = await acting.outcome(self._deps, done) if done else None
        acted = resource.fresh_counts or (req.context.done and req.context.done.status != PENDING)
        req.context.nav = await self._counts(fresh=bool(acted))

    async def _counts(self, *, fresh: bool) -> Counts:
        """What stands beside the navigation; fresh: an action may just have changed it."""
        snapshots = self._deps.snapshots
        try:
            async with asyncio.timeout(FRESH_WAIT_S if fresh else NAV_WAIT_S):
                return (await (snapshots.fresh() if fresh else snapshots.get())).counts()
        except TimeoutError:
            return snapshots.last_counts()


def ours(req: Any) -> bool:
    """Whether a request is for a page, or for what belongs to one."""
    path = req.path
    return bool(path in {"/", "/dashboard", "/docs"} or path.startswith("/dashboard/"))


def policy(nonce: str) -> str:
    """The Content-Security-Policy: nothing but what we serve, and scripts only by this nonce."""
    return (
        f"default-src 'none'; script-src 'nonce-{nonce}'; style-src 'self'; img-src 'self' data:; "
        "connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
    )


async def _check_sender(req: Any, resource: Page, session: Session | None) -> None:
    """Whether a page of ours sent this, with the token that it was given; reads the form."""
    by_bearer = transport.bearer(req) is not None
    if (resource.browsers_only or not by_bearer) and (why := transport.why_foreign(req)):
        raise _forged(f"We can't tell whether a page of this site sent it. {why}")
    req.context.form = form = await read_form(
        req, ("csrf", "key", *resource.form), resource.form_lists
    )
    if session is None or by_bearer or not resource.with_token:
        return
    token = req.get_header("X-CSRF-Token") or form.text("csrf")
    if not compare_digest(token.encode(), session.csrf.encode()):
        raise _forged("The form is from another session. Open the page again and repeat it.")


def _forged(detail: str) -> Problem:
    return Problem(403, "forbidden", "Not allowed", f"{detail} Nothing was changed.")


def _sign_in_first(req: Any, resource: Page) -> Exception:
    if req.method == "GET" and resource.for_people and transport.bearer(req) is None:
        asked = req.path + (f"?{req.query_string}" if req.query_string else "")
        query = "" if asked == "/dashboard" else "?" + urlencode({"next": asked})
        return falcon.HTTPSeeOther(f"/dashboard/sign-in{query}")
    return Problem(
        401, "unauthorized", "Not signed in", "Sign in, or send a valid API key.",
        headers={"WWW-Authenticate": 'Bearer realm="holdfast"'},
    )  # fmt: skip


def _check_scope(req: Any, resource: Page, session: Session) -> None:
    scopes = session.key.scopes
    if req.method not in SAFE:
        if resource.post_scope and resource.post_scope not in scopes:
            raise Problem(
                403, "forbidden", "Not allowed",
                f"The key {session.key.name} may look, but not change anything: it lacks the "
                f"scope {resource.post_scope}. Nothing was changed.",
            )  # fmt: skip
    elif scopes.isdisjoint({resource.page_scope, OPERATE}):
        raise Problem(
            403, "forbidden", "Not allowed", f"This key lacks the scope {resource.page_scope}."
        )
