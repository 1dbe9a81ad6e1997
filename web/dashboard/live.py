"""Pages that stay current: one fragment per snapshot and role, the same bytes for all who look."""

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from typing import Any, Final, NamedTuple

from falcon.asgi import SSEvent

from web.auth import Keyring
from web.dashboard.page import Deps, Page, Session
from web.dashboard.snapshot import Snapshot
from web.metrics import figures
from web.problems import not_found, unavailable

#: Beyond these a page polls.
VIEWERS_MAX: Final = 200
#: Of these with one key: three browsers full of tabs.
VIEWERS_PER_KEY_MAX: Final = 12
#: No event waits longer to hear that its key is still good.
KEY_WAIT_S: Final = 0.3
KEEP_ALIVE_S: Final = 15.0
RETRY_MS: Final = 2_000
#: A stream begins anew after this long, and so does its sign-in.
STREAM_MAX_S: Final = 900.0


class Live(NamedTuple):
    """A page's live part. context: what its template shows of a snapshot."""

    template: str
    context: Callable[[Snapshot, Deps], Mapping[str, object]]


class Packed(SSEvent):
    """An event in its final bytes."""

    __slots__ = ("packed",)

    def __init__(self, packed: bytes) -> None:
        super().__init__(comment="packed")
        self.packed = packed

    def serialize(self, handler: Any = None) -> bytes:  # noqa: ARG002 - falcon's signature
        return self.packed


class Viewers:
    """Who looks at the moment, over all pages."""

    def __init__(self) -> None:
        self.count = 0
        self._by_key: Counter[str] = Counter()
        self._closing = asyncio.Event()

    def check(self, key_id: str) -> None:
        """Raises Problem (503) where nobody more may look, or nobody with this key."""
        if self.count >= VIEWERS_MAX or self.closing:
            raise unavailable("Too many look at once", retry_after_s=30)
        if self._by_key[key_id] >= VIEWERS_PER_KEY_MAX:
            raise unavailable("Too many look at once with this key", retry_after_s=30)

    @contextlib.contextmanager
    def place(self, key_id: str) -> Iterator[None]:
        """One who looks."""
        self._by_key[key_id] += 1
        figures.sse_viewers = self.count = self.count + 1
        try:
            yield
        finally:
            figures.sse_viewers = self.count = self.count - 1
            self._by_key[key_id] -= 1
            if not self._by_key[key_id]:
                del self._by_key[key_id]

    def close(self) -> None:
        """End all streams: the process is about to stop."""
        self._closing.set()

    @property
    def closing(self) -> bool:
        return self._closing.is_set()

    async def wait(self, for_: Any, seconds: float) -> Any:
        """What a coroutine returns; None when it took too long or the process stops."""
        asked = asyncio.ensure_future(for_)
        closing = asyncio.ensure_future(self._closing.wait())
        try:
            await asyncio.wait(
                {asked, closing}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED
            )
            return asked.result() if asked.done() else None
        finally:
            asked.cancel()
            closing.cancel()


class LiveFragment(Page):
    """GET streams a page's live part as it changes; with ?poll=1 it gives it once."""

    fields = ("poll",)
    for_people = False

    def __init__(
        self, deps: Deps, keyring: Keyring, viewers: Viewers, pages: Mapping[str, Live]
    ) -> None:
        super().__init__(deps)
        self._keyring = keyring
        self._viewers = viewers
        self._pages = pages
        self._events: dict[tuple[str, bool], tuple[int, Packed]] = {}

    async def on_get(self, req: Any, resp: Any, page: str) -> None:
        live = self._pages.get(page)
        if live is None:
            raise not_found(f"There is no live page {page[:64]}.")
        session: Session = req.context.session
        if req.get_param("poll"):
            resp.content_type = "text/html; charset=utf-8"
            snapshot = await self.deps.snapshots.get()
            resp.text = self._fragment(live, snapshot, session.may_operate)
            return
        self._viewers.check(session.key.id)
        resp.set_header("X-Accel-Buffering", "no")
        resp.sse = self._stream(page, live, session)

    async def _stream(self, page: str, live: Live, session: Session) -> AsyncIterator[SSEvent]:
        viewers = self._viewers
        number = 0
        ends_at = time.monotonic() + STREAM_MAX_S
        with viewers.place(session.key.id):
            yield Packed(b"retry: %d\n\n" % RETRY_MS)
            while not viewers.closing and time.monotonic() < ends_at:
                # The key is looked at while the snapshot is awaited: neither keeps the other.
                snapshot, good = await asyncio.gather(
                    viewers.wait(self.deps.snapshots.newer(number), KEEP_ALIVE_S),
                    self._still_good(session),
                )
                if not good:
                    return
                if snapshot is None:
                    yield SSEvent(comment="still here")
                else:
                    number = snapshot.number
                    yield self._event(page, live, snapshot, session.may_operate)

    async def _still_good(self, session: Session) -> bool:
        # A database that is away or does not answer ends no session.
        with contextlib.suppress(Exception):
            async with asyncio.timeout(KEY_WAIT_S):
                return await self._keyring.by_id(session.key.id) is not None
        return True

    def _event(self, page: str, live: Live, snapshot: Snapshot, may_operate: bool) -> Packed:
        known = self._events.get((page, may_operate))
        if known is not None and known[0] == snapshot.number:
            return known[1]
        lines = self._fragment(live, snapshot, may_operate).splitlines()
        text = "".join(f"data: {line.strip()}\n" for line in lines if line.strip())
        packed = Packed(f"id: {snapshot.number}\n{text}\n".encode())
        self._events[page, may_operate] = (snapshot.number, packed)
        return packed

    def _fragment(self, live: Live, snapshot: Snapshot, may_operate: bool) -> str:
        context = live.context(snapshot, self.deps)
        shown = {**context, "snapshot": snapshot, "live_template": live.template}
        return self.deps.templates.fragment("live.html", may_operate=may_operate, **shown)


class LivePage(Page):
    """A page around a live part: complete by itself, current where scripts run."""

    template: str
    live: Live

    async def on_get(self, req: Any, resp: Any) -> None:
        snapshot = await self.deps.snapshots.get()
        context: dict[str, Any] = {
            **self.live.context(snapshot, self.deps),
            **await self.more(req, snapshot),
        }
        self.render(
            req, resp, self.template, snapshot=snapshot, live_template=self.live.template, **context
        )

    async def more(self, _req: Any, _snapshot: Snapshot) -> Mapping[str, object]:
        """What the page shows around the live part."""
        return {}
