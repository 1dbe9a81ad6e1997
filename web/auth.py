"""Who asks, and may they: API keys as bearer tokens, by scope."""

import asyncio
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import peewee

from models.queries import api_keys
from models.queries.api_keys import Key
from web.problems import Problem, unavailable
from web.reading import Reader

#: Bad tokens remembered at once; who tries made-up ones must not fill the memory.
CACHE_MAX = 10_000
#: While the database is away, a key known this long ago is still taken.
STALE_MAX_S = 600.0
#: So long does a known key wait for the database to say that it is still good.
KNOWN_WAIT_S = 0.3


_OPEN: dict[str, tuple[str, ...]] = {}


class Asking(NamedTuple):
    """A look-up that is under way. since: monotonic."""

    since: float
    task: asyncio.Task[Key | None]


class Keyring:
    """Looks keys up and remembers them for a few seconds (so long may a revoked one live on)."""

    def __init__(self, reader: Reader, cache_s: float) -> None:
        self._reader = reader
        self._cache_s = cache_s
        self._known: dict[bytes, tuple[float, Key]] = {}
        self._unknown: dict[bytes, float] = {}
        self._asking: dict[bytes, Asking] = {}

    async def find(self, token: str) -> Key | None:
        """The key of a token, None if there is none. Raises Problem (503) if it can't be told."""
        digest = api_keys.hash_token(token)
        return await self._cached(digest, api_keys.find, digest)

    async def by_id(self, key_id: str) -> Key | None:
        """The key of a session, None where it was revoked since; as `find`."""
        # Shorter than any digest, so that neither is taken for the other.
        return await self._cached(key_id.encode()[:31], api_keys.by_id, key_id)

    async def _cached(self, name: bytes, read: Callable[[Any], Key | None], by: Any) -> Key | None:
        now = time.monotonic()
        known = self._known.get(name)
        if known is not None and now - known[0] < self._cache_s:
            return known[1]
        if now - self._unknown.get(name, -self._cache_s) < self._cache_s:
            return None
        asking = self._asking.get(name) or self._ask(name, read, by)
        stale = known[1] if known is not None and now - known[0] < STALE_MAX_S else None
        if stale is not None:
            # A database that hangs has its say later: the look-up goes on behind.
            left_s = asking.since + KNOWN_WAIT_S - now
            await asyncio.wait([asking.task], timeout=max(0.0, left_s))
            if not asking.task.done():
                return stale
        try:
            return await asyncio.shield(asking.task)
        except (peewee.DatabaseError, peewee.InterfaceError):
            if stale is not None:
                return stale
            raise unavailable("API keys can't be looked up") from None

    def _ask(self, name: bytes, read: Callable[[Any], Key | None], by: Any) -> Asking:
        task = asyncio.create_task(self._look_up(name, read, by))
        asking = self._asking[name] = Asking(time.monotonic(), task)

        def done(task: asyncio.Task[Key | None]) -> None:
            self._asking.pop(name, None)
            # Where nobody waits any more, its fault is no news.
            if not task.cancelled():
                task.exception()

        task.add_done_callback(done)
        return asking

    async def _look_up(self, name: bytes, read: Callable[[Any], Key | None], by: Any) -> Key | None:
        key = await self._reader.run(read, by)
        if key is None:
            self._known.pop(name, None)
            if len(self._unknown) >= CACHE_MAX:
                self._unknown.clear()
            self._unknown[name] = time.monotonic()
        else:
            self._known[name] = (time.monotonic(), key)
        return key


class Authentication:
    """Falcon middleware: a resource names, in `scopes`, what each of its methods asks for.

    Any one of the scopes named is enough; a method without one is open to all.
    """

    def __init__(self, keyring: Keyring, charge: Callable[[Key, Any], Any]) -> None:
        self._keyring = keyring
        self._charge = charge

    async def process_resource(self, req: Any, resp: Any, resource: Any, _params: Any) -> None:
        scopes = getattr(resource, "scopes", _OPEN).get(req.method)
        if scopes is None:
            return
        scheme, _, token = (req.get_header("Authorization") or "").partition(" ")
        key = None
        if scheme.lower() == "bearer" and token.strip():
            key = await self._keyring.find(token.strip())
        if key is None:
            raise _unauthorized()
        if key.rate_limit is not None:
            await self._charge(key, resp)
        if key.scopes.isdisjoint(scopes):
            raise Problem(
                403, "forbidden", "Not allowed", f"This key lacks the scope {' or '.join(scopes)}."
            )
        req.context.client = key.id


def _unauthorized() -> Problem:
    return Problem(
        401,
        "unauthorized",
        "Not signed in",
        "Send a valid API key: `Authorization: Bearer <key>`.",
        headers={"WWW-Authenticate": 'Bearer realm="holdfast"'},
    )
