"""OpenTelemetry in a worker: a span a message, linked to where its commands come from."""

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from actors.placing import place_orders
from actors.tracing import Spans, Tracing
from config import settings
from tests.conftest import eventually
from tests.integration.workshop import (
    Workshop,
    declare,
    for_actor,
    message,
    new_queue,
    order,
    orders_now,
    stocked,
)

FIRST = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
SECOND = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class Recorded:
    """The spans of a workshop's broker."""

    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        self.tracing = Tracing("worker", settings(), self._exporter)

    def spans(self) -> list[Any]:
        self.tracing.close()
        return list(self._exporter.get_finished_spans())


@pytest.fixture
def recorded(workshop: Workshop) -> Iterator[Recorded]:
    recorded = Recorded()
    workshop.broker.add_middleware(Spans(recorded.tracing))
    yield recorded
    recorded.tracing.close()


def contexts(span: Any) -> list[str]:
    return [f"00-{x.context.trace_id:032x}-{x.context.span_id:016x}-01" for x in span.links]


def test_a_message_has_a_span_linked_to_those_of_its_commands(
    workshop: Workshop, recorded: Recorded
) -> None:
    stocked("TRACED", 10)
    traced = [
        msgspec.structs.replace(order(("TRACED", 1)), traceparent=parent)
        for parent in (FIRST, SECOND, SECOND, None)
    ]
    workshop.start(place_orders.queue_name)
    workshop.broker.enqueue(for_actor(place_orders, *traced))
    eventually(lambda: orders_now(traced) == ["confirmed"] * 4)
    workshop.stop_workers()

    (span,) = recorded.spans()
    assert span.name == "process place_orders"
    assert span.kind == SpanKind.CONSUMER
    assert contexts(span) == [FIRST, SECOND]
    assert span.attributes["messaging.batch.message_count"] == 4
    assert span.attributes["messaging.destination.name"] == place_orders.queue_name
    assert span.status.status_code == StatusCode.UNSET


def test_a_message_that_fails_has_its_error_in_its_span(
    workshop: Workshop, recorded: Recorded
) -> None:
    failed: list[int] = []

    def break_down(commands: msgspec.Raw) -> None:
        failed.append(1)
        if len(failed) == 1:
            raise ValueError("broken once")

    queue = new_queue()
    declare(workshop.broker, break_down, queue)
    workshop.start(queue)
    workshop.broker.enqueue(message(queue, "break_down", order(("X", 1))))
    eventually(lambda: len(failed) == 2)
    workshop.stop_workers()

    first, second = recorded.spans()
    assert first.status.status_code == StatusCode.ERROR
    assert first.events[0].attributes["exception.message"] == "broken once"
    assert second.status.status_code == StatusCode.UNSET
