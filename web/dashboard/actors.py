"""Actors and queues: what each does, how fast, and the switches: pause, resume, limit."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from actors.commands import (
    ACTORS_BY_QUEUE,
    ROUTES_BY_ACTOR,
    Operate,
    PauseQueue,
    ResumeQueue,
    SetRateLimit,
)
from actors.controls import NEVER_PAUSED
from web.dashboard import standing
from web.dashboard.acting import act
from web.dashboard.live import Live, LivePage
from web.dashboard.page import OPERATE, Deps, Page, Routes
from web.dashboard.snapshot import Snapshot
from web.intake import Wanted
from web.problems import not_found

HOME: Final = "/dashboard/actors"
REASON_MAX: Final = 300
_LIMIT: Final = re.compile(r"([1-9][0-9]{0,8})/([smh])")
PAUSABLE: Final = {
    queue: actors for queue, actors in ACTORS_BY_QUEUE.items() if queue != NEVER_PAUSED
}


def context(snapshot: Snapshot, deps: Deps) -> Mapping[str, object]:
    """What the live part shows."""
    facts = snapshot.facts.value
    return {
        "actors": [] if facts is None else standing.actors(facts, deps.settings),
        "queues": standing.queues(snapshot),
        "length_max": deps.settings.queue_length_max,
    }


LIVE = Live("actors_live.html", context)


class Actors(LivePage):
    """GET shows actors and queues."""

    template = "actors.html"
    live = LIVE


class Pause(Page):
    """GET asks for the reason, POST pauses a queue."""

    page_scope = OPERATE
    form = ("reason",)

    async def on_get(self, req: Any, resp: Any, queue: str) -> None:
        self._show(req, resp, queue)

    async def on_post(self, req: Any, resp: Any, queue: str) -> None:
        reason = req.context.form.text("reason")
        if not 1 <= len(reason) <= REASON_MAX:
            error = f"Say why, in {REASON_MAX} characters at most: others will ask."
            self._show(req, resp, queue, reason, error, 422)
            return
        _known_queue(queue)
        wanted = Wanted(Operate, {"action": PauseQueue(queue, reason)}, None)
        await act(self.deps, req, resp, wanted, HOME)

    def _show(
        self, req: Any, resp: Any, queue: str, reason: str = "", error: str = "", status: int = 200
    ) -> None:
        self.render(
            req, resp, "queue_pause.html", status=status, queue=queue, actors=_known_queue(queue),
            reason=reason, error=error, reason_max=REASON_MAX,
        )  # fmt: skip


class Resume(Page):
    """GET asks whether to, POST resumes a queue."""

    page_scope = OPERATE

    async def on_get(self, req: Any, resp: Any, queue: str) -> None:
        _known_queue(queue)
        facts = (await self.deps.snapshots.get()).facts.value
        paused = facts.paused.get(queue) if facts else None
        known = facts is not None
        self.render(
            req, resp, "queue_resume.html", queue=queue, actors=PAUSABLE[queue], paused=paused,
            known=known,
        )  # fmt: skip

    async def on_post(self, req: Any, resp: Any, queue: str) -> None:
        _known_queue(queue)
        await act(self.deps, req, resp, Wanted(Operate, {"action": ResumeQueue(queue)}, None), HOME)


class Limit(Page):
    """GET shows the rate limit in force, POST sets one or goes back to that of the settings."""

    page_scope = OPERATE
    form = ("amount", "unit", "do")

    async def on_get(self, req: Any, resp: Any, actor: str) -> None:
        await self._show(req, resp, actor)

    async def on_post(self, req: Any, resp: Any, actor: str) -> None:
        _known_actor(actor)
        form = req.context.form
        rate_limit: str | None = f"{form.text('amount')}/{form.text('unit')}"
        if form.text("do") == "reset":
            rate_limit = None
        elif _LIMIT.fullmatch(rate_limit or "") is None:
            error = "A whole number of messages, from 1 to 999,999,999."
            await self._show(req, resp, actor, form.text("amount"), form.text("unit"), error, 422)
            return
        wanted = Wanted(Operate, {"action": SetRateLimit(actor, rate_limit)}, None)
        await act(self.deps, req, resp, wanted, HOME)

    async def _show(
        self, req: Any, resp: Any, actor: str, amount: str = "", unit: str = "s",
        error: str = "", status: int = 200,
    ) -> None:  # fmt: skip
        _known_actor(actor)
        facts = (await self.deps.snapshots.get()).facts.value
        found = next(
            (one for one in standing.actors(facts, self.deps.settings) if one.name == actor), None
        ) if facts else None  # fmt: skip
        self.render(
            req, resp, "actor_limit.html", status=status, actor=actor, found=found, amount=amount,
            unit=unit, error=error, others=_others(actor),
        )  # fmt: skip


def _known_queue(queue: str) -> Sequence[str]:
    """Its actors. Raises the problem of a queue that can't be paused."""
    if queue not in PAUSABLE:
        raise not_found(f"There is no queue {queue[:100]} that can be paused.")
    return PAUSABLE[queue]


def _others(actor: str) -> Sequence[str]:
    """The actors that share an actor's queue."""
    return [other for other in ACTORS_BY_QUEUE[ROUTES_BY_ACTOR[actor].queue] if other != actor]


def _known_actor(actor: str) -> None:
    if actor not in ROUTES_BY_ACTOR or actor == standing.NEVER_LIMITED:
        raise not_found(f"There is no actor {actor[:100]} that can be limited.")


def routes(deps: Deps) -> Routes:
    return {
        HOME: Actors(deps),
        "/dashboard/queues/{queue}/pause": Pause(deps),
        "/dashboard/queues/{queue}/resume": Resume(deps),
        "/dashboard/actors/{actor}/limit": Limit(deps),
    }
