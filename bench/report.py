"""The report: a Markdown page that the README shows, and the ratios on the terminal."""

import statistics
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from bench.figures import PGBENCH, PGBENCH_HOT, Measured, Target, targets
from bench.latency import Latency
from bench.viewers import TABS


class Row(NamedTuple):
    """A contender. uniform, hot: its series over 1,000 SKUs and on a hot one; the best counts."""

    title: str
    short: str
    uniform: tuple[str, ...]
    hot: tuple[str, ...]


#: The slowest way first.
ROWS = [
    Row(
        "FastAPI + Celery + SQLAlchemy, one transaction per order",
        "FastAPI + Celery + SQLAlchemy",
        ("usual",),
        ("usual_hot",),
    ),
    Row(
        "Falcon + Dramatiq, one message and one transaction per order",
        "Falcon + Dramatiq, one by one",
        ("one_by_one",),
        ("one_by_one_hot",),
    ),
    Row(
        "PostgreSQL alone: `pgbench`, one transaction per order, nothing else running",
        "PostgreSQL alone (pgbench)",
        PGBENCH,
        PGBENCH_HOT,
    ),
    Row(
        "**Holdfast**, one order per request",
        "Holdfast",
        ("holdfast",),
        ("holdfast_hot",),
    ),
    Row(
        "**Holdfast**, one order per request, each with an `Idempotency-Key`",
        "Holdfast with keys",
        ("holdfast_keyed",),
        (),
    ),
    Row(
        "**Holdfast**, order batches of 500",
        "Holdfast, order batches of 500",
        ("batches",),
        ("batches_hot",),
    ),
]


def markdown(measured: Measured, facts: dict[str, Any]) -> str:
    """The whole page; a section whose part was not run is left out."""
    sections = [
        _rates(measured),
        _latency(measured),
        _volume(measured),
        _viewers(measured),
        _resources(measured),
        _targets(targets(measured)),
        _faults(measured),
        _footer(measured, facts),
    ]
    return "\n".join(f"{section}\n" for section in sections if section)


def ratios(measured: Measured) -> str:
    """The targets as a table for the terminal."""
    rows = [(t.title, f"{t.value:.2f}{t.unit}", _bound(t), t.verdict()) for t in targets(measured)]
    widths = [max(len(row[column]) for row in rows) for column in range(4)] if rows else []
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table: text in the first column, figures in the others."""
    lines = [head, ["---", *(["---:"] * (len(head) - 1))], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def rate(value: float | None) -> str:
    return "" if value is None else f"{value:,.0f}"


def _rates(measured: Measured) -> str:
    rows = [
        (row.title, rate(measured.rate(*row.uniform)), rate(measured.rate(*row.hot)))
        for row in ROWS
        if measured.rate(*row.uniform)
    ]
    head = ("orders per second, decided and committed", "1,000 SKUs", "one hot SKU")
    return table(head, rows) if rows else ""


def _latency(measured: Measured) -> str:
    rows = [
        (f"{percent} %", _sustained(runs),
         *(f"{measured.milliseconds(percent, q):.1f} ms" for q in ("p50_ms", "p95_ms", "p99_ms")))
        for percent, runs in measured.latency.items()
    ]  # fmt: skip
    head = ("load, of the above capacity", "orders/s", "POST to decided, p50", "p95", "p99")
    return table(head, rows) if rows else ""


def _sustained(runs: list[Latency]) -> str:
    """The rate that was taken, beside the one due where it fell behind."""
    taken = statistics.median(run.rate for run in runs)
    wanted = runs[0].wanted
    return rate(taken) if taken > 0.95 * wanted else f"{rate(taken)} of {rate(wanted)} due"


def _volume(measured: Measured) -> str:
    names = {"empty": "empty", "full": f"{measured.volume_orders:,} orders"}
    rows = [
        (names[size], rate(measured.orders_at(size)), rate(measured.reads_at(size)))
        for size in measured.volume
    ]
    return table(("database", "orders/s", "reads by id/s"), rows) if rows else ""


def _viewers(measured: Measured) -> str:
    if not measured.viewers:
        return ""
    found = [pair.ratio for pair in measured.viewers]
    watched = statistics.median(pair.watched.orders_per_s for pair in measured.viewers)
    without = statistics.median(pair.without.orders_per_s for pair in measured.viewers)
    rows = [(f"{TABS} tabs", rate(watched), f"{statistics.median(found):.3f}",
             f"{min(found):.3f} to {max(found):.3f}"),
            ("none", rate(without), "", "")]  # fmt: skip
    head = ("dashboard open in", "orders/s", "of the rate with none, median of the pairs", "range")
    return table(head, rows)


def _resources(measured: Measured) -> str:
    series = measured.series.get("holdfast")
    if not series:
        return ""
    cpu = series.cpu()
    rows = []
    for component, seconds in cpu.items():
        memory = ("", "")
        if component != "load generator":
            pss, rss = series.memory_mib(component)
            memory = (f"{pss:.0f} MiB", f"{rss:.0f} MiB")
        rows.append((component, f"{seconds:.3f} s", *memory))
    rows.append(("all", f"{sum(cpu.values()):.3f} s", "", ""))
    head = ("Holdfast", "CPU per 1,000 orders", "largest process, PSS", "RSS")
    return table(head, rows)


def _targets(found: list[Target]) -> str:
    rows = [(t.title, f"{t.value:.2f}{t.unit}", _bound(t), t.verdict()) for t in found]
    return table(("target", "measured", "wanted", ""), rows) if rows else ""


def _bound(target: Target) -> str:
    return f"{'≥' if target.at_least else '≤'} {target.bound:g}{target.unit}"


def _faults(measured: Measured) -> str:
    if not measured.faults:
        return ("In every run: orders decided = orders accepted, stock = sum of its movements, "
                "nothing oversold.")  # fmt: skip
    return "**Faults:** " + "; ".join(measured.faults)


def _footer(measured: Measured, facts: dict[str, Any]) -> str:
    machine, versions = facts["machine"], facts["versions"]
    settings = "; ".join(
        f"{row.short}: {best.setting}" for row in ROWS if (best := measured.best(*row.uniform))
    )
    return (
        f"{facts['when']}, {machine['cores']} cores ({machine['processor']}) shared by load "
        f"generator, service and servers, {machine['memory']}, {machine['system']}, Python "
        f"{machine['python']}, PostgreSQL {versions['postgresql']} (durable), RabbitMQ "
        f"{versions['rabbitmq']}, revision {machine['revision']}. Orders of two lines; each figure "
        f"is the median of {facts['extent']['rounds']} interleaved runs of "
        f"{facts['extent']['seconds']:g} s and more, drain included, at the best setting of those "
        f"tried ({settings}). "
        "How it is measured, and what it does not say: docs/benchmarks.md."
    )
