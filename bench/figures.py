"""What was measured: samples, their medians, and what they are held against."""

import statistics
from dataclasses import asdict, dataclass, field
from typing import Any

from bench.counted import Run
from bench.latency import Latency
from bench.viewers import TABS, Pair
from bench.volume import Volume


@dataclass
class Series:
    """Runs of one thing, one per round. setting: the one of those tried that was best."""

    title: str
    setting: str
    runs: list[Run] = field(default_factory=list)

    @property
    def orders_per_s(self) -> float:
        return statistics.median(run.orders_per_s for run in self.runs)

    def cpu(self) -> dict[str, float]:
        """Median CPU milliseconds per order, by component."""
        names = self.runs[0].cpu
        return {name: statistics.median(run.cpu[name] for run in self.runs) for name in names}

    def memory_mib(self, component: str) -> tuple[float, float]:
        """PSS and RSS of a component's largest process, the median over the runs."""
        largest = [
            max((m for m in run.memory if m.component == component), key=lambda m: m.rss_mib)
            for run in self.runs
        ]
        return (statistics.median(m.pss_mib for m in largest),
                statistics.median(m.rss_mib for m in largest))  # fmt: skip


@dataclass
class Measured:
    """All of one run of the bench. tried: rates of the settings that were tried, one run each."""

    series: dict[str, Series] = field(default_factory=dict)
    tried: dict[str, dict[str, float]] = field(default_factory=dict)
    latency: dict[int, list[Latency]] = field(default_factory=dict)
    volume: dict[str, list[Volume]] = field(default_factory=dict)
    volume_orders: int = 0
    viewers: list[Pair] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    def best(self, *names: str) -> Series | None:
        """The best of these series that were measured."""
        found = [self.series[name] for name in names if name in self.series]
        return max(found, key=lambda series: series.orders_per_s, default=None)

    def rate(self, *names: str) -> float | None:
        """The best median of these series; None when none of them was measured."""
        found = self.best(*names)
        return found.orders_per_s if found else None

    def milliseconds(self, percent: int, quantile: str) -> float | None:
        """The median over the runs of a quantile of the time to the decision."""
        runs = self.latency.get(percent)
        return statistics.median(getattr(run, quantile) for run in runs) if runs else None

    def orders_at(self, size: str) -> float | None:
        runs = self.volume.get(size)
        return statistics.median(run.orders.orders_per_s for run in runs) if runs else None

    def reads_at(self, size: str) -> float | None:
        runs = self.volume.get(size)
        return statistics.median(run.reads_per_s for run in runs) if runs else None

    def keyed_ratio(self) -> float | None:
        """The rate with an Idempotency-Key over that without: the median of the rounds' ratios."""
        without, keyed = (self.series.get(name) for name in ("holdfast", "holdfast_keyed"))
        if without is None or keyed is None:
            return None
        return statistics.median(
            one.orders_per_s / other.orders_per_s
            for one, other in zip(keyed.runs, without.runs, strict=False)
        )

    def watched_ratio(self) -> float | None:
        """The rate with dashboard tabs open over that with none: the median of the pairs."""
        return statistics.median(pair.ratio for pair in self.viewers) if self.viewers else None

    def as_json(self) -> dict[str, Any]:
        return {
            "series": {
                name: {
                    "orders_per_s": series.orders_per_s,
                    **asdict(series),
                    "runs": [_brief(run) for run in series.runs],
                    "memory": [asdict(process) for process in series.runs[-1].memory],
                }
                for name, series in self.series.items()
            },
            "tried": self.tried,
            "latency": {str(n): [asdict(run) for run in runs] for n, runs in self.latency.items()},
            "volume": {
                name: [{**asdict(run), "orders": _brief(run.orders)} for run in runs]
                for name, runs in self.volume.items()
            },
            "volume_orders": self.volume_orders,
            "viewers": [
                {
                    "ratio": pair.ratio,
                    "events_per_s": pair.events_per_s,
                    "without": _brief(pair.without),
                    "watched": _brief(pair.watched),
                }
                for pair in self.viewers
            ],
            "faults": self.faults,
        }


def _brief(run: Run) -> dict[str, Any]:
    """A run without its list of processes: they hardly differ between runs."""
    return {name: value for name, value in asdict(run).items() if name != "memory"}


PGBENCH = ("pgbench_8", "pgbench_16")
PGBENCH_HOT = ("pgbench_8_hot", "pgbench_16_hot")


@dataclass(frozen=True)
class Target:
    """A figure and what it has to reach. at_least: False where it may not exceed the bound."""

    title: str
    value: float | None
    bound: float
    unit: str
    at_least: bool = True

    @property
    def met(self) -> bool:
        assert self.value is not None
        return self.value >= self.bound if self.at_least else self.value <= self.bound

    def verdict(self) -> str:
        """Met or missed, and by how much of the bound."""
        assert self.value is not None
        share = abs(self.value / self.bound - 1)
        return f"{'met' if self.met else 'missed'} by {share:.0%}"


def targets(measured: Measured) -> list[Target]:
    """Every target of which the figures are there."""
    web = worker = None
    if "holdfast" in measured.series:
        web = measured.series["holdfast"].memory_mib("web")[1]
        worker = measured.series["holdfast"].memory_mib("worker")[1]
    ours, hot = measured.rate("holdfast"), measured.rate("holdfast_hot")
    found = [
        Target("Holdfast / pgbench, 1,000 SKUs", ratio(ours, measured.rate(*PGBENCH)), 1.5, "×"),
        Target("Holdfast / pgbench, one hot SKU", ratio(hot, measured.rate(*PGBENCH_HOT)), 3, "×"),
        Target("Holdfast / FastAPI + Celery + SQLAlchemy", ratio(ours, measured.rate("usual")),
               20, "×"),
        Target("order batches of 500 / single orders", ratio(measured.rate("batches"), ours),
               1.5, "×"),
        Target("orders with Idempotency-Key / without", measured.keyed_ratio(), 0.85, "×"),
        Target("POST to decided at half load, p50", measured.milliseconds(50, "p50_ms"), 25, " ms",
               at_least=False),
        Target("POST to decided at half load, p99", measured.milliseconds(50, "p99_ms"), 100,
               " ms", at_least=False),
        Target(f"orders at {measured.volume_orders:,} orders / in an empty database",
               ratio(measured.orders_at("full"), measured.orders_at("empty")), 0.85, "×"),
        Target(f"reads by id at {measured.volume_orders:,} orders / in an empty database",
               ratio(measured.reads_at("full"), measured.reads_at("empty")), 0.8, "×"),
        Target(f"orders with {TABS} dashboard tabs open / with none",
               measured.watched_ratio(), 0.95, "×"),
        Target("web process, resident", web, 150, " MiB", at_least=False),
        Target("worker process, resident", worker, 200, " MiB", at_least=False),
    ]  # fmt: skip
    return [target for target in found if target.value is not None]


def ratio(one: float | None, other: float | None) -> float | None:
    return one / other if one and other else None
