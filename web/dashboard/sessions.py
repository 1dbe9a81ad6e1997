"""Sessions as signed cookies: nothing is kept here, and a revoked key ends them within seconds."""

import secrets
from hashlib import sha256
from typing import Any, Final, NamedTuple

import itsdangerous

from config import Settings
from models.queries.api_keys import Key
from web.dashboard import transport

SALT: Final = "holdfast.dashboard.session"


class Ticket(NamedTuple):
    """What a cookie says: whose key it was made from, and the token of its forms."""

    key_id: str
    csrf: str


class Sessions:
    """Writes and reads the cookie.

    Over TLS it is `__Host-…`, which no neighbouring host can set and no plain connection carries.
    Browsers keep that from plain HTTP, so on loopback its name is plain and has the port, since
    all ports of a host share cookies. Over plain HTTP elsewhere there are no sessions.
    """

    def __init__(self, given: Settings) -> None:
        self._age_max_s = int(given.session_hours * 3600)
        # Its key comes from SECRET_KEY and the salt: no other signature of ours is one of these.
        self._signer = itsdangerous.TimestampSigner(
            given.secret_key, salt=SALT, key_derivation="hmac", digest_method=sha256
        )

    def start(self, req: Any, resp: Any, key: Key) -> None:
        """Sign in. Only where `possible`."""
        text = self._signer.sign(f"{key.id}:{secrets.token_urlsafe(24)}").decode()
        self._set(req, resp, text, self._age_max_s)

    def end(self, req: Any, resp: Any) -> None:
        """Sign out."""
        if possible(req):
            self._set(req, resp, "", 0)

    def read(self, req: Any) -> Ticket | None:
        """Who the cookie says it is, None without a good one."""
        # Of two, nobody can say which is the browser's own.
        texts = req.get_cookie_values(_name(req)) if possible(req) else None
        if texts is None or len(texts) > 1:
            return None
        (text,) = texts
        try:
            key_id, _, csrf = self._signer.unsign(text, self._age_max_s).decode().rpartition(":")
        except itsdangerous.BadData:
            return None
        return Ticket(key_id, csrf)

    @staticmethod
    def _set(req: Any, resp: Any, text: str, age_max_s: int) -> None:
        resp.set_cookie(
            _name(req), text, max_age=age_max_s, path="/", http_only=True,
            # Lax: a link that a colleague sends opens where it leads. No GET changes anything.
            same_site="Lax", secure=transport.is_encrypted(req),
        )  # fmt: skip


def possible(req: Any) -> bool:
    """Whether a cookie may travel: over TLS, or not over a network at all."""
    return transport.is_encrypted(req) or transport.is_loopback(req)


def _name(req: Any) -> str:
    if transport.is_encrypted(req):
        return "__Host-holdfast"
    return f"holdfast-{transport.port(req) or 80}"
