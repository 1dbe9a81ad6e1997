"""Falcon middleware: an OpenTelemetry span for each request. There where TRACING is on only."""

from typing import Any

from actors.tracing import Tracing, traceparent_of
from web.tracing import parse_traceparent


class RequestSpans:
    """A span from a request's head to its answer, in the client's trace; commands go on with it."""

    def __init__(self, tracing: Tracing) -> None:
        self._tracing = tracing

    async def process_request(self, req: Any, _resp: Any) -> None:
        about = {"http.request.method": req.method, "url.path": req.path}
        given = parse_traceparent(req.get_header("traceparent"))
        span = req.context.span = self._tracing.server_span(req.method, given, about)
        req.context.traceparent = traceparent_of(span)

    async def process_response(self, req: Any, resp: Any, _resource: Any, _succeeded: bool) -> None:
        span = req.context.span
        if req.uri_template is not None:
            span.update_name(f"{req.method} {req.uri_template}")
            span.set_attribute("http.route", req.uri_template)
        span.set_attribute("http.response.status_code", resp.status_code)
        if resp.status_code >= 500:
            self._tracing.fail(span)
        span.end()

    async def process_shutdown(self, _scope: Any, _event: Any) -> None:
        self._tracing.close()
