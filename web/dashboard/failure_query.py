"""Which failures: from the query of a page to the query of the tables, and into words."""

import re
from typing import Any, Final

import msgspec

from actors.commands import FailureFilter
from models.queries import failures, lookup
from models.queries.failures import FailureQuery
from web.dashboard.page import Deps
from web.dashboard.query import TEXT_MAX, Query
from web.dashboard.words import exact
from web.ids import COMMAND
from web.problems import from_validation

SUBJECTS: Final = ("order", "command", "sku", "customer")
#: `q` is the box for everything; a subject by its own name is put into the box.
FIELDS: Final = (
    "q", "state", "actor", "queue", "error_class", "text", "after", "before", "view", *SUBJECTS
)  # fmt: skip
STATES: Final = ("failed", "retried", "discarded")
#: How an address spells the actor of what is no message of ours; nothing else has such a name.
NO_ACTOR: Final = "(none)"

_UUID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_NAMED: Final = re.compile(rf"({'|'.join(SUBJECTS)}):\s*(.+)", re.IGNORECASE | re.DOTALL)
_NAMED_NOTHING: Final = re.compile(rf"({'|'.join(SUBJECTS)}):\s*", re.IGNORECASE)
_SKU: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")


async def failure_query(deps: Deps, query: Query) -> FailureQuery:
    """The failures that a page asks for; what is wrong with it is in query.errors."""
    for name in SUBJECTS:
        if value := query.values.pop(name, ""):
            query.values["q"] = f"{name}:{value}"
    box = query["q"]
    if _NAMED_NOTHING.fullmatch(box):
        query.errors["q"] = "Say which: nothing follows the colon."
    subject = await _subject_of(deps, box) if box else None
    text = " ".join(filter(None, (query["text"], "" if subject else box))) or None
    # Cut, they would match more than was asked for.
    if max(len(subject or ""), len(text or "")) > TEXT_MAX:
        query.errors["q"] = f"{TEXT_MAX} characters at most, with the words in error or traceback"
    elif text is not None and not await deps.lists.run(failures.can_be_found, text):
        query.errors["text" if query["text"] else "q"] = "at least one word that has to be there"
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
    if _UUID.fullmatch(box):
        # An order's id is that of the command that placed it, but no other command's.
        kind = "command" if deps.mint.is_ours(COMMAND, box.lower()) else "order"
        return f"{kind}:{box.lower()}"
    if named := _NAMED.fullmatch(box):
        kind, name = named[1].lower(), named[2].strip()
        return f"{kind}:{name.lower() if kind in ('order', 'command') else name}"
    if _SKU.fullmatch(box) is not None and await deps.lists.run(lookup.is_known_sku, box):
        return f"sku:{box}"
    return None


def as_filter(wanted: FailureQuery, up_to_id: int) -> FailureFilter:
    """The same as a command has it, of failures that were there to be seen.

    Raises Problem (422) where it breaks the contract: an actor would refuse the whole command.
    """
    members: dict[str, Any] = wanted._asdict()
    del members["state"]
    if wanted.ids is not None:
        members["ids"] = list(wanted.ids)
    try:
        return msgspec.convert(members | {"up_to_id": up_to_id}, FailureFilter)
    except msgspec.ValidationError as error:
        raise from_validation(error) from None


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
        (wanted.subject, f"about the {kind} {subject[2]}"),
        (wanted.text, f"with the words “{wanted.text}” in error or traceback"),
        (wanted.failed_after, f"that failed after {exact(wanted.failed_after)}"),
        (wanted.failed_before, f"that failed before {exact(wanted.failed_before)}"),
    )
    found = [words for value, words in clauses if value]
    return ["that are no messages of ours", *found] if wanted.actor == "" else found
