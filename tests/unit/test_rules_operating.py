"""What operators may switch: everything but what switches it back."""

from models.rules.operating import decide_limit, decide_pause, decide_resume
from models.rules.refusals import NOT_PAUSED, NOT_TO_BE_STOPPED, UNKNOWN_ACTOR, UNKNOWN_QUEUE

KNOWN = {"orders", "operations"}


def slug(refusal: object) -> str | None:
    return getattr(refusal, "slug", None)


def test_any_known_queue_may_be_paused_but_that_of_operations() -> None:
    assert decide_pause("orders", KNOWN, "operations") is None
    assert slug(decide_pause("operations", KNOWN, "operations")) == NOT_TO_BE_STOPPED
    assert slug(decide_pause("other", KNOWN, "operations")) == UNKNOWN_QUEUE


def test_what_is_paused_may_be_resumed_whether_known_or_not() -> None:
    assert decide_resume("orders", KNOWN, was_paused=True) is None
    assert decide_resume("of an older version", KNOWN, was_paused=True) is None
    assert slug(decide_resume("orders", KNOWN, was_paused=False)) == NOT_PAUSED
    assert slug(decide_resume("other", KNOWN, was_paused=False)) == UNKNOWN_QUEUE


def test_any_known_actor_may_be_limited_but_that_of_operations() -> None:
    assert decide_limit("orders", KNOWN, "operations") is None
    assert slug(decide_limit("operations", KNOWN, "operations")) == NOT_TO_BE_STOPPED
    assert slug(decide_limit("other", KNOWN, "operations")) == UNKNOWN_ACTOR
