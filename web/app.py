"""create_app(): the front door put together — routes, middleware, error handlers, lifecycle."""

import asyncio
import logging
import signal
from typing import Any

import falcon.asgi
import peewee

from config import Settings
from models.database import configure, is_transient
from web import commands, health, inventory, orders, problems
from web.answers import Changes, Reads
from web.auth import Authentication, Keyring
from web.batcher import TooManyWaitingError
from web.decisions import Decisions
from web.ids import IdMint
from web.intake import Intake
from web.problems import unavailable
from web.publisher import Publisher
from web.rate_limit import ClientLimits
from web.reading import Reader

logger = logging.getLogger(__name__)

#: A read that takes longer than this answers 503 rather than holding its caller.
READ_TIMEOUT_MS = 5_000

App = falcon.asgi.App[Any, Any]


class Lifecycle:
    """Falcon middleware: what starts and stops with the process."""

    def __init__(
        self, publisher: Publisher, intake: Intake, decisions: Decisions, fitness: health.Health
    ) -> None:
        self._publisher = publisher
        self._intake = intake
        self._decisions = decisions
        self._fitness = fitness

    async def process_startup(self, _scope: Any, _event: Any) -> None:
        self._publisher.start()
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
        await self._publisher.close()

    def _drain(self) -> None:
        self._fitness.draining = True
        self._decisions.give_up()


def create_app(given: Settings) -> App:
    """The ASGI application of one web process."""
    configure(given, application_name="holdfast-web", statement_timeout_ms=READ_TIMEOUT_MS)
    reader = Reader(given.read_threads)
    publisher = Publisher(given)
    mint = IdMint(given.secret_key.encode())
    intake = Intake(given, mint, publisher, reader)
    found = Reads(reader, given.publish_waiting_max)
    decisions = Decisions(reader)
    changes = Changes(intake, decisions, found)
    fitness = health.Health(publisher, reader)
    keyring = Keyring(reader, given.api_key_cache_s)
    limits = ClientLimits(given.rate_limit_storage_url)

    app: App = falcon.asgi.App(
        middleware=[
            Lifecycle(publisher, intake, decisions, fitness),
            Authentication(keyring, limits.charge),
        ]
    )
    app.req_options.strip_url_path_trailing_slash = False
    app.req_options.keep_blank_qs_values = True
    problems.install(app)
    app.add_error_handler(peewee.DatabaseError, _on_database_error)
    app.add_error_handler(peewee.InterfaceError, _on_database_error)
    app.add_error_handler(TooManyWaitingError, _on_overload)

    for path, resource in {
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
        "/readyz": health.Ready(fitness),
    }.items():
        app.add_route(path, resource)
    return app


async def _on_database_error(req: Any, resp: Any, error: Exception, params: Any) -> None:
    if not is_transient(error):
        await problems.answer_bug(req, resp, error, params)
        return
    logger.warning("%s %s: the database can't answer: %s", req.method, req.path, error)
    await problems.answer(req, resp, unavailable("The database can't answer now"), params)


async def _on_overload(req: Any, resp: Any, _error: Exception, params: Any) -> None:
    await problems.answer(req, resp, unavailable("Too many reads wait"), params)
