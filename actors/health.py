"""Whether a worker, or a clock, can do its work: a judgement over what it says of itself.

| status | what it means | what to do |
|---|---|---|
| ok | it works | |
| degraded | what it needs is away, or it is slow or stopping | wait: a restart would not help |
| degraded | a message comes back for more than a minute | mend what it says: a restart would not |
| unhealthy | it can't work, and won't by itself | start it again |

Pure: times are given, nothing is asked for.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final, Literal

import msgspec

Status = Literal["ok", "degraded", "unhealthy"]

#: A process that wrote nothing for so long is taken for hung.
SILENT_S_MAX: Final = 10.0
#: A lost connection is back within some 10 s; who still has no consumer while RabbitMQ takes
#: connections is refused something, or has lost count of itself.
MISSING_S_MAX: Final = 60.0
#: As long as a worker counts as alive without a report.
DATABASE_S_MAX: Final = 15.0
#: Messages take milliseconds; the longest wait in one, for a statement, ends after 15 s.
STUCK_S_MAX: Final = 60.0
#: All waits in a message have a bound, so what still runs then runs for ever: an endless loop.
HUNG_S_MAX: Final = 300.0
#: A fault that lasts longer hardly passes by itself.
PUT_BACK_S_MAX: Final = 60.0
#: Its longest job, housekeeping, is some statements of 15 s at most.
CLOCK_SILENT_S_MAX: Final = 120.0


class PutBack(msgspec.Struct, frozen=True, kw_only=True):
    """A message that came back, for an attempt decided nothing: see actors/put_backs.py.

    count: how often, as far as this process knows; first_ms, last_ms: when an attempt first and
    last failed, in milliseconds since 1970; error: its class and its first line, in ASCII.
    """

    message_id: str
    queue: str
    actor: str
    count: int
    first_ms: int
    last_ms: int
    error: str

    @property
    def lasted_s(self) -> float:
        return (self.last_ms - self.first_ms) / 1000


class Vitals(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker process says of itself.

    at: when, on the machine's monotonic clock. missing: by queue, for how long there has been no
    consumer while RabbitMQ took connections. database_s: since a report was last committed.
    oldest_s: the age of the oldest message that it has not settled; None: it holds none. stuck_s:
    for how long its threads have been busy without finishing any message, while the database took
    reports. put_back: messages that come back, those first that have done so the longest.
    database_says: why it takes no reports, where it says; troubles: what somebody has to mend.
    """

    at: float
    stopping: bool
    threads: int
    threads_alive: int
    consumers: int
    dead: list[str]
    missing: dict[str, float]
    database_s: float
    oldest_s: float | None
    stuck_s: float
    put_back: list[PutBack] = []
    database_says: str = ""
    troubles: list[str] = []


class Health(msgspec.Struct, frozen=True):
    """A judgement, with its reasons in words."""

    status: Status
    reasons: list[str]

    @property
    def ready(self) -> bool:
        return self.status == "ok"


def broken(vitals: Vitals) -> Iterator[str]:
    """Why a worker can't work and never will again; nothing of one that can, or is stopping."""
    if vitals.stopping:
        return
    if dead := vitals.threads - vitals.threads_alive:
        yield f"{dead} of {vitals.threads} worker threads died"
    for queue in vitals.dead:
        yield f"the thread that consumes {queue} died"
    for queue, missing_s in vitals.missing.items():
        if missing_s > MISSING_S_MAX:
            yield f"no consumer on {queue} for {missing_s:.0f} s, though RabbitMQ takes connections"
    if vitals.stuck_s > HUNG_S_MAX:
        yield f"{_stuck(vitals)}, though the database takes reports"


def judge(vitals: Vitals, now: float) -> Health:
    """The health of one worker process. now: on the machine's monotonic clock."""
    if now - vitals.at > SILENT_S_MAX:
        return Health("unhealthy", [f"it said nothing for {now - vitals.at:.0f} s"])
    if found := list(broken(vitals)):
        return Health("unhealthy", found)
    waits = list(_waits(vitals))
    return Health("degraded" if waits else "ok", waits)


def _waits(vitals: Vitals) -> Iterator[str]:
    if vitals.stopping:
        yield "it is stopping"
        return
    if vitals.missing:
        yield f"no consumer on {', '.join(vitals.missing)} now"
    if vitals.database_s > DATABASE_S_MAX:
        why = f": {vitals.database_says}" if vitals.database_says else ""
        yield f"the database took no report for {vitals.database_s:.0f} s{why}"
    if vitals.stuck_s > STUCK_S_MAX:
        yield _stuck(vitals)
    yield from _put_back(vitals.put_back)
    yield from vitals.troubles


def _put_back(messages: Sequence[PutBack]) -> Iterator[str]:
    long = [message for message in messages if message.lasted_s > PUT_BACK_S_MAX]
    if long:
        first, others = long[0], f" and {len(long) - 1} more" if len(long) > 1 else ""
        yield (
            f"message {first.message_id} of {first.queue}{others} has kept coming back for "
            f"{first.lasted_s:.0f} s: {first.error}"
        )


def _stuck(vitals: Vitals) -> str:
    return f"busy, but no message was finished for {vitals.stuck_s:.0f} s"


def of_clock(
    *, active: bool, away: list[str], silent_s: float, troubles: Sequence[str] = ()
) -> Health:
    """The health of a clock. away: what it can't reach; troubles: other things that somebody has
    to mend, in words; one that stands by is well."""
    if silent_s > CLOCK_SILENT_S_MAX:
        return Health("unhealthy", [f"it did nothing for {silent_s:.0f} s"])
    if reasons := [*(f"{name} can't be reached" for name in away), *troubles]:
        return Health("degraded", reasons)
    return Health("ok", [] if active else ["it stands by"])


def answer_of_group(processes: Mapping[int, Vitals], now: float) -> dict[str, object]:
    """The health of a group of workers by their pids, as JSON has it: that of the worst of them."""
    judged = {pid: judge(vitals, now) for pid, vitals in processes.items()}
    return {
        **answer(worst(judged)),
        "processes": [
            {"pid": pid, **answer(judged[pid]), **msgspec.to_builtins(vitals)}
            for pid, vitals in processes.items()
        ],
    }


def answer(health: Health) -> dict[str, object]:
    """A judgement as JSON has it."""
    return {"status": health.status, "ready": health.ready, "reasons": health.reasons}


def worst(judged: Mapping[int, Health]) -> Health:
    """The worst of the processes, with all their reasons. None at all can't work, either."""
    if not judged:
        return Health("unhealthy", ["there is no worker process"])
    order: tuple[Status, ...] = ("ok", "degraded", "unhealthy")
    status = max((one.status for one in judged.values()), key=order.index)
    reasons = [f"process {pid}: {why}" for pid, one in judged.items() for why in one.reasons]
    return Health(status, reasons)
