"""Which of several writes that replace a whole thing comes last: the one that was accepted last."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import NamedTuple

from models.rules.refusals import SUPERSEDED, Refusal, refuse


class Replacement(NamedTuple):
    """A command that replaces what target names. at: when it was accepted."""

    command_id: str
    target: str
    at: datetime


def supersede(
    latest: Mapping[str, Replacement], replacements: Iterable[Replacement]
) -> list[Refusal | None]:
    """Decide each replacement in turn; None means that it applies.

    latest: the last one that applied, by target. One that was accepted before that is refused; of
    two that were accepted at the same time the later in turn applies.
    """
    latest = dict(latest)
    decisions: list[Refusal | None] = []
    for each in replacements:
        last = latest.get(each.target)
        if last is not None and each.at < last.at:
            decisions.append(superseded_by(last.command_id))
            continue
        latest[each.target] = each
        decisions.append(None)
    return decisions


def superseded_by(command_id: str) -> Refusal:
    """The refusal of a change that came too late. command_id: of the change accepted after it."""
    return refuse(
        SUPERSEDED,
        f"The change {command_id} was accepted later and has taken effect already.",
        superseded_by=command_id,
    )
