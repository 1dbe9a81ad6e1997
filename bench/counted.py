"""A counted run: an order counts when it is decided and committed, not when it is accepted."""

import time
from dataclasses import dataclass, field

from bench.books import Books, differences
from bench.load import OrderLoad, Orders
from bench.resources import Memory, Meter
from bench.servers import connected
from bench.system import System

POLL_SECONDS = 0.02
#: With no order decided for this long, those that are missing are lost.
STALL_SECONDS_MAX = 30.0
WARM_UP = Orders(connections=64, seconds=1)


@dataclass(frozen=True)
class Run:
    """What one run was. accepted_ms: time to the `202`; cpu: seconds per 1,000 orders."""

    orders_per_s: float
    accepted: int
    seconds: float
    drain_seconds: float
    accepted_p50_ms: float
    accepted_p99_ms: float
    cpu: dict[str, float]
    memory: list[Memory]
    faults: list[str] = field(default_factory=list)


def warm_up(system: System) -> None:
    """Connections opened and code loaded; returns when all of it is decided."""
    with connected(system.site.database_url) as database:
        books = Books(database)
        before = books.orders_decided()
        with OrderLoad(system.address, WARM_UP) as load:
            load.all_answered()
            accepted = load.answers().accepted
        _wait_decided(books, before + accepted)


def run(system: System, orders: Orders, *, check: bool = True, scarce: bool = False) -> Run:
    """Post orders and wait until the last accepted one is decided.

    check: look at the books in full afterwards; costs a read of every row. scarce: some orders are
    refused.
    """
    with connected(system.site.database_url) as database:
        books = Books(database, orders.lines, scarce=scarce)
        before, counts = books.orders_decided(), books.counts() if check else None
        with OrderLoad(system.address, orders) as load:
            meter = Meter(system.components() | {"load generator": [load.pid]})
            first = load.first_request()
            idle = load.all_answered()
            generator = meter.cpu_seconds()["load generator"]
            answers = load.answers()
        accepted = answers.accepted * orders.batch
        decided, last = _wait_decided(books, before + accepted)
        cpu = meter.cpu_seconds() | {"load generator": generator}
        faults = _faults(answers.refused, answers.broken, accepted - int(decided - before))
        if counts is not None:
            faults += differences(counts, books.counts(), accepted, orders.lines) + books.faults()
        return Run(
            orders_per_s=accepted / (last - first),
            accepted=accepted,
            seconds=last - first,
            drain_seconds=last - idle,
            accepted_p50_ms=answers.p50_ms,
            accepted_p99_ms=answers.p99_ms,
            cpu={name: seconds / accepted * 1000 for name, seconds in cpu.items()},
            memory=meter.memory(),
            faults=faults,
        )


def _wait_decided(books: Books, wanted: float) -> tuple[float, float]:
    """How many are decided, and when the last was; gives up when nothing moves any more."""
    decided, moved = books.orders_decided(), time.monotonic()
    while decided < wanted and time.monotonic() - moved < STALL_SECONDS_MAX:
        time.sleep(POLL_SECONDS)
        now = books.orders_decided()
        if now != decided:
            decided, moved = now, time.monotonic()
    return decided, moved


def _faults(refused: int, broken: int, missing: int) -> list[str]:
    found = {"requests refused": refused, "connections broken": broken, "orders missing": missing}
    return [f"{number} {name}" for name, number in found.items() if number]
