"""From what was measured to the costs of the model, and the model against what was held out."""

import statistics
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from bench.scale.costs import TERMS, Costs, Sample, distinct, fit
from bench.scale.measure import Applied, Measured, Observation, Shape, Waits
from bench.scale.model import Load, Outcome, Setup, Simulation, quantile

#: Predictions are to be no further off than this.
ERROR_MAX = 0.2
PROBES_PER_S = 20


@dataclass(frozen=True)
class Check:
    """A prediction beside its measurement. held_out: whether the fit knew nothing of it."""

    what: str
    unit: str
    measured: float
    predicted: float
    held_out: bool = True

    @property
    def error(self) -> float:
        return self.predicted / self.measured - 1


def costs_of(measured: Measured, here: Setup) -> Costs:
    """Fit all costs; what was marked to be checked is not looked at."""
    runs = [run for run in measured.runs if not run.shape.check]
    steps = [one for one in measured.applied if not one.step.check]
    samples: dict[str, list[Sample]] = {name: [] for name in TERMS}
    for run in runs:
        for name, seconds in run.cpu.items():
            samples[name].append(Sample(_counts(run, name), seconds))
    for one in steps:
        if one.step.months > min(other.step.months for other in steps):
            continue
        for name, seconds in one.cpu.items():
            samples[name].append(Sample(_step_counts(one), seconds))
    cpu = {name: fit(samples[name], terms) for name, terms in TERMS.items()}
    waits: dict[str, Any] = _waits(steps, cpu) | _queue(measured)
    costs = replace(Costs(cpu), message_bytes=_sizes(runs), confirm_s=_confirm_s(measured), **waits)
    return replace(costs, look_s=_look_s(measured, costs, here))


def _counts(run: Observation, component: str) -> dict[str, float]:
    shape = run.shape
    processes = {"web": shape.web, "worker": shape.workers}.get(component, 1)
    per_transaction = run.orders / max(run.transactions, 1)
    return {
        "second": run.seconds * processes,
        "request": run.orders / shape.batch,
        "order": run.orders,
        "line": run.orders * shape.lines,
        "message": run.messages,
        "transaction": run.transactions,
        "row": run.transactions
        * (1 - run.refused / run.orders)
        * _rows(per_transaction, shape.lines, shape.skus, shape.hot),
        "refused": run.refused,
        "beside": run.transactions * (shape.workers > 1),
    }


def _step_counts(one: Applied) -> dict[str, float]:
    step, number = one.step, one.transactions
    return {
        "order": number * step.orders,
        "line": number * step.orders * step.lines,
        "transaction": number,
        "row": 0 if step.sold_out else number * _rows(step.orders, step.lines, step.skus, step.hot),
        "refused": number * step.orders * step.sold_out,
        "beside": number * (step.processes > 1),
    }


def _rows(orders: float, lines: int, skus: int, hot: bool) -> float:
    if hot:
        return 1 + distinct(orders * (lines - 1), skus)
    return distinct(orders * lines, skus)


def _waits(steps: list[Applied], cpu: dict[str, dict[str, float]]) -> dict[str, Any]:
    """How a transaction's time divides, from transactions of one process that ran alone."""
    alone = [one for one in steps if one.step.processes == 1 and not one.step.sold_out]
    held = fit(
        [Sample(_step_counts(one), one.stages["held_s"] - one.stages["log_s"]) for one in alone],
        ("transaction", "row"),
    )
    flush = fit([Sample(_step_counts(one), one.stages["log_s"]) for one in alone],
                ("transaction", "order"))  # fmt: skip
    small = min(alone, key=lambda one: one.step.orders)
    busy = sum(
        sum(cpu[name].get(term, 0.0) * count for term, count in _step_counts(small).items())
        for name in ("worker", "PostgreSQL")
    )
    spent = small.stages["free_s"] + small.stages["held_s"] - small.stages["log_s"]
    return {
        "held": held,
        "flush_s": flush["transaction"],
        "flush_order_s": flush["order"],
        "trips": round(statistics.median(one.trips["free"] for one in alone)),
        "trips_s": max(0.0, (spent - busy) / small.transactions),
    }


def _queue(measured: Measured) -> dict[str, float]:
    found = fit(
        [Sample({"message": q["messages"], "byte": q["messages"] * q["bytes"]}, q["cpu_s"])
         for q in measured.queue],
        ("message", "byte"),
    )  # fmt: skip
    return {"queue_s": found["message"], "queue_byte_s": found["byte"]}


def _sizes(runs: Iterable[Observation]) -> dict[str, float]:
    """Bytes of an order in a message: each passes RabbitMQ's ports twice."""
    return fit(
        [Sample({"order": run.orders, "line": run.orders * run.shape.lines,
                 "message": run.messages}, run.bytes["RabbitMQ"] / 2) for run in runs],
        ("order", "line", "message"),
    )  # fmt: skip


def _confirm_s(measured: Measured) -> float:
    """In the runs and the times of the nearly idle system."""
    least = min(measured.runs, key=lambda run: run.orders_per_s).shape
    idle = [run.publish_s for run in measured.runs if run.shape == least]
    wanted = min(seen.wanted for seen in measured.latency) if measured.latency else 0.0
    return statistics.median(
        [*idle, *(seen.publish_s for seen in measured.latency if seen.wanted == wanted)]
    )


def _look_s(measured: Measured, costs: Costs, here: Setup) -> float:
    """What a look has to cost for an idle system to answer as soon as it was measured to."""
    if not measured.latency:
        return 0.0
    rate, p50_ms, _ = _latencies(measured)[0]
    low, high = 0.0, p50_ms / 1000
    for _ in range(8):
        middle = (low + high) / 2
        outcome = _probed(replace(costs, look_s=middle), rate, here)
        if quantile(outcome.seen_ms, 0.5) < p50_ms:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def _probed(costs: Costs, rate: float, machine: Setup) -> Outcome:
    return Simulation(costs, machine, Load(rate=rate, probes=PROBES_PER_S, seconds=6)).run()


def machine(measured: Measured, cores: int) -> Setup:
    """This machine, and what of its cores is ours when all are busy."""
    full = [run.strangers for run in measured.runs if not (run.shape.rate or run.shape.check)]
    return Setup(shared_cores=cores, speed=1 - statistics.median(full))


def checks(measured: Measured, costs: Costs, here: Setup) -> list[Check]:
    """Every run of which the result is not given by its load, predicted.

    What others on the machine took meanwhile is taken as it was in that run.
    """
    found = []
    by_shape: dict[Shape, list[Observation]] = {}
    for run in measured.runs:
        by_shape.setdefault(run.shape, []).append(run)
    for shape, runs in by_shape.items():
        if shape.rate:
            continue
        rate = statistics.median(run.orders_per_s for run in runs)
        seconds = statistics.median(run.posted_s for run in runs)
        others = statistics.median(run.strangers for run in runs)
        setup = replace(here, web=shape.web, workers=shape.workers, speed=1 - others)
        stock = statistics.median(run.orders - run.refused for run in runs)
        load = replace(_load(shape, seconds), stock=int(stock) if shape.flash else None)
        outcome = Simulation(costs, setup, load).run()
        found.append(Check(shape.name, "orders/s", rate, outcome.orders_per_s, shape.check))
        if shape.batch == 1:
            full = statistics.median(run.orders / run.messages for run in runs)
            predicted = outcome.accepted / outcome.messages
            found.append(Check(shape.name, "orders a message", full, predicted, shape.check))
    for one in measured.applied:
        step = one.step
        if step.months > 3:
            continue
        simulation = Simulation(
            costs, replace(here, workers=step.processes, speed=1 - one.strangers),
            Load(lines=step.lines, skus=step.skus, hot=step.hot, seconds=one.seconds,
                 stock=0 if step.sold_out else None),
        )  # fmt: skip
        outcome = simulation.run_transactions(step.orders)
        found.append(
            Check(_named(one), "orders/s", one.orders_per_s, outcome.orders_per_s, step.check)
        )
    for number, (wanted, p50_ms, begun_ms) in enumerate(_latencies(measured)):
        outcome = _probed(costs, wanted, here)
        for what, was_ms, times_ms in (
            ("POST to decided", p50_ms, outcome.seen_ms),
            ("Taken to its transaction", begun_ms, outcome.begun_ms),
        ):
            name = f"{what} at {wanted:,.0f} orders/s, p50"
            fitted = number == 0 and times_ms is outcome.seen_ms
            found.append(Check(name, "ms", was_ms, quantile(times_ms, 0.5), not fitted))
    return found


def _latencies(measured: Measured) -> list[tuple[float, float, float]]:
    """Orders a second, ms to decided and ms to the transaction, medians; the idle one first."""
    by_rate: dict[float, list[Waits]] = {}
    for seen in measured.latency:
        by_rate.setdefault(seen.wanted, []).append(seen)
    return [
        (wanted, statistics.median(one.p50_ms for one in same),
         statistics.median(one.begun_p50_ms for one in same))
        for wanted, same in sorted(by_rate.items())
    ]  # fmt: skip


def _named(one: Applied) -> str:
    step = one.step
    words = [f"transactions of {step.orders} orders alone"]
    words += [f"{step.processes} processes"] if step.processes > 1 else []
    words += [f"{step.lines} lines"] if step.lines != 2 else []
    words += [f"{step.skus:,} SKUs"] if step.skus != 1000 else []
    words += ["hot SKU"] if step.hot else []
    words += ["all refused"] if step.sold_out else []
    return ", ".join(words)


def _load(shape: Shape, seconds: float) -> Load:
    return Load(connections=shape.connections, lines=shape.lines, skus=shape.skus, hot=shape.hot,
                batch=shape.batch, seconds=seconds)  # fmt: skip
