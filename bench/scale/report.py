"""The figures of docs/scaling.md, between two marks, its pictures, and README's word on them."""

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bench.report import table
from bench.scale import chart, fitting
from bench.scale.costs import TERMS, Costs, distinct
from bench.scale.fitting import ERROR_MAX, Check
from bench.scale.forecast import (
    FEW,
    MANY,
    PROCESSES,
    RESOLUTION,
    RTT_S,
    SCENARIOS,
    Forecast,
    as_json,
    forecasts,
    shrinking,
)
from bench.scale.measure import GRID_LOADS, WEBS, WORKERS, Measured, Observation, cell
from bench.scale.model import Setup

BEGIN, END = "<!-- scale:begin -->", "<!-- scale:end -->"
PAGE = "scaling.md"
SERVERS = ("web", "RabbitMQ", "worker", "PostgreSQL")
EXTENT = ("rounds", "seconds", "grid_rounds", "grid_seconds")
NOT_MEASURED = "not measured yet"
#: With a larger share of the machine's cores at others, the service was not alone on it.
STRANGERS_MAX = 0.1


def write(
    measured: Measured, facts: Mapping[str, Any], docs: Path, *, keep: bool
) -> dict[str, Any]:
    """Fit, check, simulate, and put it into the page; keep: leave the page as it is.

    Returns what was found, for the file of results.
    """
    here = fitting.machine(measured, int(facts["machine"]["cores"]))
    costs = fitting.costs_of(measured, here)
    checks = fitting.checks(measured, costs, here)
    print(_checks(checks), flush=True)
    found = forecasts(costs)
    text = figures(measured, costs, checks, found, facts)
    if not keep:
        _put(docs / PAGE, f"\n{text}\n")
        _put(docs.parent / "README.md", warning(measured, facts))
        for name, picture in _pictures(costs, found).items():
            (docs / "images" / name).write_text(picture)
    return {
        "costs": asdict(costs),
        "checks": [{**asdict(check), "error": check.error} for check in checks],
        "forecasts": as_json(found),
    }


def _put(page: Path, text: str) -> None:
    before, _, rest = page.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    page.write_text(f"{before}{BEGIN}{text}{END}{after}")


def warning(measured: Measured, facts: Mapping[str, Any]) -> str:
    """What the figures are worth, in few words; nothing where that need not be said."""
    reasons = [
        *(["a short run"] if facts["extent"]["rounds"] == 1 else []),
        *(["a busy machine"] if _strangers(measured) > STRANGERS_MAX else []),
    ]
    return f" (preliminary: {' on '.join(reasons)})" if reasons else ""


def _strangers(measured: Measured) -> float:
    """The share of the machine's cores that others had."""
    return 1 - fitting.machine(measured, 1).speed


def figures(
    measured: Measured,
    costs: Costs,
    checks: Sequence[Check],
    found: Sequence[Forecast],
    facts: Mapping[str, Any],
) -> str:
    runs = _medians(measured.runs)
    return "\n\n".join(
        [
            _facts(measured, facts),
            "### What an order costs",
            _measured_costs(runs),
            _connections(runs),
            "### What that is made of",
            _fitted(costs),
            "### How it grows",
            _growth(costs),
            "![CPU time of an order by the size of the transaction](images/scaling-cost.svg)",
            _partitions(measured),
            "### Web and worker processes, each on its own axis",
            f"On these {facts['machine']['cores']} cores, which everything shares: measured "
            "(predicted), orders a second.",
            *(_grid(load, checks) for load in GRID_LOADS),
            _slower(checks),
            "### Predicted and measured",
            _checks(checks),
            _verdict(checks),
            "### From 1 to 100 processes",
            "Web and worker processes, as many of each, every one on a core of its own; PostgreSQL "
            f"on {Setup().database_cores} cores; one queue; {RTT_S * 1000:g} ms between machines. "
            "Orders a second at capacity, and what is full there:",
            _forecasts(found),
            _shrinking(found),
            "![Orders a second by the number of processes](images/scaling-throughput.svg)",
            "Of the same, web and worker processes on an axis each:",
            *(_axes(load, found) for load in GRID_LOADS),
            "Accepted to decided at half of that, p50 / p99 in ms (orders per message and per "
            "transaction, at capacity):",
            _times(found),
            _written(found, runs),
        ]
    )


def _medians(runs: Sequence[Observation]) -> dict[str, list[Observation]]:
    by_name: dict[str, list[Observation]] = {}
    for run in runs:
        by_name.setdefault(run.shape.name, []).append(run)
    return by_name


def _median(runs: Iterable[Observation], value: str, part: str | None = None) -> float:
    """Per order, where it is CPU or bytes."""
    return float(
        statistics.median(
            getattr(run, value)[part] / run.orders if part else getattr(run, value) for run in runs
        )
    )


def _facts(measured: Measured, facts: Mapping[str, Any]) -> str:
    machine, versions, extent = facts["machine"], facts["versions"], facts["extent"]
    text = (
        f"{facts['when']}, {machine['cores']} cores ({machine['processor']}) shared by load "
        f"generator, service and servers, Python {machine['python']}, PostgreSQL "
        f"{versions['postgresql']} (durable), RabbitMQ {versions['rabbitmq']}, revision "
        f"{machine['revision']}. {_extent(*(extent[name] for name in EXTENT))}"
    )
    text += f" Others (kernel, hypervisor) had {_strangers(measured):.0%} of the cores meanwhile."
    if why := warning(measured, facts):
        text += (
            f"\n\n**All of this is worth little{why}**: rates and waits are those of the moment, "
            "CPU times are too high, and the predictions inherit that. `make scale` on a quiet "
            "machine writes it anew."
        )
    if measured.faults:
        text += "\n\n**Faults:** " + "; ".join(measured.faults)
    return text


def _extent(rounds: int, seconds: float, grid_rounds: int, grid_seconds: float) -> str:
    if rounds == 1:
        return f"Each load ran once, for {seconds:g} s."
    return (
        f"Medians of {rounds} runs of {seconds:g} s, in turns; on the two axes of {grid_rounds} "
        f"of {grid_seconds:g} s."
    )


def _measured_costs(runs: Mapping[str, list[Observation]]) -> str:
    rows = []
    for name, same in runs.items():
        cpu = [_median(same, "cpu", part) * 1e6 for part in SERVERS]
        sizes = [_median(same, "bytes", part) for part in
                 ("WAL", "disk", "RabbitMQ", "PostgreSQL", "all links")]  # fmt: skip
        rows.append(
            (
                name,
                f"{_median(same, 'orders_per_s'):,.0f}",
                f"{statistics.median(r.orders / max(r.messages, 1) for r in same):,.0f}",
                f"{statistics.median(r.orders / max(r.transactions, 1) for r in same):,.0f}",
                *(f"{value:,.0f}" for value in cpu),
                f"{sum(cpu):,.0f}",
                *(f"{value:,.0f}" for value in sizes),
            )
        )
    head = ("load (2 lines, 1,000 SKUs, 128 connections, 1 web, 1 worker, unless it says so)",
            "orders/s", "orders per message", "per transaction", *(f"{s}, µs" for s in SERVERS),
            "CPU, µs", "WAL, bytes", "disk", "RabbitMQ's links",
            "PostgreSQL's", "all links")  # fmt: skip
    return table(head, rows)


def _connections(runs: Mapping[str, list[Observation]]) -> str:
    few = runs["web 1, worker 1"][0].connections
    many = runs["web 2, worker 2, 64 connections"][0].connections
    return (
        f"PostgreSQL had {few} connections of one web and one worker process, and {many} of two "
        "and two. *Disk* is what the database grew by, indexes included; *all links* is the "
        "loopback with all headers, the load generator's too."
    )


def _fitted(costs: Costs) -> str:
    terms = ["second", "request", "message", "transaction", "order", "line", "row", "refused",
             "beside"]  # fmt: skip
    rows = [
        (
            name,
            *(_micro(costs.cpu[name].get(term)) if term in TERMS[name] else "" for term in terms),
        )
        for name in ("load generator", *SERVERS)
    ]
    few, many = (costs.held_s(distinct(2 * orders, 1000)) * 1000 for orders in (20, 500))
    order, line = (costs.message_bytes.get(name, 0) for name in ("order", "line"))
    waits = (
        f"Waits: {costs.flush_s * 1000:.2f} ms a commit's flush and "
        f"{costs.flush_order_s * 1e6:.1f} µs for each order in it; {costs.trips_s * 1000:.2f} ms "
        f"a transaction's round trips beside CPU; {costs.confirm_s * 1000:.2f} ms an idle "
        f"RabbitMQ's confirm. To look for a decision costs {costs.look_s * 1000:.2f} ms of CPU a "
        "statement, half in the front door, half in PostgreSQL. "
        f"A transaction has {costs.trips} statements before its last one, which holds the stock "
        f"rows for {few:.2f} ms (20 orders) to {many:.2f} ms (500) and the flush. One queue of a "
        f"saturated RabbitMQ takes {costs.queue_s * 1e6:,.0f} µs a "
        f"message and {costs.queue_byte_s * 1e9:.2f} ns a byte; an order has {order:,.0f} bytes "
        f"there and {line:,.0f} a line."
    )
    head = (
        "CPU, µs for each",
        "second",
        *terms[1:-3],
        "stock row changed",
        "order refused",
        "transaction beside another",
    )
    return f"{table(head, rows)}\n\n{waits}"


def _micro(seconds: float | None) -> str:
    return "" if seconds is None else f"{seconds * 1e6:,.0f}"


def order_s(costs: Costs, batch: float, lines: int = 2, skus: int = 1000) -> dict[str, float]:
    """CPU seconds of one order in messages and transactions of so many, by component."""
    once = 1 / batch
    row = distinct(batch * lines, skus) / batch
    counts = {"request": 1, "order": 1, "line": lines, "message": once, "transaction": once}
    return {name: costs.of(name, **counts, row=row) for name in SERVERS}


def _growth(costs: Costs) -> str:
    batches = (1, 10, 100, 500)
    rows = [
        (f"{lines} line{'s' if lines > 1 else ''}, {skus:,} SKUs",
         *(f"{sum(order_s(costs, batch, lines, skus).values()) * 1e6:,.0f}" for batch in batches))
        for lines, skus in ((1, 1000), (2, 1000), (2, 100_000), (5, 1000), (10, 1000), (50, 1000))
    ]  # fmt: skip
    head = ("CPU of all four, µs an order", *(f"{n} per message and transaction" for n in batches))
    return table(head, rows)


def _partitions(measured: Measured) -> str:
    months = sorted({one.step.months for one in measured.applied})
    found = {}
    for number in months:
        same = [one for one in measured.applied if one.step.months == number
                and (one.step.orders, one.step.lines, one.step.processes) == (100, 2, 1)
                and one.step.skus == 1000]  # fmt: skip
        found[number] = statistics.median(
            sum(one.cpu.values()) / one.transactions / one.step.orders for one in same
        )
    words = ", ".join(f"{cpu * 1e6:,.0f} µs with {n} months" for n, cpu in found.items())
    return ("Partitions made ahead, transactions of 100 orders alone, CPU of worker and PostgreSQL "
            f"for an order: {words}.")  # fmt: skip


def _checks(checks: Sequence[Check]) -> str:
    rows = [
        (check.what, "yes" if check.held_out else "", f"{_number(check.measured)} {check.unit}",
         f"{_number(check.predicted)} {check.unit}", f"{check.error:+.0%}")
        for check in sorted(checks, key=lambda check: not check.held_out)
    ]  # fmt: skip
    return table(("", "held out", "measured", "predicted", "error"), rows)


def _grid(load: str, checks: Sequence[Check]) -> str:
    cells = {
        (web, workers): f"{check.measured:,.0f} ({check.predicted:,.0f})"
        for (web, workers), check in _cells(load, checks).items()
    }
    return _both_axes(load, cells)


def _axes(load: str, found: Sequence[Forecast]) -> str:
    return _both_axes(load, {
        (one.web, one.workers): f"{one.capacity:,.0f}, {one.limit}"
        for one in found if one.scenario == load
    })  # fmt: skip


def _both_axes(load: str, cells: Mapping[tuple[int, int], str]) -> str:
    rows = [
        (f"{workers} worker{'s' if workers > 1 else ''}",
         *(cells.get((web, workers), NOT_MEASURED) for web in WEBS))
        for workers in WORKERS
    ]  # fmt: skip
    return table((load, *(f"{web} web" for web in WEBS)), rows)


def _cells(load: str, checks: Sequence[Check]) -> dict[tuple[int, int], Check]:
    named = {check.what: check for check in checks if check.unit == "orders/s"}
    shapes = {(web, workers): cell(web, workers, load) for web in WEBS for workers in WORKERS}
    return {key: named[shape.name] for key, shape in shapes.items() if shape.name in named}


def worst(load: str, checks: Sequence[Check]) -> tuple[float, str] | None:
    """The measured rate of a cell over the best with fewer processes, where that is lowest."""
    rates = {key: check.measured for key, check in _cells(load, checks).items()}
    found = [
        (rate / max(fewer), f"{web} × {workers}, {load}")
        for (web, workers), rate in rates.items()
        if (fewer := [other for (w, n), other in rates.items()
                      if (w, n) != (web, workers) and w <= web and n <= workers])
    ]  # fmt: skip
    return min(found, default=None)


def _slower(checks: Sequence[Check]) -> str:
    found = [one for load in GRID_LOADS if (one := worst(load, checks)) is not None]
    if not found:
        return NOT_MEASURED
    words = ", ".join(f"{ratio:.2f} ({name})" for ratio, name in found)
    return (
        "The rate of a cell over the best with fewer processes, where it is lowest (medians; web × "
        f"workers): {words}."
    )


def _shrinking(found: Sequence[Forecast]) -> str:
    fewer = shrinking(found)
    if not fewer:
        return (
            f"Nowhere do {MANY} of each carry less than {FEW}, by what the search can tell "
            f"({RESOLUTION - 1:.0%})."
        )
    return f"**{MANY} of each carry less than {FEW}**: {', '.join(fewer)}."


def _number(value: float) -> str:
    """Three digits or four; never an exponent."""
    return f"{value:,.0f}" if value >= 1000 else f"{value:.1f}" if value >= 100 else f"{value:.2f}"


def _verdict(checks: Sequence[Check]) -> str:
    held_out = [check for check in checks if check.held_out]
    rates = [check for check in checks if check.unit == "orders/s"]
    return (
        f"{_within(held_out)} predictions of what the fit did not know are within {ERROR_MAX:.0%}; "
        f"their median error is {statistics.median(abs(check.error) for check in held_out):.0%}. "
        f"Of all rates it is {_within(rates)}."
    )


def _within(checks: Sequence[Check]) -> str:
    return f"{sum(abs(check.error) <= ERROR_MAX for check in checks)} of {len(checks)}"


def _forecasts(found: Sequence[Forecast]) -> str:
    return _by_processes(found, lambda one: f"{one.capacity:,.0f}, {one.limit}")


def _times(found: Sequence[Forecast]) -> str:
    return _by_processes(
        found,
        lambda one: (
            f"{one.p50_ms:,.0f} / {one.p99_ms:,.0f} "
            f"({one.orders_per_message:,.0f}, {one.orders_per_transaction:,.0f})"
        ),
    )


def _by_processes(found: Sequence[Forecast], text: Any) -> str:
    cells = {(one.scenario, one.web): text(one) for one in found if one.web == one.workers}
    rows = [
        (str(number), *(cells.get((s.name, number), "") for s in SCENARIOS)) for number in PROCESSES
    ]
    return table(("processes of each", *(s.name for s in SCENARIOS)), rows)


def _written(found: Sequence[Forecast], runs: Mapping[str, list[Observation]]) -> str:
    best = max(found, key=lambda one: one.capacity)
    same = runs["256 connections"]
    wal, disk, links = (_median(same, "bytes", part) for part in ("WAL", "disk", "all links"))
    return (
        f"At the highest of these, {best.capacity:,.0f} orders a second, that is "
        f"{best.capacity * wal / 1e6:,.0f} MB/s of WAL, "
        f"{best.capacity * 86400 * disk / 1e9:,.0f} GB a day of tables and indexes, "
        f"{best.capacity * links * 8 / 1e9:.2f} Gbit/s over all links."
    )


def _pictures(costs: Costs, found: Sequence[Forecast]) -> dict[str, str]:
    by_scenario = {
        s.name: [
            (float(one.web), one.capacity)
            for one in found
            if one.scenario == s.name and one.web == one.workers
        ]
        for s in SCENARIOS
    }
    sizes = (1, 2, 5, 10, 20, 50, 100, 200, 500)
    by_part = {
        name: [(float(size), max(order_s(costs, size)[name] * 1e6, 0.1)) for size in sizes]
        for name in SERVERS
    }
    return {
        "scaling-throughput.svg": chart.svg(
            "Orders a second, predicted", by_scenario, "web processes, and as many workers",
            "orders/s",
        ),
        "scaling-cost.svg": chart.svg(
            "CPU time of an order of two lines, fitted", by_part,
            "orders in a message and in a transaction", "µs",
        ),
    }  # fmt: skip
