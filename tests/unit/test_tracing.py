"""OpenTelemetry: off, nothing of it is loaded; on, a span a request that goes on with its trace."""

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import falcon.asgi
import falcon.testing
import pytest
from dramatiq.broker import MessageProxy
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from actors.tracing import Spans, Tracing
from config import SettingsError, settings
from tests.conftest import CHECKOUT
from tests.integration.workshop import message
from web import problems
from web.spans import RequestSpans
from web.tracing import traceparent

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
CLIENT = f"00-{TRACE}-00f067aa0ba902b7-01"
NOT_SAMPLED = f"00-{TRACE}-00f067aa0ba902b7-00"


class Echo:
    """Answers with the context that a command would carry on."""

    async def on_get(self, req: Any, resp: Any, name: str) -> None:
        if name == "broken":
            raise ValueError(name)
        resp.media = traceparent(req)


class Traced:
    """An app with spans, and what was exported."""

    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        self.tracing = Tracing("web", settings(), self._exporter)
        app: Any = falcon.asgi.App(middleware=[RequestSpans(self.tracing)])
        problems.install(app)
        app.add_route("/echo/{name}", Echo())
        self.client: Any = falcon.testing.TestClient(app)

    def get(self, path: str, header: str | None = None) -> Any:
        return self.client.simulate_get(path, headers={"traceparent": header} if header else {})

    def spans(self) -> list[Any]:
        """All that ended so far; the app's end exports them."""
        self.tracing.close()
        return list(self._exporter.get_finished_spans())


@pytest.fixture
def traced() -> Iterator[Traced]:
    traced = Traced()
    yield traced
    traced.tracing.close()


def test_a_request_has_a_span_in_the_clients_trace_and_commands_go_on_from_it(
    traced: Traced,
) -> None:
    carried = traced.get("/echo/x", CLIENT).json

    (span,) = traced.spans()
    assert span.name == "GET /echo/{name}"
    assert span.kind == SpanKind.SERVER
    assert f"{span.context.trace_id:032x}" == TRACE
    assert f"{span.parent.span_id:016x}" == CLIENT[36:52]
    assert carried == f"00-{TRACE}-{span.context.span_id:016x}-01"
    assert span.attributes["http.route"] == "/echo/{name}"
    assert span.attributes["http.response.status_code"] == 200
    assert span.resource.attributes["service.name"] == "holdfast-web"


def test_without_a_trace_of_the_clients_a_new_one_begins(traced: Traced) -> None:
    carried = traced.get("/echo/x", "00-nonsense").json

    (span,) = traced.spans()
    assert span.parent is None
    assert carried[3:35] == f"{span.context.trace_id:032x}" != TRACE


def test_who_does_not_want_to_be_recorded_is_not_but_the_trace_goes_on(traced: Traced) -> None:
    carried = traced.get("/echo/x", NOT_SAMPLED).json

    assert carried.startswith(f"00-{TRACE}-")
    assert carried.endswith("-00")
    assert traced.spans() == []


def test_an_error_of_ours_marks_the_span_and_the_problem_names_its_trace(traced: Traced) -> None:
    problem = traced.get("/echo/broken", CLIENT)

    (span,) = traced.spans()
    assert span.status.status_code == StatusCode.ERROR
    assert problem.json["trace_id"] == TRACE


def test_what_leads_nowhere_has_a_span_too(traced: Traced) -> None:
    assert traced.get("/nowhere").status_code == 404

    (span,) = traced.spans()
    assert span.name == "GET"
    assert span.status.status_code == StatusCode.UNSET


def test_without_the_extra_a_process_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry", None)

    with pytest.raises(SettingsError, match=r"TRACING is true.*requirements-extras"):
        Tracing("web", settings())


def test_without_the_exporter_too(monkeypatch: pytest.MonkeyPatch) -> None:
    name = "opentelemetry.exporter.otlp.proto.http.trace_exporter"
    monkeypatch.setitem(sys.modules, name, None)

    with pytest.raises(SettingsError, match=r"TRACING is true.*requirements-extras"):
        Tracing("web", settings())


def test_a_message_that_was_skipped_before_it_had_a_span_has_none(traced: Traced) -> None:
    spans, skipped = Spans(traced.tracing), MessageProxy(message("q", "a"))

    spans.after_skip_message(None, skipped)
    spans.after_process_message(None, skipped, exception=ValueError())

    assert traced.spans() == []


def test_off_nothing_of_it_is_loaded() -> None:
    script = (
        "import sys, web.app, actors.main; "
        "print([name for name in sys.modules if name.startswith('opentelemetry')])"
    )
    ran = subprocess.run(
        [sys.executable, "-c", script], cwd=CHECKOUT, capture_output=True, text=True, check=True
    )

    assert ran.stdout.strip() == "[]"
