"""The verdict over a snapshot: whether all is well, and if not, why, and where to look."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Final, Literal, NamedTuple

from config import Settings
from web.dashboard import standing, words
from web.dashboard.snapshot import Facts, Snapshot

#: Waiting for longer is worth a word, and for much longer it is wrong.
OLDEST_WARN_S: Final = 60.0
OLDEST_BAD_S: Final = 300.0
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

Weight = Literal["bad", "warn"]


class Reason(NamedTuple):
    """Why the verdict is not a plain yes. address: where to look."""

    weight: Weight
    text: str
    address: str


class Verdict(NamedTuple):
    weight: Literal["good", "warn", "bad"]
    title: str
    reasons: list[Reason]


def judge(snapshot: Snapshot, given: Settings) -> Verdict:
    """Whether all is well, in one sentence, and why not."""
    reasons = sorted(_reasons(snapshot, given), key=lambda reason: reason.weight)
    if not reasons:
        return Verdict("good", "All is well: orders are taken and decided.", [])
    bad = [reason for reason in reasons if reason.weight == "bad"]
    if bad:
        count = words.plural(len(bad), "thing needs", "things need")
        return Verdict("bad", f"{count} you now.", reasons)
    count = words.plural(len(reasons), "thing is", "things are")
    return Verdict("warn", f"It runs; {count} worth a look.", reasons)


def _reasons(snapshot: Snapshot, given: Settings) -> Iterator[Reason]:
    known = standing.queues(snapshot)
    if snapshot.queues.unknown_since:
        yield Reason("bad", _silent("RabbitMQ", snapshot.queues.unknown_since), "/readyz")
    else:
        yield from _of_queues(known, given)
    facts = snapshot.facts.value
    if facts is None:
        since = snapshot.facts.unknown_since or snapshot.at
        yield Reason("bad", _silent("The database", since), "/readyz")
        return
    yield from _of_workers(facts)
    yield from _of_failures(facts)
    yield from _of_controls(facts)
    yield from _of_books(facts, given)
    # Without RabbitMQ the clock has nothing to write down.
    if snapshot.queues.known:
        yield from _of_clock(facts)


def _silent(what: str, since: datetime) -> str:
    return f"{what} has not answered since {since:%H:%M:%S} UTC"


def _of_queues(known: list[standing.Queue], given: Settings) -> Iterator[Reason]:
    address = "/dashboard/actors#queues"
    alone = [q for q in known if q.state and not q.state.consumers and not q.paused]
    if alone:
        waiting = sum(q.state.ready for q in alone if q.state)
        count = words.plural(len(alone), "queue has", "queues have")
        rest = f", and {words.plural(waiting, 'message waits', 'messages wait')}" if waiting else ""
        yield Reason("bad", f"{count} no consumer{rest}", address)
    old = max(known, key=lambda q: 0.0 if q.paused else q.oldest_s or 0.0)
    if not old.paused and (old.oldest_s or 0) > OLDEST_WARN_S:
        weight: Weight = "bad" if (old.oldest_s or 0) > OLDEST_BAD_S else "warn"
        age = words.duration(old.oldest_s)
        yield Reason(weight, f"The oldest message in {old.name} has waited {age}", address)
    for queue in known:
        if queue.state and queue.state.ready > FULL_SHARE * given.queue_length_max:
            share = words.percent(queue.state.ready / given.queue_length_max)
            yield Reason("bad", f"{queue.name} is {share} full; full, it refuses orders", address)


def _of_workers(facts: Facts) -> Iterator[Reason]:
    address = "/dashboard/workers"
    if not facts.alive():
        yield Reason("bad", "No worker is alive: orders are taken, but not decided", address)
    gone = sum(facts.at - worker.seen_at < GONE_LATELY for worker in facts.gone())
    if gone:
        text = words.plural(gone, "worker", "workers")
        yield Reason("warn", f"{text} fell silent without stopping in good order", address)


def _of_failures(facts: Facts) -> Iterator[Reason]:
    if facts.seldom.failures:
        count = words.plural(facts.seldom.failures, "failure waits", "failures wait")
        yield Reason("warn", f"{count} to be retried or discarded", "/dashboard/failures")
    failing = {one.actor: one.failed for one in facts.figures.values() if one.failed}
    if failing:
        count = words.plural(sum(failing.values()), "attempt")
        text = f"{count} failed in the last minute ({', '.join(sorted(failing))})"
        yield Reason("warn", text, "/dashboard/actors")


def _of_controls(facts: Facts) -> Iterator[Reason]:
    for paused in facts.paused.values():
        text = f"{paused.queue} is paused by {paused.paused_by}: {paused.reason}"
        yield Reason("warn", text, "/dashboard/actors#queues")
    limited = {one.actor: one.limited for one in facts.figures.values() if one.limited}
    for actor, count in limited.items():
        text = f"A rate limit has held {actor} back {count:,} times in the last minute"
        yield Reason("warn", text, "/dashboard/actors")


def _of_books(facts: Facts, given: Settings) -> Iterator[Reason]:
    """Whether the books agree, as last looked up."""
    address = "/dashboard#reconciliation"
    found = facts.seldom.reconciled
    if found is None:
        wanted = given.reconcile_every_s > 0
        if wanted and _running_long(facts) and not _clock_is_silent(facts):
            yield Reason("warn", "The books were never checked yet", address)
        return
    for wrong in found.wrong:
        count = words.plural(wrong.differences, "difference")
        yield Reason("bad", f"Reconciliation found {count} between {wrong.between}", address)
    late = timedelta(seconds=RECONCILED_WARN_ROUNDS * given.reconcile_every_s)
    if late and facts.at - found.at > late:
        when = words.ago(found.at, facts.at)
        text = f"The books were last checked {when}; does the clock run?"
        yield Reason("warn", text, address)


def _of_clock(facts: Facts) -> Iterator[Reason]:
    """Whether somebody keeps house."""
    if not _clock_is_silent(facts):
        return
    at = facts.seldom.sampled_at
    since = "has never run" if at is None else f"last gave a sign {words.ago(at, facts.at)}"
    text = (
        f"The clock {since}: no history of the queues, no clean-up, no partitions for the months "
        "to come. Start it: holdfast clock"
    )
    yield Reason("warn", text, "/dashboard#reconciliation")


def _clock_is_silent(facts: Facts) -> bool:
    at = facts.seldom.sampled_at
    return _running_long(facts) if at is None else facts.at - at > CLOCK_SILENT


def _running_long(facts: Facts) -> bool:
    first = min((worker.started_at for worker in facts.workers), default=facts.at)
    return facts.at - first > CLOCK_LATE
