"""Failures: in groups, in a list, one by one. What mends them is in failure_actions.py."""

from datetime import datetime
from typing import Annotated, Any, Final

import msgspec

from actors.commands import KIB, QUEUES, ROUTES_BY_ACTOR
from models.queries import failures
from models.queries.failures import Failure, FailureQuery
from models.rules.signing import content_of
from web.dashboard import failure_actions, failure_export, tracebacks, words
from web.dashboard.failure_query import FIELDS, NO_ACTOR, STATES, asked, failure_query
from web.dashboard.page import Deps, Page, Routes
from web.dashboard.query import PAGE_ROWS, Query
from web.problems import not_found

TREND_HOURS: Final = 24
VIEWS: Final = ("groups", "list")
#: Of a message and of its arguments, so many characters are shown.
TEXT_SHOWN_MAX: Final = 64 * KIB
FailureId = Annotated[int, msgspec.Meta(ge=0, le=failures.ID_MAX)]
#: Of one failure's commands and subjects, so many are shown.
SHOWN_MAX: Final = 20


class FailuresPage(Page):
    """GET shows failures in groups; narrowed to something, as a list."""

    fields = (*FIELDS, "cursor")

    async def on_get(self, req: Any, resp: Any) -> None:
        query = asked(req.params)
        wanted = await failure_query(self.deps, query)
        view = query.choice("view", VIEWS) or (
            "list" if query.narrowed("state", "view") else "groups"
        )
        shared: dict[str, Any] = {
            "query": query, "wanted": wanted, "view": view, "states": STATES,
            "actors": sorted(ROUTES_BY_ACTOR), "no_actor": NO_ACTOR,
            "queues": sorted(QUEUES),
        }  # fmt: skip
        if query.errors:
            self.render(req, resp, "failures.html", status=422, rows=[], groups=[], total=0,
                        first=None, next=None, **shared)  # fmt: skip
        elif view == "groups":
            await self._groups(req, resp, wanted, shared)
        else:
            await self._list(req, resp, wanted, shared)

    async def _groups(
        self, req: Any, resp: Any, wanted: FailureQuery, shared: dict[str, Any]
    ) -> None:
        groups = await self.deps.lists.run(failures.groups, wanted, TREND_HOURS)
        total = sum(group.count for group in groups)
        self.render(req, resp, "failures.html", rows=[], groups=groups, total=total, first=None,
                    next=None, **shared)  # fmt: skip

    async def _list(
        self, req: Any, resp: Any, wanted: FailureQuery, shared: dict[str, Any]
    ) -> None:
        query: Query = shared["query"]
        after = query.cursor(req.path, tuple[datetime, FailureId])
        run = self.deps.lists.run
        total, _ = await run(failures.count, wanted)
        rows = await run(failures.page, wanted, after, PAGE_ROWS + 1)
        more = len(rows) > PAGE_ROWS
        rows = rows[:PAGE_ROWS]
        last = (rows[-1].failed_at, rows[-1].id) if more else None
        self.render(
            req, resp, "failures.html", rows=rows, groups=[], total=total,
            first=query.link() if after else None,
            next=query.next_link(req.path, last), **shared,
        )  # fmt: skip


class FailurePage(Page):
    """GET shows all of one failure."""

    async def on_get(self, req: Any, resp: Any, failure_id: str) -> None:
        failure = await self.find(failure_id)
        text, arguments = await self.deps.lists.run(_texts, failure)
        earlier = await self.deps.lists.run(failures.for_commands, failure.command_ids)
        self.render(
            req, resp, "failure.html", failure=failure, row=failure.summary, no_actor=NO_ACTOR,
            others=[row for row in earlier if row.id != failure.summary.id],
            subjects=[subject.split(":", 1) for subject in failure.summary.subjects[:SHOWN_MAX]],
            more_subjects=max(0, len(failure.summary.subjects) - SHOWN_MAX),
            traceback_parts=tracebacks.parts(failure.traceback),
            raw=text[:TEXT_SHOWN_MAX], arguments=arguments[:TEXT_SHOWN_MAX],
            cut=max(len(text), len(arguments)) > TEXT_SHOWN_MAX,
        )  # fmt: skip

    async def find(self, failure_id: str) -> Failure:
        known = failure_id.isascii() and failure_id.isdigit() and len(failure_id) <= 18
        found = await self.deps.lists.run(failures.one, int(failure_id)) if known else None
        if found is None:
            raise not_found(f"There is no failure {failure_id[:64]}.")
        return found


class FailureMessage(FailurePage):
    """GET gives the whole message of a failure as it was on the wire, as a file."""

    async def on_get(self, _req: Any, resp: Any, failure_id: str) -> None:
        failure = await self.find(failure_id)
        is_json = failure.arguments is not None
        resp.content_type = "application/json" if is_json else "text/plain; charset=utf-8"
        name = f"holdfast-failure-{failure.summary.id}.{'json' if is_json else 'txt'}"
        resp.set_header("Content-Disposition", f'attachment; filename="{name}"')
        resp.data = content_of(failure.body) if is_json else _text(failure.body).encode()


def _texts(failure: Failure) -> tuple[str, str]:
    """The message and its arguments as text: they may be long, so a reading thread writes them."""
    text = _text(failure.body)
    return text, text if failure.arguments is None else words.pretty(failure.arguments)


def _text(body: bytes) -> str:
    return body.decode(errors="backslashreplace")


def routes(deps: Deps) -> Routes:
    return {
        "/dashboard/failures": FailuresPage(deps),
        "/dashboard/failures/{failure_id}": FailurePage(deps),
        "/dashboard/failures/{failure_id}/message": FailureMessage(deps),
        **failure_actions.routes(deps),
        **failure_export.routes(deps),
    }
