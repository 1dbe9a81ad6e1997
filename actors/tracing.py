"""OpenTelemetry spans, where TRACING asks for them: an extra, and nothing of it is loaded without.

A request has a span, which goes on with the client's trace; so have the messages that a worker
processes, linked to those of the commands in them. Where the spans go is said by the standard
variables, such as OTEL_EXPORTER_OTLP_ENDPOINT.
"""

from collections.abc import Iterable, Mapping
from importlib import import_module
from itertools import islice
from typing import Any

from dramatiq.errors import RateLimitExceeded
from dramatiq.middleware import Middleware

from actors.traces import traced
from config import VERSION, Settings, SettingsError

#: More links than this a span does not take.
LINKS_MAX = 100
OTLP = "opentelemetry.exporter.otlp.proto.http.trace_exporter"
# PyPI's package `holdfast` is somebody else's: name none.
MISSING = (
    "TRACING is true, and OpenTelemetry is not installed: install requirements-extras.txt "
    "(docs/observability.md)."
)


def require_tracing() -> None:
    """Raises SettingsError if OpenTelemetry is not installed."""
    try:
        import_module("opentelemetry.sdk.trace")
        import_module(OTLP)
    except ImportError:
        raise SettingsError(MISSING) from None


class Tracing:
    """Makes the spans of one process. exporter: where they go, by OTLP without one."""

    def __init__(self, role: str, given: Settings, exporter: Any = None) -> None:
        """Raises SettingsError where OpenTelemetry is not installed."""
        try:
            from opentelemetry import trace  # noqa: PLC0415 - an extra
            from opentelemetry.sdk.resources import Resource  # noqa: PLC0415 - an extra
            from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415 - an extra
            from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
        except ImportError:
            raise SettingsError(MISSING) from None
        self._api = trace
        resource = Resource.create(
            {
                "service.name": f"holdfast-{role}",
                "service.version": VERSION,
                "deployment.environment.name": given.environment,
            }
        )
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(exporter or _otlp_exporter()))
        self._tracer = self._provider.get_tracer("holdfast", VERSION)

    def server_span(self, name: str, traceparent: str | None, about: Mapping[str, Any]) -> Any:
        """Begin the span of a request, in the client's trace if that has one."""
        parent = None
        if traceparent is not None:
            client = self._api.NonRecordingSpan(self._context(traceparent))
            parent = self._api.set_span_in_context(client)
        return self._tracer.start_span(
            name, context=parent, kind=self._api.SpanKind.SERVER, attributes=dict(about)
        )

    def consumer_span(
        self, name: str, traceparents: Iterable[str], about: Mapping[str, Any]
    ) -> Any:
        """Begin the span of a message, linked to where its commands come from."""
        links = [self._api.Link(self._context(one)) for one in islice(traceparents, LINKS_MAX)]
        return self._tracer.start_span(
            name, kind=self._api.SpanKind.CONSUMER, attributes=dict(about), links=links
        )

    def fail(self, span: Any, error: BaseException | None = None) -> None:
        """Mark a span as that of an error."""
        if error is not None:
            span.record_exception(error)
        span.set_status(self._api.StatusCode.ERROR)

    def close(self) -> None:
        """Export what is left; no span begins any more."""
        self._provider.shutdown()

    def _context(self, traceparent: str) -> Any:
        _, trace_id, span_id, flags = traceparent.split("-")
        return self._api.SpanContext(
            int(trace_id, 16), int(span_id, 16), is_remote=True,
            trace_flags=self._api.TraceFlags(int(flags, 16)),
        )  # fmt: skip


def traceparent_of(span: Any) -> str:
    """Where a span's trace goes on, for commands."""
    context = span.get_span_context()
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{int(context.trace_flags):02x}"


def _otlp_exporter() -> Any:
    try:
        found = import_module(OTLP)
    except ImportError:
        raise SettingsError(MISSING) from None
    return found.OTLPSpanExporter()


class Spans(Middleware):
    """Dramatiq middleware: a span for each message."""

    def __init__(self, tracing: Tracing) -> None:
        self._tracing = tracing

    def before_process_message(self, _broker: Any, message: Any) -> None:
        commands = traced(message)
        known = dict.fromkeys(one.traceparent for one in commands if one.traceparent)
        about = {
            "messaging.system": "rabbitmq",
            "messaging.operation.type": "process",
            "messaging.destination.name": message.queue_name,
            "messaging.message.id": message.message_id,
            "messaging.batch.message_count": len(commands),
        }
        message.span = self._tracing.consumer_span(f"process {message.actor_name}", known, about)

    def after_process_message(
        self,
        _broker: Any,
        message: Any,
        *,
        result: Any = None,  # noqa: ARG002 - the name is Dramatiq's
        exception: BaseException | None = None,
    ) -> None:
        span = getattr(message, "span", None)
        if span is None:
            return
        # A message that a limit holds back has not failed.
        if exception is not None and not isinstance(exception, RateLimitExceeded):
            self._tracing.fail(span, exception)
        span.end()

    def after_skip_message(self, _broker: Any, message: Any) -> None:
        # Most that are skipped never came as far as having one.
        span = getattr(message, "span", None)
        if span is not None:
            span.end()

    def after_worker_shutdown(self, _broker: Any, _worker: Any) -> None:
        self._tracing.close()
