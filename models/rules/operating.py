"""What operators may switch. Pure: what is there is given, the decision comes back."""

from collections.abc import Set as AbstractSet

from models.rules.refusals import (
    NOT_PAUSED,
    NOT_TO_BE_STOPPED,
    UNKNOWN_ACTOR,
    UNKNOWN_QUEUE,
    Refusal,
    refuse,
)


def decide_pause(queue: str, known: AbstractSet[str], operations: str) -> Refusal | None:
    """Whether a queue may be paused. operations: the queue that carries what resumes it."""
    if queue not in known:
        return refuse(UNKNOWN_QUEUE, f"There is no queue {queue}.", queue=queue)
    if queue == operations:
        return refuse(NOT_TO_BE_STOPPED, "What would resume it goes through it.", queue=queue)
    return None


def decide_resume(queue: str, known: AbstractSet[str], *, was_paused: bool) -> Refusal | None:
    """Whether resuming a queue changes anything."""
    if was_paused:
        return None
    if queue not in known:
        return refuse(UNKNOWN_QUEUE, f"There is no queue {queue}.", queue=queue)
    return refuse(NOT_PAUSED, f"{queue} is not paused.", queue=queue)


def decide_limit(actor: str, known: AbstractSet[str], operations: str) -> Refusal | None:
    """Whether an actor's limit may be set. operations: the actor that would lift it again."""
    if actor not in known:
        return refuse(UNKNOWN_ACTOR, f"There is no actor {actor}.", actor=actor)
    if actor == operations:
        return refuse(
            NOT_TO_BE_STOPPED, "What would lift the limit would wait for it.", actor=actor
        )
    return None


def what_others_did(retried: int, discarded: int, gone: int) -> str:
    """What became of failures that somebody wanted to settle and did not; empty for none."""
    said = [
        f"{count:,} {'was' if count == 1 else 'were'} {done} by someone else meanwhile"
        for count, done in ((retried, "retried"), (discarded, "discarded"))
        if count
    ]
    if gone:
        said.append(f"{gone:,} {'is' if gone == 1 else 'are'} no longer on record")
    return ", ".join(said)
