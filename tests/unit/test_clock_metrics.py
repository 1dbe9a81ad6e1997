"""Figures of the whole system, as a clock saw them."""

from datetime import UTC, datetime, timedelta

from actors.clock_metrics import ClockMetrics, Seen
from actors.queues import QueueState

QUEUE = "holdfast.orders"


def test_a_message_does_not_age_on_after_the_clock_looked() -> None:
    looked_at = datetime.now(UTC) - timedelta(seconds=9)
    state = QueueState(0, 0, 0, 1, looked_at - timedelta(seconds=0.5), unacked=1)
    seen = Seen(active=True, queues={QUEUE: state}, sampled_at=looked_at)

    ages = {
        sample.labels["queue_name"]: sample.value
        for family in ClockMetrics(seen).collect()
        for sample in family.samples
        if sample.name == "holdfast_queue_oldest_message_age_seconds"
    }

    assert ages == {QUEUE: 0.5}
