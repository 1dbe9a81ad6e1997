"""The actor for what operators do to the system: failures put back or discarded, queues, limits.

A switch is one transaction. Work on many failures goes in steps, each one a transaction that
also notes how far it is: killed in the middle, its message comes again and the work goes on. After
a few steps it hands its thread back and comes again by the delay queue, so that no amount of such
work keeps a switch waiting.
"""

from collections.abc import Callable
from enum import Enum, auto
from functools import partial
from time import monotonic
from typing import Final

import dramatiq
import msgspec

from actors import audit, requeue
from actors.broker import broker
from actors.commands import (
    QUEUES,
    ROUTES,
    ROUTES_BY_ACTOR,
    DiscardFailures,
    Operate,
    PauseQueue,
    ResumeQueue,
    RetryFailures,
    SetRateLimit,
    decode,
    encode,
    join,
)
from actors.controls import controls
from actors.settled import others_settled, query_of
from actors.stats import recorder
from models.database import transaction
from models.queries import controls as switches
from models.queries import dead_letters, failures, inbox, operations
from models.queries.dead_letters import Taken
from models.queries.failures import FailureQuery
from models.queries.inbox import Received
from models.rules.operating import decide_limit, decide_pause, decide_resume
from models.rules.refusals import NOTHING_MATCHES, Refusal, refuse

ROUTE = ROUTES[Operate]
#: Failures settled in one transaction.
STEP_FAILURES_MAX = 500
#: So long does such work keep a thread at a time.
SLICE_S: Final = 1.0
#: Who finds another one's step under way looks again this soon,
TAKEN_MS: Final = 250
#: and who had a slice lets the others have theirs: longer than they take to look again.
GIVE_WAY_MS: Final = 1_000

#: What a step does with the failures it has locked; returns the ids of those it left as they are.
Settle = Callable[[list[Taken]], list[int]]


@dramatiq.actor(actor_name=ROUTE.actor, queue_name=ROUTE.queue, broker=broker)
def operate(commands: msgspec.Raw) -> None:
    """Do what operators ask for, one after the other."""
    for command in decode(Operate, commands):
        match command.action:
            case RetryFailures(filter=wanted):
                _settle_all(command, query_of(wanted), partial(_retry, command.id))
            case DiscardFailures(filter=wanted, reason=reason):
                _settle_all(command, query_of(wanted), partial(_discard, command.id, reason))
            case _:
                _switch(command)


def _switch(command: Operate) -> None:
    with transaction():
        claims = inbox.claim(ROUTE.kind, [Received(command.id, None, command.at)])
        mine = inbox.claimed([command], claims)
        refusals = [(ours.id, refusal) for ours in mine if (refusal := _turn(ours))]
        inbox.record_refusals(refusals)
        audit.note(mine)
    controls.refresh()
    recorder.decided(ROUTE.actor, [command], mine, len(refusals))


def _turn(command: Operate) -> Refusal | None:
    by = command.origin.name
    queues = set(QUEUES)
    match command.action:
        case PauseQueue(queue=queue, reason=reason):
            refusal = decide_pause(queue, queues, ROUTE.queue)
            if refusal is None:
                switches.pause(queue, reason, by)
        case ResumeQueue(queue=queue):
            refusal = decide_resume(queue, queues, was_paused=switches.resume(queue))
        case SetRateLimit(actor=actor, rate_limit=limit):
            refusal = decide_limit(actor, set(ROUTES_BY_ACTOR), ROUTE.actor)
            if refusal is None:
                switches.set_limit(actor, limit, by)
        case _:
            raise TypeError(command.action)
    return refusal


class Stand(Enum):
    """How work on many failures stands after a transaction. KNOWN: it was decided before."""

    GOES_ON = auto()
    TAKEN = auto()
    APPLIED = auto()
    REFUSED = auto()
    KNOWN = auto()


def _settle_all(command: Operate, wanted: FailureQuery, settle: Settle) -> None:
    until = monotonic() + SLICE_S
    with transaction():
        stand = _begin(command, wanted)
    while stand is Stand.GOES_ON and monotonic() < until:
        with transaction():
            stand = _step(command, wanted, settle)
    if stand is Stand.GOES_ON:
        _go_on_later(command, GIVE_WAY_MS if operations.others_run(command.id) else 0)
    elif stand is Stand.TAKEN:
        _go_on_later(command, TAKEN_MS)
    elif stand is not Stand.KNOWN:
        recorder.decided(ROUTE.actor, [command], [command], int(stand is Stand.REFUSED))


def _go_on_later(command: Operate, delay_ms: int) -> None:
    # Before the acknowledgement: killed in between, there are two messages, which take turns.
    broker.enqueue(operate.message(commands=join([encode(command)])), delay=delay_ms)


def _begin(command: Operate, wanted: FailureQuery) -> Stand:
    """Enter the work into the books."""
    if not operations.begin(command.id, command.at):
        return Stand.KNOWN
    if operations.started(command.id):
        return Stand.GOES_ON
    audit.note([command])
    found, _ = failures.count(wanted)
    # What was chosen one by one is all accounted for, what others settled first as well.
    total = found if wanted.ids is None else len(set(wanted.ids))
    if found == 0:
        _decide(command, _nothing_left(command.id, wanted, total))
        return Stand.REFUSED
    action = command.action
    operations.start(
        command.id, str(action.__struct_config__.tag), msgspec.to_builtins(action), total
    )
    return Stand.GOES_ON


def _nothing_left(command_id: str, wanted: FailureQuery, total: int) -> Refusal:
    others = others_settled(wanted, command_id, None, total) if total else ""
    text = "No open failure matches"
    return refuse(NOTHING_MATCHES, f"{text}: {others}." if others else f"{text}.")


def _step(command: Operate, wanted: FailureQuery, settle: Settle) -> Stand:
    """Settle the next failures. One transaction."""
    if not operations.take_turn():
        return Stand.TAKEN
    last_id = operations.reached(command.id)
    if last_id is None:
        return Stand.KNOWN
    letters = dead_letters.take(wanted, last_id, STEP_FAILURES_MAX)
    if not letters:
        operations.finish(command.id)
        _decide(command, None)
        return Stand.APPLIED
    left = settle(letters)
    operations.advance(command.id, len(letters) - len(left), len(left), letters[-1].id)
    return Stand.GOES_ON


def _decide(command: Operate, refusal: Refusal | None) -> None:
    inbox.claim(ROUTE.kind, [Received(command.id, None, command.at)])
    if refusal is not None:
        inbox.record_refusals([(command.id, refusal)])


def _retry(command_id: str, letters: list[Taken]) -> list[int]:
    messages = requeue.read(letters)
    dead_letters.settle_as_retried(list(messages), command_id)
    # Published last: an error here rolls the rest back, and a message too many is a no-op.
    requeue.publish(broker, messages.values())
    return [letter.id for letter in letters if letter.id not in messages]


def _discard(command_id: str, reason: str, letters: list[Taken]) -> list[int]:
    dead_letters.settle_as_discarded([letter.id for letter in letters], command_id, reason)
    return []
