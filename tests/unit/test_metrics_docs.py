"""docs/observability.md names every metric of each kind of process, and no other."""

import os
import re
from collections.abc import Iterable
from datetime import UTC, datetime

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from actors.clock_metrics import ClockMetrics, Seen
from actors.metrics import Process, WorkerMetrics
from actors.queues import QueueState
from config import ROOT
from models.queries.checks import CHECKS
from models.queries.reconciliation import Found, Reconciled
from models.queries.waiting_moves import Figures
from models.rules.figures import blank
from tests.unit.test_health import WELL
from web.exporter import Exporter

NOW = datetime.now(UTC)


def names(collector: Collector) -> set[str]:
    """As they are written in a query; a histogram without its parts."""
    registry = CollectorRegistry()
    registry.register(collector)
    families = text_string_to_metric_families(generate_latest(registry).decode())
    return {f"{f.name}_total" if f.type == "counter" else f.name for f in families}


def documented(*headings: str) -> set[str]:
    text = (ROOT / "docs" / "observability.md").read_text()
    sections = re.split(r"^### ", text, flags=re.MULTILINE)
    found: set[str] = set()
    for section in sections:
        if section.startswith(headings):
            first_cells: Iterable[str] = re.findall(r"^\| (`.*?) \|", section, re.MULTILINE)
            for cell in first_cells:
                found |= set(re.findall(r"`(\w+)", cell))
    return found


def test_all_metrics_of_the_front_door_are_documented() -> None:
    # When a count began is told of a single process only, which a front door is not.
    told = {name for name in names(Exporter().registry) if not name.endswith("_created")}

    assert documented("The front door") == told


def test_all_metrics_of_a_worker_are_documented() -> None:
    process = Process(os.getpid(), 0, "here", [blank("place_orders")], {}, {}, 1, 1, 1, WELL)

    assert documented("Workers") == names(WorkerMetrics(lambda: [process]))


def test_all_metrics_of_the_clock_are_documented() -> None:
    seen = Seen(
        active=True, queues={"q": QueueState(1, 1, 1, 1, NOW)}, workers=1, failures={"a": 1},
        stock_below=1, sampled_at=NOW, undecided={}, waiting=Figures(), missing=[],
        reconciled=Reconciled(NOW, None, 5, [Found("stock", "", "", 0, 5, [])], NOW),
    )  # fmt: skip

    assert documented("The whole system") == names(ClockMetrics(seen))


def test_all_checks_of_the_books_are_documented() -> None:
    text = (ROOT / "docs" / "operating.md").read_text()
    section = text.split("## The books")[1].split("\n## ")[0]

    assert re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE) == [c.name for c in CHECKS]
