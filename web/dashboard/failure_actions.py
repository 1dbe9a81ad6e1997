"""Retrying and discarding failures: chosen ones, or everything that matches after a look at it."""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from actors.commands import (
    FAILURES_SELECTED_MAX,
    DiscardFailures,
    FailureFilter,
    Operate,
    RetryFailures,
)
from models.queries import failures
from models.queries.failures import FailureQuery
from web.dashboard.acting import act, with_done
from web.dashboard.failure_query import FIELDS, as_filter, asked, failure_query, in_words
from web.dashboard.page import Deps, Page, redirect
from web.dashboard.query import Query
from web.intake import Wanted
from web.problems import Problem, invalid

EXAMPLES: Final = 5
REASON_MAX: Final = 300
#: Work on many failures shows its progress at once.
BULK_WAIT_S: Final = 0.5
#: What a form is about: what it names, or all that its filter matches.
SELECTED: Final = "selected"
MATCHING: Final = "matching"


class Chosen(NamedTuple):
    """What is to be acted on. query: of the filter, None for a selection; matching: how many."""

    wanted: FailureQuery
    query: Query | None
    matching: int
    up_to_id: int


class FailureAction(Page):
    """GET asks for confirmation, with a dry-run count; POST acts."""

    verb: str
    needs_reason: bool

    fields = (*FIELDS, "cursor")
    form = (*fields, "scope", "up_to_id", "reason", "back_to")
    form_lists = ("ids",)
    # Who may not act has no use for the question.
    page_scope = Page.post_scope

    async def on_get(self, req: Any, resp: Any) -> None:
        chosen = await self._matching(asked(req.params))
        await self._ask(req, resp, chosen)

    async def on_post(self, req: Any, resp: Any) -> None:
        form = req.context.form
        if form.text("scope") == SELECTED:
            chosen = await self._selected(form.all("ids"))
        elif form.text("scope") == MATCHING:
            chosen = await self._matching(asked(dict(form.pairs)))
            chosen = chosen._replace(up_to_id=_up_to_id(form.text("up_to_id")))
        else:
            raise invalid("Nothing was chosen.", [{"pointer": "/scope", "detail": "is missing"}])
        reason = form.text("reason")
        if self.needs_reason and not 1 <= len(reason) <= REASON_MAX:
            error = "Say why, in 300 characters at most." if "reason" in dict(form.pairs) else ""
            await self._ask(req, resp, chosen, reason, error)
            return
        await self._act(req, resp, chosen, reason)

    async def _selected(self, ids: list[str]) -> Chosen:
        wanted = FailureQuery(ids=_numbers(ids))
        # Somebody may have settled some since they were ticked.
        return Chosen(wanted, None, *await self.deps.lists.run(failures.count, wanted))

    async def _matching(self, query: Query) -> Chosen:
        wanted = await failure_query(self.deps, query)
        if query.errors or wanted.state != "failed":
            detail = "; ".join(f"{name}: {said}" for name, said in query.errors.items())
            raise invalid(detail or "Only open failures can be settled.", [])
        query.values.pop("view", None)
        count, up_to_id = await self.deps.lists.run(failures.count, wanted)
        return Chosen(wanted, query, count, up_to_id)

    async def _ask(
        self, req: Any, resp: Any, chosen: Chosen, reason: str = "", error: str = ""
    ) -> None:
        examples = await self.deps.lists.run(failures.page, chosen.wanted, None, EXAMPLES)
        self.render(
            req, resp, "failures_confirm.html", status=422 if error else 200, verb=self.verb,
            chosen=chosen, words=in_words(chosen.wanted), examples=examples, reason=reason,
            error=error, needs_reason=self.needs_reason,
            scope=SELECTED if chosen.query is None else MATCHING,
            back=(chosen.query or Query({})).link("/dashboard/failures"),
        )  # fmt: skip

    async def _act(self, req: Any, resp: Any, chosen: Chosen, reason: str) -> None:
        action = self.action(as_filter(chosen.wanted, chosen.up_to_id), reason)
        wanted = Wanted(Operate, {"action": action}, None)
        one = req.context.form.text("back_to")
        wait_s = BULK_WAIT_S if chosen.query is not None else 3.0
        id_ = await act(self.deps, req, resp, wanted, "/dashboard/failures", wait_s=wait_s)
        if one.isascii() and one.isdigit():
            redirect(resp, with_done(f"/dashboard/failures/{one}", id_))
        else:
            redirect(resp, f"/dashboard/operations/{id_}")

    def action(self, which: FailureFilter, _reason: str, /) -> RetryFailures | DiscardFailures:
        raise NotImplementedError


def _numbers(ids: list[str]) -> list[int]:
    numbers = sorted({int(id_) for id_ in ids if id_.isascii() and id_.isdigit() and len(id_) < 19})
    if not numbers or len(numbers) > FAILURES_SELECTED_MAX:
        raise Problem(
            422, "invalid-request", "Nothing is chosen",
            f"Tick the failures first, {FAILURES_SELECTED_MAX:,} at most; "
            "or take everything that matches a filter.",
        )  # fmt: skip
    return numbers


def _up_to_id(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise invalid("The form is incomplete.", [{"pointer": "/up_to_id", "detail": "a number"}])
    return int(text)


class Retry(FailureAction):
    verb = "retry"
    needs_reason = False

    def action(self, which: FailureFilter, _reason: str, /) -> RetryFailures:
        return RetryFailures(which)


class Discard(FailureAction):
    verb = "discard"
    needs_reason = True

    def action(self, which: FailureFilter, reason: str, /) -> DiscardFailures:
        return DiscardFailures(which, reason)


def routes(deps: Deps) -> Mapping[str, object]:
    return {
        "/dashboard/failures/retry": Retry(deps),
        "/dashboard/failures/discard": Discard(deps),
    }
