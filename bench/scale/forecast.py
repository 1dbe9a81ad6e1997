"""How far it goes: 1 to 100 web and worker processes, each on a core of its own.

Web and worker processes are two axes: as many of each, and every combination of a few.
"""

import math
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from typing import Any

from bench.scale.costs import Costs
from bench.scale.measure import FLASH_SHARE, GRID_LOADS, WEBS, WORKERS
from bench.scale.model import Load, Outcome, Setup, Simulation, quantile

PROCESSES = (1, 2, 4, 10, 100)
#: More of each must not carry less.
FEW, MANY = 10, 100
#: Between machines of one data centre.
RTT_S = 0.0003
#: A part that is busy for this share of the time is what limits.
FULL = 0.85
#: Of the time of transactions, waiting for stock rows: from here on they limit.
LOCKED = 0.35
NOT_REACHED = "none reached"
#: Orders a second that are offered to look for the capacity: from, to, and the steps between.
OFFERED_MIN, OFFERED_MAX, STEP = 1_000.0, 80_000.0, 2.0
#: Where more than this share of what is offered piles up, it falls behind.
PILED_UP = 0.06
#: Halvings of the step between what is kept up with and what is not.
HALVINGS = 3
#: Capacities that differ by less are the same.
RESOLUTION = STEP ** (1 / 2**HALVINGS)
#: For how long, and for how many orders at least: queues take a while to fill.
WARM_S, WARM_ORDERS = 0.3, 2_000
SECONDS, ORDERS = 0.6, 3_000


@dataclass(frozen=True)
class Scenario:
    """shards: so many systems side by side, each with its own PostgreSQL and its own products.

    flash: units on hand, as a share of the orders.
    """

    name: str
    load: Load
    flash: float | None = None
    shards: int = 1


SCENARIOS = [
    Scenario("1,000 SKUs", Load()),
    Scenario("100,000 SKUs", Load(skus=100_000)),
    Scenario("one hot SKU", Load(skus=100_000, hot=True)),
    Scenario("flash sale", Load(lines=1, hot=True), flash=FLASH_SHARE),
    Scenario("8 shards of 12,500 SKUs", Load(skus=12_500), shards=8),
]


@dataclass(frozen=True)
class Forecast:
    """capacity: orders a second; limit: what is full there; the times at half of it, in ms."""

    scenario: str
    web: int
    workers: int
    capacity: float
    limit: str
    busy: dict[str, float]
    orders_per_message: float
    orders_per_transaction: float
    p50_ms: float
    p99_ms: float


def forecasts(
    costs: Costs, scenarios: Sequence[Scenario] = SCENARIOS, processes: Sequence[int] = PROCESSES
) -> list[Forecast]:
    """Every scenario at every number of processes, and the grid's on both axes."""
    jobs = [
        (costs, scenario, web, workers)
        for scenario in scenarios
        for web, workers in _numbers(scenario, processes)
    ]
    with ProcessPoolExecutor() as pool:
        return list(pool.map(forecast, *zip(*jobs, strict=True)))


def _numbers(scenario: Scenario, processes: Sequence[int]) -> list[tuple[int, int]]:
    of_each = [(number, number) for number in processes if number >= scenario.shards]
    if scenario.name not in GRID_LOADS:
        return of_each
    return sorted({*of_each, *((web, workers) for web in WEBS for workers in WORKERS)})


def forecast(costs: Costs, scenario: Scenario, web: int, workers: int) -> Forecast:
    """The capacity of so many web and worker processes, and the times at half of it."""
    setup = Setup(round(web / scenario.shards), round(workers / scenario.shards), rtt_s=RTT_S)
    found, over = capacity(costs, setup, scenario)
    half = _run(costs, setup, scenario, found.orders_per_s / 2)
    return Forecast(
        scenario.name,
        web,
        workers,
        found.orders_per_s * scenario.shards,
        limit(over or found),
        (over or found).busy,
        found.accepted / max(found.messages, 1),
        found.decided / max(found.transactions, 1),
        quantile(half.waits_ms, 0.5),
        quantile(half.waits_ms, 0.99),
    )


def capacity(costs: Costs, setup: Setup, scenario: Scenario) -> tuple[Outcome, Outcome | None]:
    """The load that all smaller ones up to it are kept up with, and one that is not, if any.

    From below: batches grow with what is offered, so that a larger load may fit where a smaller
    one does not, which is of no use to who has to pass the smaller one first.
    """
    low, high = 0.0, min(OFFERED_MIN, OFFERED_MAX)
    found, over = None, None
    while over is None and low < OFFERED_MAX:
        tried = _run(costs, setup, scenario, high)
        if falls_behind(tried):
            over = tried
        else:
            found, low, high = tried, high, min(high * STEP, OFFERED_MAX)
    for _ in range(HALVINGS if over else 0):
        rate = math.sqrt(max(low, OFFERED_MIN / STEP) * high)
        tried = _run(costs, setup, scenario, rate)
        if falls_behind(tried):
            high, over = rate, tried
        else:
            low, found = rate, tried
    return found or over or tried, over


def _run(costs: Costs, setup: Setup, scenario: Scenario, rate: float) -> Outcome:
    warm_s, seconds = max(WARM_S, WARM_ORDERS / rate), max(SECONDS, ORDERS / rate)
    load = replace(scenario.load, rate=rate, warm_s=warm_s, seconds=seconds)
    if scenario.flash is not None:
        load = replace(load, stock=int(scenario.flash * rate * (warm_s + seconds)))
    return Simulation(costs, setup, load).run()


def falls_behind(outcome: Outcome) -> bool:
    return outcome.posted - outcome.decided > PILED_UP * outcome.posted


def limit(outcome: Outcome) -> str:
    """What keeps it from deciding more."""
    busy = outcome.busy
    piled_up = outcome.accepted - outcome.decided > outcome.posted - outcome.accepted
    behind = piled_up and busy["transactions"] >= FULL
    if behind and busy["row locks"] >= LOCKED * busy["transactions"]:
        return "row locks"
    # Orders pile up before the part that is full: accepted ones, or those that are not yet.
    parts = ("worker", "database", "disk") if behind else ("web", "queue")
    fullest = max(parts, key=lambda name: busy[name])
    if busy[fullest] >= FULL:
        return fullest
    return "transactions" if behind else NOT_REACHED


def as_json(found: Sequence[Forecast]) -> list[dict[str, Any]]:
    return [asdict(one) for one in found]


def shrinking(found: Sequence[Forecast]) -> list[str]:
    """Scenarios in which many processes of each carry less than few, by what can be told."""
    of_each = {(one.scenario, one.web): one.capacity for one in found if one.web == one.workers}
    names = dict.fromkeys(one.scenario for one in found)
    few, many = (
        {name: of_each.get((name, number), missing) for name in names}
        for number, missing in ((FEW, 0.0), (MANY, math.inf))
    )
    return [name for name in names if RESOLUTION * many[name] < few[name]]
