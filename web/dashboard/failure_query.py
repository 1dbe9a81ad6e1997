"""Which failures: from the query of a page to the query of the tables, and into words."""

import re
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from actors.commands import SKU, FailureFilter
from models.queries import failures, lookup
from models.queries.failures import FailureQuery
from web.broken_rules import broken_rules
from web.dashboard.page import Deps
from web.dashboard.query import EXACT, TEXT_MAX, UUID, Query
from web.dashboard.words import exact
from web.ids import COMMAND
from web.problems import breaks_rules

SUBJECTS: Final = ("order", "command", "sku", "customer")
#: `q` is the box for everything; a subject by its own name is put into the box.
FIELDS: Final = (
    "q", "state", "actor", "queue", "error_class", "text", "after", "before", "view", *SUBJECTS
)  # fmt: skip
STATES: Final = ("failed", "retried", "discarded")
#: How an address spells the actor of what is no message of ours; nothing else has such a name.
NO_ACTOR: Final = "(none)"

_NAMED: Final = re.compile(rf"\s*({'|'.join(SUBJECTS)}):(.+)", re.IGNORECASE | re.DOTALL)
_NAMED_NOTHING: Final = re.compile(r"\s*(customer:|(order|command|sku):\s*)", re.IGNORECASE)
_SKU: Final = re.compile(SKU)


def asked(params: Mapping[str, Any]) -> Query:
    """What a page or a form asks for. In the box, a customer's id is taken as it is written."""
    return Query(params, *FIELDS, exact=(*EXACT, "q"))


async def failure_query(deps: Deps, query: Query) -> FailureQuery:
    """The failures that a page asks for; what is wrong with it is in query.errors."""
    for name in SUBJECTS:
        if value := query.values.pop(name, ""):
            query.values["q"] = f"{name}:{value}"
    box = query["q"]
    if _NAMED_NOTHING.fullmatch(box):
        query.errors["q"] = "Say which: nothing follows the colon."
    subject = await _subject_of(deps, box) if box else None
    text = " ".join(filter(None, (query["text"], "" if subject else box.strip()))) or None
    # Cut, they would match more than was asked for.
    if max(len(subject or ""), len(text or "")) > TEXT_MAX:
        query.errors["q"] = f"{TEXT_MAX} characters at most, with the words in error or traceback"
    elif text is not None and not await deps.lists.run(failures.can_be_found, text):
        query.errors["text" if query["text"] else "q"] = "at least one word that must occur"
    actor = query.text("actor")
    return FailureQuery(
        actor="" if actor == NO_ACTOR else actor,
        queue=query.text("queue"),
        error_class=query.text("error_class"),
        subject=subject,
        text=text,
        failed_after=query.moment("after"),
        failed_before=query.moment("before"),
        state=query.choice("state", STATES) or "failed",
    )


async def _subject_of(deps: Deps, box: str) -> str | None:
    """What words of a search box are about, None where they are just words."""
    word = box.strip()
    if UUID.fullmatch(word):
        # An order's id is that of the command that placed it, but no other command's.
        kind = "command" if deps.mint.is_ours(COMMAND, word.lower()) else "order"
        return f"{kind}:{word.lower()}"
    if named := _NAMED.fullmatch(box):
        kind, name = named[1].lower(), named[2]
        if kind == "customer":
            return f"{kind}:{name}"
        return f"{kind}:{name.strip() if kind == 'sku' else name.strip().lower()}"
    if _SKU.fullmatch(word) is not None and await deps.lists.run(lookup.is_known_sku, word):
        return f"sku:{word}"
    return None


def as_filter(wanted: FailureQuery, up_to_id: int) -> FailureFilter:
    """The same as a command has it, of failures that were there to be seen.

    Raises Problem (422) where it breaks the contract: an actor would refuse the whole command.
    """
    members: dict[str, Any] = wanted._asdict()
    del members["state"]
    if wanted.ids is not None:
        members["ids"] = list(wanted.ids)
    members["up_to_id"] = up_to_id
    try:
        return msgspec.convert(members, FailureFilter)
    except msgspec.ValidationError:
        raise breaks_rules(broken_rules(FailureFilter, members)) from None


def in_words(wanted: FailureQuery) -> list[str]:
    """What narrows the failures, a clause each; none where nothing does."""
    subject = (wanted.subject or "").partition(":")
    kind = "SKU" if subject[0] == "sku" else subject[0]
    count = len(wanted.ids or ())
    clauses = (
        (wanted.ids, "the one chosen" if count == 1 else f"the {count:,} chosen"),
        (wanted.actor, f"of the actor {wanted.actor}"),
        (wanted.error_class, f"with an error of class {wanted.error_class}"),
        (wanted.queue, f"from the queue {wanted.queue}"),
        (wanted.subject, f"about the {kind} {_visible(subject[2])}"),
        (wanted.text, f"with the words “{wanted.text}” in error or traceback"),
        (wanted.failed_after, f"that failed after {exact(wanted.failed_after)}"),
        (wanted.failed_before, f"that failed before {exact(wanted.failed_before)}"),
    )
    found = [words for value, words in clauses if value]
    return ["that are no messages of ours", *found] if wanted.actor == "" else found


def _visible(key: str) -> str:
    """A key, in quotes where it begins or ends with a space."""
    return key if key == key.strip() else f"“{key}”"
