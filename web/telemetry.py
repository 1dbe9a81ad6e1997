"""Falcon middleware: counts each request, and logs those that fail on our side or are slow.

A line for every request would cost more than many an answer does; the metrics have them all.
"""

import asyncio
import logging
from contextlib import suppress
from time import monotonic, perf_counter
from typing import Any, Final

from web.exporter import PatientExporter
from web.metrics import Figures
from web.requests import wait_s
from web.tracing import about, tell_trace

logger = logging.getLogger(__name__)

SYNC_EVERY_S: Final = 1.0
#: From then on a request is slow; who asks for a decision (`Prefer: wait`) may wait longer.
SLOW_S: Final = 1.0
#: Lines a second: what is slow because there is too much of it gets no better by being logged.
LINES_MAX: Final = 10


class Telemetry:
    """What is known of each request once it is answered."""

    def __init__(self, figures: Figures, exporter: PatientExporter | None) -> None:
        """exporter: takes the figures every second; None where nobody asks for them."""
        self._figures = figures
        self._exporter = exporter
        self._syncing: asyncio.Task[None] | None = None
        self._second = 0
        self._lines = 0
        self._left_out = 0

    async def process_startup(self, _scope: Any, _event: Any) -> None:
        if self._exporter is not None:
            self._syncing = asyncio.create_task(self._sync(self._exporter))

    async def process_shutdown(self, _scope: Any, _event: Any) -> None:
        if self._syncing is not None and self._exporter is not None:
            self._syncing.cancel()
            with suppress(asyncio.CancelledError):
                await self._syncing
            self._exporter.sync(self._figures)

    async def process_request(self, req: Any, _resp: Any) -> None:
        self._figures.begun += 1
        req.context.began = perf_counter()

    async def process_response(self, req: Any, resp: Any, _resource: Any, _succeeded: bool) -> None:
        figures = self._figures
        took_s = perf_counter() - req.context.began
        figures.ended += 1
        answers = figures.answers((req.method, req.uri_template, resp.status))
        answers.add(took_s)
        if took_s > SLOW_S or answers.failed:
            self._look_at(req, resp, took_s)

    def _look_at(self, req: Any, resp: Any, took_s: float) -> None:
        status = resp.status_code
        if status < 500 and took_s <= SLOW_S + (wait_s(req) or 0):
            return
        second = int(monotonic())
        if second != self._second:
            self._second, self._lines = second, 0
        if self._lines >= LINES_MAX:
            self._left_out += 1
            return
        self._lines += 1
        tell_trace(req, resp)
        self._log(req, status, took_s)

    def _log(self, req: Any, status: int, took_s: float) -> None:
        extra = {
            **about(req),
            "http.request.method": req.method,
            "http.response.status_code": status,
            "http.route": req.uri_template,
            "url.path": req.path,
            # In nanoseconds, as the schema has it.
            "event.duration": round(took_s * 1e9),
        }
        if self._left_out:
            extra["holdfast.left_out"] = self._left_out
            self._left_out = 0
        logger.warning(
            "%s %s answered %d in %.3f s", req.method, req.path, status, took_s, extra=extra
        )

    async def _sync(self, exporter: PatientExporter) -> None:
        while True:
            await asyncio.sleep(SYNC_EVERY_S)
            try:
                exporter.sync(self._figures)
            except Exception:  # whatever it is must not stop the counting for good
                logger.exception("The metrics can't be written.")
