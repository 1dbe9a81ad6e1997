"""The verdict: whether all is well, and if not what is wrong, the gravest first, and where to look.

It weighs what is lost or stuck, not what somebody chose. The first rule that has something to say
is the headline.

| what is seen | weight |
|---|---|
| RabbitMQ or the database does not answer | bad |
| the database is read-only | bad |
| messages wait, and for some seconds nothing was decided; not where a limit holds them | bad |
| a fifth of an actor's attempts fail, five or more | bad |
| messages in a dead-letter queue: no record explains them | bad |
| RabbitMQ dropped messages lately; a policy would have it drop them | bad |
| messages have been failing for a minute: no decision, no failure on record | bad |
| no worker is alive | bad |
| a queue has no consumer, is nearly full, or its oldest message has waited for minutes | bad |
| the books differ | bad |
| some attempts failed; failures wait for somebody | warn |
| orders are rejected much more often than usual | warn |
| a queue is paused, a rate limit holds messages back: somebody chose it | warn |
| this machine's clock is not the database's | warn |
| a worker fell silent; the clock is silent; the books were not checked lately | warn |

Nobody is blamed twice: a paused queue is only said to be paused.
"""

from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from typing import Final, Literal, NamedTuple
from urllib.parse import quote

from actors.situation import (
    FAILED_SHARE,
    ServedQueue,
    Situation,
    fails,
    limit_in_force,
    served_queues,
)
from config import Settings
from models.host_clock import host_clock
from models.queries.facts import DROPPED, ORDERS, Facts
from models.rules.formatting import ago, duration, enumerated, percent, plural
from models.rules.rejections import Rejections, is_spike

#: Waiting for longer is worth a word, and for much longer it is wrong.
OLDEST_WARN_S: Final = 60.0
OLDEST_BAD_S: Final = 300.0
#: A message that comes back for so long has no end in sight.
PUT_BACK_BAD_S: Final = 60.0
#: So full, a queue soon refuses.
FULL_SHARE: Final = 0.8
#: The clock checks the books every RECONCILE_EVERY_S; so many rounds late is too late.
RECONCILED_WARN_ROUNDS: Final = 3
#: It also looks into the queues every 10 s, kept under the start of those.
CLOCK_SILENT: Final = timedelta(seconds=75)
#: So long after the first worker, the clock has had the time to begin.
CLOCK_LATE: Final = timedelta(minutes=5)
#: A worker that fell silent is worth a word for so long; its row on Workers stays for a day.
GONE_LATELY: Final = timedelta(minutes=15)

QUEUES: Final = "/dashboard/actors#queues"
ACTORS: Final = "/dashboard/actors"
BOOKS: Final = "/dashboard#reconciliation"

Weight = Literal["bad", "warn"]


class Link(NamedTuple):
    """More to look at."""

    text: str
    address: str


class Reason(NamedTuple):
    """Why the verdict is not a plain yes. address: where to look; runbook: what to do, by name."""

    weight: Weight
    text: str
    address: str
    links: Sequence[Link] = ()
    runbook: str = ""


class Verdict(NamedTuple):
    """reasons: the gravest first. headline: the one that is the title, None where that counts."""

    weight: Literal["good", "warn", "bad"]
    title: str
    reasons: list[Reason]

    @property
    def headline(self) -> Reason | None:
        return self.reasons[0] if self.weight == "bad" else None

    @property
    def others(self) -> list[Reason]:
        """The reasons that the title does not say."""
        return self.reasons[1:] if self.weight == "bad" else self.reasons


def judge(seen: Situation, given: Settings) -> Verdict:
    """Whether all is well, in one sentence, and why not."""
    seen = seen._replace(served=served_queues(seen, given))
    found = [reason for rule in RULES for reason in rule(seen, given)]
    reasons = [reason for weight in ("bad", "warn") for reason in found if reason.weight == weight]
    if not reasons:
        return Verdict("good", "All is well: orders are accepted and decided.", [])
    if reasons[0].weight == "bad":
        return Verdict("bad", f"{reasons[0].text}.", reasons)
    count = plural(len(reasons), "thing needs", "things need")
    return Verdict("warn", f"Running, but {count} attention.", reasons)


def _silence(seen: Situation, _given: Settings) -> Iterator[Reason]:
    for what, known, since in (
        ("The database", seen.facts, seen.facts_silent_since),
        ("RabbitMQ", seen.queues, seen.queues_silent_since),
    ):
        if known is None:
            text = f"{what} has not answered since {since or seen.at:%H:%M:%S} UTC"
            yield Reason("bad", text, "/readyz")


def _read_only(seen: Situation, _given: Settings) -> Iterator[Reason]:
    if seen.facts is not None and seen.facts.read_only:
        text = "The database is read-only: accepted orders wait, none are decided"
        yield Reason("bad", text, "/readyz", runbook="HoldfastDatabaseReadOnly")


def _host_clock(_seen: Situation, _given: Settings) -> Iterator[Reason]:
    """Of this machine alone; the others say it of theirs."""
    if words := host_clock.words:
        text = words[0].upper() + words[1:]
        yield Reason("warn", text, "/dashboard/workers", runbook="HoldfastHostClockWrong")


def _stuck(seen: Situation, _given: Settings) -> Iterator[Reason]:
    """Messages wait, and nothing comes of it."""
    if seen.facts is None:
        return
    known = seen.served
    stuck = [queue for queue in known if queue.is_stuck(seen.at)]
    if not stuck:
        return
    idle = all(queue.is_quiet(seen.at) for queue in known)
    what = "Nothing is" if idle else f"Nothing of {enumerated(_actors(stuck))} is"
    waiting = plural(sum(queue.waiting for queue in stuck), "message waits", "messages wait")
    why = _why_stuck(stuck, seen.facts)
    address = "/dashboard/workers" if not seen.facts.alive() else ACTORS
    yield Reason("bad", f"{what} being decided: {waiting} and {why}", address)


def _actors(queues: Sequence[ServedQueue]) -> list[str]:
    return [actor for queue in queues for actor in queue.actors]


def _why_stuck(stuck: Sequence[ServedQueue], facts: Facts) -> str:
    failed = sum(queue.figures.failed for queue in stuck)
    attempts = sum(queue.attempts for queue in stuck)
    if not facts.alive():
        return "no worker is alive"
    if failed and failed == attempts:
        return "every attempt fails"
    if failed >= FAILED_SHARE * attempts and failed:
        return f"{percent(failed / attempts)} of the attempts failed in the last minute"
    return f"the oldest has waited {duration(max(queue.oldest_s for queue in stuck))}"


def _failing(seen: Situation, _given: Settings) -> Iterator[Reason]:
    """Attempts that fail, where that is not why nothing is decided."""
    if seen.facts is None:
        return
    stuck = _actors([queue for queue in seen.served if queue.is_stuck(seen.at)])
    some = {}
    for figures in sorted(seen.facts.figures.values(), key=lambda figures: -figures.failed):
        actor, attempts = figures.actor, figures.handled + figures.failed
        if fails(figures) and actor not in stuck:
            share = percent(figures.failed / attempts)
            text = f"{share} of the attempts of {actor} failed in the last minute"
            yield Reason("bad", text, ACTORS, runbook="HoldfastAttemptsFail")
        elif figures.failed and actor not in stuck:
            some[actor] = figures.failed
    if some:
        text = f"{plural(sum(some.values()), 'attempt')} failed in the last minute"
        yield Reason("warn", f"{text} ({', '.join(sorted(some))})", ACTORS)


def _dead(seen: Situation, _given: Settings) -> Iterator[Reason]:
    """Ours never put one there: what is dead without a record has no outcome."""
    dead = {name: state.dead for name, state in (seen.queues or {}).items() if state.dead}
    if dead:
        count = plural(sum(dead.values()), "dead letter has", "dead letters have")
        where = enumerated([f"{name}.XQ" for name in sorted(dead)])
        text = f"{count} no record, in {where}: their commands are not decided"
        yield Reason("bad", text, QUEUES, runbook="HoldfastDeadLetters")


def _dropped(seen: Situation, _given: Settings) -> Iterator[Reason]:
    """A policy of RabbitMQ's takes messages out of our queues, or would."""
    if seen.facts is None:
        return
    if dropped := seen.facts.seldom.dropped:
        count = plural(dropped, "message", "messages")
        text = f"RabbitMQ dropped {count} within the last hour: they are failures on record"
        address = f"/dashboard/failures?error_class={DROPPED}"
        yield Reason("bad", text, address, runbook="HoldfastMessagesDropped")
    conflicts = seen.facts.clocks.conflicts
    if conflicts:
        more = f", and {len(conflicts) - 1} more like it" if len(conflicts) > 1 else ""
        text = f"RabbitMQ drops messages, or will: {conflicts[0]}{more}"
        yield Reason("bad", text, QUEUES, runbook="HoldfastPolicyConflict")


def _put_back(seen: Situation, _given: Settings) -> Iterator[Reason]:
    """Messages that come back again and again, where that is not why nothing is decided."""
    for queue in seen.served:
        if queue.state.put_back_s > PUT_BACK_BAD_S and not queue.is_stuck(seen.at):
            count = plural(queue.state.put_back, "message", "messages")
            has = "has" if queue.state.put_back == 1 else "have"
            text = f"{count} of {queue.name} {has} been failing for"
            lasted = duration(queue.state.put_back_s)
            yield Reason("bad", f"{text} {lasted}", QUEUES, runbook="HoldfastPutBack")


def _workers(seen: Situation, _given: Settings) -> Iterator[Reason]:
    if seen.facts is None:
        return
    address = "/dashboard/workers"
    if not seen.facts.alive() and not any(queue.is_stuck(seen.at) for queue in seen.served):
        yield Reason("bad", "No worker is alive: orders are accepted but not decided", address)
    gone = sum(seen.facts.at - worker.seen_at < GONE_LATELY for worker in seen.facts.gone())
    if gone:
        text = plural(gone, "worker", "workers")
        yield Reason("warn", f"{text} went silent without a clean stop", address)


def _full(seen: Situation, given: Settings) -> Iterator[Reason]:
    for queue in seen.served:
        if not queue.paused and queue.state.ready > FULL_SHARE * given.queue_length_max:
            share = percent(queue.state.ready / given.queue_length_max)
            text = f"{queue.name} is {share} full; when full, it refuses orders"
            yield Reason("bad", text, QUEUES, runbook="HoldfastQueueNearlyFull")


def _left_alone(seen: Situation, _given: Settings) -> Iterator[Reason]:
    """Queues that nobody serves, or not fast enough. The database knows which are paused."""
    if seen.facts is None:
        return
    known = [queue for queue in seen.served if not queue.paused]
    alone = [queue for queue in known if queue.has_begun and not queue.state.consumers]
    if alone:
        ready = sum(queue.state.ready for queue in alone)
        count = plural(len(alone), "queue has", "queues have")
        rest = f", and {plural(ready, 'message waits', 'messages wait')}" if ready else ""
        yield Reason("bad", f"{count} no consumer{rest}", QUEUES)
    free = [queue for queue in known if not queue.limit and not queue.is_stuck(seen.at)]
    oldest = max(free, key=lambda queue: queue.waited_s, default=None)
    if oldest is not None and oldest.waited_s > OLDEST_WARN_S:
        weight: Weight = "bad" if oldest.waited_s > OLDEST_BAD_S else "warn"
        text = f"The oldest message in {oldest.name} has waited {duration(oldest.oldest_s)}"
        yield Reason(weight, text, QUEUES)


def _failures(seen: Situation, _given: Settings) -> Iterator[Reason]:
    if seen.facts is not None and seen.facts.seldom.failures:
        count = plural(seen.facts.seldom.failures, "failure waits", "failures wait")
        yield Reason("warn", f"{count} to be retried or discarded", "/dashboard/failures")


def _rejections(seen: Situation, _given: Settings) -> Iterator[Reason]:
    figures = seen.facts.figures.get(ORDERS) if seen.facts else None
    if seen.facts is None or figures is None:
        return
    lately, usual = Rejections(figures.decided, figures.refused), seen.facts.seldom.usual
    if not is_spike(lately, usual):
        return
    text = f"{percent(lately.share)} of the orders of the last minute were rejected"
    if usual.decided:
        text += f" ({percent(usual.share)} in the hour before)"
    short = seen.facts.seldom.short
    links = [
        Link(
            f"{one.sku}: {plural(one.orders, 'order')}" + (", no such SKU" * one.unknown),
            f"/dashboard/orders?status=rejected&sku={quote(one.sku)}"
            if one.unknown else f"/dashboard/inventory/{quote(one.sku)}",
        )
        for one in short
    ]  # fmt: skip
    if short:
        text += ", most for " + enumerated([one.sku for one in short])
    yield Reason("warn", text, "/dashboard/orders?status=rejected", links)


def _choices(seen: Situation, given: Settings) -> Iterator[Reason]:
    """What somebody chose."""
    if seen.facts is None:
        return
    for paused in seen.facts.paused.values():
        text = f"{paused.queue} is paused by {paused.paused_by}: {paused.reason}"
        yield Reason("warn", text, QUEUES)
    queues = {actor: queue for queue in seen.served for actor in queue.actors}
    for actor, signs in seen.facts.signs.items():
        limit = limit_in_force(seen.facts, actor, given)
        if not (signs.limited and limit):
            continue
        text = f"{actor} is held back by its rate limit of {limit}"
        queue = queues.get(actor)
        if queue is not None and queue.waiting:
            text += f": {plural(queue.waiting, 'message waits', 'messages wait')}"
            text += f", the oldest for {duration(queue.oldest_s)}" if queue.oldest_s >= 1 else ""
        yield Reason("warn", text, ACTORS)


def _books(seen: Situation, given: Settings) -> Iterator[Reason]:
    """Whether the books agree, as last looked up."""
    facts = seen.facts
    if facts is None:
        return
    found = facts.seldom.reconciled
    if found is None:
        wanted = given.reconcile_every_s > 0
        if wanted and _running_long(facts) and not _clock_is_silent(facts):
            yield Reason("warn", "The books have not been checked yet", BOOKS)
        return
    for wrong in found.wrong:
        count = plural(wrong.differences, "difference")
        yield Reason("bad", f"Reconciliation found {count} between {wrong.between}", BOOKS)
    late = timedelta(seconds=RECONCILED_WARN_ROUNDS * given.reconcile_every_s)
    if late and facts.at - found.at > late:
        text = f"The books were last checked {ago(found.at, facts.at)}; does the clock run?"
        yield Reason("warn", text, BOOKS)


def _clock(seen: Situation, _given: Settings) -> Iterator[Reason]:
    """Whether somebody keeps house. Without RabbitMQ the clock has nothing to write down."""
    if seen.facts is None or seen.queues is None or not _clock_is_silent(seen.facts):
        return
    at = seen.facts.seldom.sampled_at
    since = "has never run" if at is None else f"last gave a sign {ago(at, seen.facts.at)}"
    text = (
        f"The clock {since}: no history of the queues, no clean-up, no partitions for the months "
        "to come. Start it: holdfast clock"
    )
    yield Reason("warn", text, BOOKS)


def _clock_is_silent(facts: Facts) -> bool:
    at = facts.seldom.sampled_at
    return _running_long(facts) if at is None else facts.at - at > CLOCK_SILENT


def _running_long(facts: Facts) -> bool:
    first = min((worker.started_at for worker in facts.workers), default=facts.at)
    return facts.at - first > CLOCK_LATE


#: In the order of the headline.
RULES: Final[Sequence[Callable[[Situation, Settings], Iterator[Reason]]]] = (
    _silence, _read_only, _stuck, _failing, _dead, _dropped, _put_back, _workers, _left_alone,
    _full, _books, _failures, _rejections, _choices, _clock, _host_clock,
)  # fmt: skip
