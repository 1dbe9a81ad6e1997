"""Signing in with an API key, and out again."""

import logging
import time
from typing import Any, Final
from urllib.parse import urlsplit

from limits import parse
from limits.errors import StorageError

from config import Settings
from models.queries.api_keys import Key
from web.auth import Keyring
from web.dashboard.page import OPERATE, READ, Deps, Page, redirect
from web.dashboard.sessions import Sessions, possible
from web.dashboard.transport import Clients
from web.metrics import figures
from web.rate_limit import limiter
from web.tracing import about

logger = logging.getLogger(__name__)

HOME: Final = "/dashboard"
#: Refusals in the log each second: who tries on and on must not fill a disk.
LINES_MAX: Final = 10
_TLS_NEEDED: Final = (
    "Sessions need TLS: over plain HTTP anybody on the way could read your key. Put a TLS router "
    "in front that sends X-Forwarded-Proto: https, or tunnel to this machine and use 127.0.0.1."
)


class SignInLimit:
    """Attempts per client address, counted where client limits are."""

    def __init__(self, given: Settings, clients: Clients) -> None:
        self.clients = clients
        self._limiter = limiter(given.rate_limit_storage_url)
        self._limit = parse(given.sign_in_rate_limit)

    async def wait_s(self, req: Any) -> int | None:
        """Count an attempt; how long to wait where there were too many, else None."""
        by = ("sign-in", self.clients.network(req))
        try:
            if await self._limiter.hit(self._limit, *by):
                return None
            window = await self._limiter.get_window_stats(self._limit, *by)
        except StorageError as error:
            logger.warning("Attempts to sign in can't be counted: %s", error)
            return None
        return max(1, round(window.reset_time - time.time()))


class Refusals:
    """Counts the attempts that were refused, and says in the log from where they came."""

    def __init__(self) -> None:
        self._second = 0
        self._lines = 0

    def note(self, req: Any, outcome: str, network: str) -> None:
        """outcome: a word of few; nothing that the client sent stands in the line."""
        figures.sign_ins[outcome] += 1
        second = int(time.monotonic())
        if second != self._second:
            self._second, self._lines = second, 0
        self._lines += 1
        if self._lines <= LINES_MAX:
            logger.warning(
                "A sign-in from %s was refused: %s", network, outcome.replace("_", " "),
                extra=about(req),
            )  # fmt: skip


class SignIn(Page):
    """GET shows the form, POST takes a key and starts a session."""

    page_scope = ""
    fields = ("next",)
    form = ("next", "username", "api_key")
    browsers_only = True
    # Who signed in meanwhile in another tab may do so here, too.
    with_token = False

    def __init__(
        self, deps: Deps, keyring: Keyring, sessions: Sessions, limit: SignInLimit
    ) -> None:
        super().__init__(deps)
        self._keyring = keyring
        self._sessions = sessions
        self._limit = limit
        self._refusals = Refusals()

    async def on_get(self, req: Any, resp: Any) -> None:
        after = own_path(req.get_param("next") or HOME)
        if req.context.session is not None and req.context.session.csrf:
            redirect(resp, after)
            return
        self._show(req, resp, after, "" if possible(req) else _TLS_NEEDED)

    async def on_post(self, req: Any, resp: Any) -> None:
        after = own_path(req.context.form.text("next") or HOME)
        if not possible(req):
            self._refuse(req, resp, after, "no_tls", _TLS_NEEDED, 403)
            return
        wait_s = await self._limit.wait_s(req)
        if wait_s is not None:
            resp.set_header("Retry-After", str(wait_s))
            text = f"Too many attempts from your address. Try again in {wait_s} s."
            self._refuse(req, resp, after, "throttled", text, 429)
            return
        key = await self._keyring.find(req.context.form.text("api_key"))
        refusal = why_not(key)
        if key is None or refusal:
            outcome, status = ("wrong_scope", 403) if key else ("no_such_key", 401)
            self._refuse(req, resp, after, outcome, refusal, status)
            return
        self._sessions.start(req, resp, key)
        figures.sign_ins["signed_in"] += 1
        logger.info("%s signed in from %s", key.id, self._limit.clients.address(req))
        redirect(resp, after)

    def _refuse(
        self, req: Any, resp: Any, after: str, outcome: str, refusal: str, status: int
    ) -> None:
        self._refusals.note(req, outcome, self._limit.clients.network(req))
        self._show(req, resp, after, refusal, status)

    def _show(self, req: Any, resp: Any, after: str, refusal: str, status: int = 200) -> None:
        self.render(
            req, resp, "sign_in.html", status=status, after=after, refusal=refusal,
            possible=possible(req),
        )  # fmt: skip


class SignOut(Page):
    """POST ends the session of this browser."""

    post_scope = ""
    browsers_only = True

    def __init__(self, deps: Deps, sessions: Sessions) -> None:
        super().__init__(deps)
        self._sessions = sessions

    async def on_post(self, req: Any, resp: Any) -> None:
        self._sessions.end(req, resp)
        redirect(resp, "/dashboard/sign-in")


class Root:
    """/ leads to the dashboard, and so does its address with a slash behind."""

    async def on_get(self, _req: Any, resp: Any) -> None:
        redirect(resp, HOME)


def why_not(key: Key | None) -> str:
    """Why a key opens nothing here; empty where it does."""
    if key is None:
        return "There is no such key, or it was revoked."
    if key.scopes.isdisjoint({READ, OPERATE}):
        scopes = ", ".join(sorted(key.scopes)) or "none"
        return (
            f"The key “{key.name}” is good, but not for these pages: they need the scope {READ} or "
            f"{OPERATE}, and it has {scopes}."
        )
    return ""


def own_path(text: str) -> str:
    """A page of ours to go to, the first one instead of anything else."""
    try:
        parts = urlsplit(text)
    except ValueError:
        return HOME
    plain = text.isprintable() and text.isascii() and "\\" not in text
    ours = not parts.scheme and not parts.netloc and (parts.path + "/").startswith(HOME + "/")
    inside = "/../" not in parts.path + "/" and not parts.path.startswith("/dashboard/sign-")
    return text if plain and ours and inside else HOME
