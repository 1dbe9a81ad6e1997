"""create_app(): the front door put together — routes, middleware, error handlers, lifecycle."""

import asyncio
import logging
import signal
from collections.abc import Coroutine
from functools import partial
from typing import Any

import falcon.asgi
import msgspec
import peewee

from actors.commands import ROUTES, PlaceOrder
from actors.tracing import Tracing
from config import Settings
from models.database import configure, is_transient
from web import commands, health, inventory, orders, problems
from web.answers import Changes, Reads
from web.auth import Authentication, Keyring
from web.backlog import Backlog, keep_watch
from web.batcher import TooManyWaitingError
from web.dashboard.wiring import Dashboard, dashboard
from web.decisions import Decisions
from web.exporter import PatientExporter
from web.ids import IdMint
from web.intake import Intake
from web.metrics import figures
from web.openapi.document import document
from web.openapi.reference import OpenApi
from web.problems import unavailable
from web.publisher import Publisher
from web.rate_limit import ClientLimits
from web.reading import Reader
from web.replicas import Replicas
from web.request_policy import RequestPolicy
from web.requests import head_only, whole_body
from web.routing import ExactRouter
from web.spans import RequestSpans
from web.telemetry import Telemetry
from web.tracing import about

logger = logging.getLogger(__name__)

#: A read that takes longer than this answers 503 rather than holding its caller.
READ_TIMEOUT_MS = 5_000


class App(falcon.asgi.App[Any, Any]):
    """Falcon's, with bodies that come whole or not at all, and HEAD wherever GET is."""

    # As Falcon's own, which overrides WSGI's. No coroutine itself: that would cost a microsecond.
    def __call__(  # type: ignore[override]
        self, scope: Any, receive: Any, send: Any
    ) -> Coroutine[Any, Any, None]:
        if scope["type"] == "http":
            if scope["method"] == "HEAD":
                scope, send = {**scope, "method": "GET"}, head_only(send)
            elif scope["method"] != "GET":
                receive = whole_body(receive)
        return super().__call__(scope, receive, send)

    def add_resource(self, path: str, resource: Any) -> None:
        """Serve a resource; to HEAD, it answers as to GET."""
        if hasattr(resource, "on_get"):
            # Named in Allow. None is ever called: see __call__.
            resource.on_head = resource.on_get
        self.add_route(path, resource)


class Lifecycle:
    """Falcon middleware: what starts and stops with the process."""

    def __init__(
        self, publisher: Publisher, intake: Intake, backlog: Backlog, decisions: Decisions,
        fitness: health.Health, pages: Dashboard, replicas: Replicas,
    ) -> None:  # fmt: skip
        self._publisher = publisher
        self._backlog = backlog
        self._watch: asyncio.Task[None] | None = None
        self._intake = intake
        self._decisions = decisions
        self._fitness = fitness
        self._pages = pages
        self._replicas = replicas

    async def process_startup(self, _scope: Any, _event: Any) -> None:
        self._publisher.start()
        self._replicas.start()
        look = partial(self._publisher.length, ROUTES[PlaceOrder].queue)
        self._watch = asyncio.create_task(keep_watch(self._backlog, look))
        loop = asyncio.get_running_loop()
        stop = signal.getsignal(signal.SIGTERM)

        def on_sigterm(number: int, frame: Any) -> None:
            loop.call_soon_threadsafe(self._drain)
            if callable(stop):
                stop(number, frame)

        # The server's own handler closes the doors; those inside are to hear of it, too.
        signal.signal(signal.SIGTERM, on_sigterm)

    async def process_shutdown(self, _scope: Any, _event: Any) -> None:
        self._drain()
        await self._intake.drain()
        if self._watch is not None:
            self._watch.cancel()
        await self._publisher.close()
        self._replicas.close()
        self._pages.close()

    def _drain(self) -> None:
        self._fitness.draining = True
        self._decisions.give_up()
        self._pages.drain()


def create_app(given: Settings) -> App:
    """The ASGI application of one web process."""
    configure(given, application_name="holdfast-web", statement_timeout_ms=READ_TIMEOUT_MS)
    reader = Reader(given.read_threads)
    publisher = Publisher(given)
    mint = IdMint(given.secret_key.encode())
    backlog = Backlog(given.queue_length_max, above=given.shed_above, below=given.shed_below)
    intake = Intake(given, mint, publisher, reader, backlog)
    replicas = Replicas(given, reader)
    found = Reads(reader, replicas, given.publish_waiting_max)
    decisions = Decisions(reader, given.publish_waiting_max)
    changes = Changes(intake, decisions, found)
    fitness = health.Health(publisher, reader, backlog)
    keyring = Keyring(reader, given.api_key_cache_s)
    limits = ClientLimits(given.rate_limit_storage_url)
    pages = dashboard(
        given, keyring=keyring, charge=limits.charge, reader=reader, lists=replicas, found=found,
        intake=intake, decisions=decisions, mint=mint,
    )  # fmt: skip

    exporter = PatientExporter() if given.web_metrics_port else None
    spans = [RequestSpans(Tracing("web", given))] if given.tracing else []
    app = App(
        middleware=[
            Telemetry(figures, exporter),
            *spans,
            Lifecycle(publisher, intake, backlog, decisions, fitness, pages, replicas),
            Authentication(keyring, limits.charge),
            RequestPolicy(),
            pages.middleware,
        ],
        router=ExactRouter(),
    )
    app.req_options.strip_url_path_trailing_slash = False
    app.req_options.keep_blank_qs_values = True
    problems.install(app)
    app.add_error_handler(peewee.DatabaseError, _on_database_error)
    app.add_error_handler(peewee.InterfaceError, _on_database_error)
    app.add_error_handler(TooManyWaitingError, _on_overload)

    routes = {**_api(changes, found, mint), "/readyz": health.Ready(fitness), **pages.routes}
    for path, resource in routes.items():
        app.add_resource(path, resource)
    return app


def _api(changes: Changes, found: Reads, mint: IdMint) -> dict[str, object]:
    """The resources of the contract, docs/api.md, by their paths."""
    return {
        "/v1/orders": orders.Orders(changes, found),
        "/v1/order-batches": orders.OrderBatches(changes),
        "/v1/orders/{order_id}": orders.Order(changes, found, mint),
        "/v1/orders/{order_id}/events": orders.OrderEvents(found, mint),
        "/v1/products/{sku}": inventory.Product(changes),
        "/v1/inventory": inventory.InventoryList(found),
        "/v1/inventory/{sku}": inventory.Inventory(found),
        "/v1/inventory/{sku}/adjustments": inventory.Adjustments(changes),
        "/v1/inventory/{sku}/reductions": inventory.Reductions(changes),
        "/v1/inventory/{sku}/movements": inventory.Movements(found),
        "/v1/commands/{command_id}": commands.Command(found, mint),
        "/livez": health.Live(),
        "/openapi.json": OpenApi(msgspec.json.encode(document())),
    }


async def _on_database_error(req: Any, resp: Any, error: Exception, params: Any) -> None:
    if not is_transient(error):
        await problems.answer_bug(req, resp, error, params)
        return
    logger.warning(
        "%s %s: the database can't answer: %s", req.method, req.path, error,
        extra=about(req),
    )  # fmt: skip
    await problems.answer(req, resp, unavailable("The database can't answer now"), params)


async def _on_overload(req: Any, resp: Any, _error: Exception, params: Any) -> None:
    await problems.answer(req, resp, unavailable("Too many reads wait"), params)
