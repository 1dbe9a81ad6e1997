"""Metrics and health over HTTP, on a port of their own: never worth stopping a process for."""

import errno
import logging
import threading
from collections.abc import Callable, Iterable
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, make_server

import msgspec
from prometheus_client import make_wsgi_app
from prometheus_client.exposition import ThreadingWSGIServer
from prometheus_client.registry import Collector, CollectorRegistry

from config.addresses import address_to_listen_on, explanation, in_url

logger = logging.getLogger(__name__)


#: Health as JSON has it; see actors/health.py.
Ask = Callable[[], dict[str, object]]


class Exposition:
    """Serves a collector's metrics to Prometheus, and `/healthz`. A port of 0 is none."""

    def __init__(
        self, host: str, port: int, collector: Collector, health: Ask | None = None
    ) -> None:
        self._address = (host, port)
        self._health = health
        self._registry = CollectorRegistry()
        self._registry.register(collector)
        self._server: Any = None
        self._warned = False

    def start(self) -> bool:
        """Serve, unless that goes on already; returns whether it does.

        A port that is taken may come free, so call it again.
        """
        host, port = self._address
        if self._server is not None or port == 0:
            return True
        try:
            self._server = _server(host, port, _application(self._registry, self._health))
        except OSError as error:
            if not self._warned:
                logger.warning("No metrics for now: %s", _reason(error, host, port))
            self._warned = True
            return False
        threading.Thread(target=self._server.serve_forever, name="metrics", daemon=True).start()
        logger.info("Metrics are on http://%s:%d/metrics.", in_url(host), port)
        return True

    def leave(self) -> None:
        """In a fork: close its copy of the port, which would hold it taken."""
        if self._server is not None:
            self._server.socket.close()
            self._server = None

    def stop(self) -> None:
        """Serve no more."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None


class _Quiet(WSGIRequestHandler):
    """Prometheus asks every few seconds: no lines of that."""

    def log_message(self, format: str, *args: object) -> None:
        pass


def _server(host: str, port: int, app: Any) -> Any:
    """As prometheus_client's own, which serves nothing but metrics. Raises OSError."""
    family, address = address_to_listen_on(host, port)

    class Server(ThreadingWSGIServer):
        address_family = family

    return make_server(address, port, app, Server, _Quiet)


def _reason(error: OSError, host: str, port: int) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"port {port} of {host} is taken."
    return explanation(error, host, port, host_name="METRICS_HOST", port_name="The metrics port")


def _application(registry: CollectorRegistry, health: Ask | None) -> Any:
    """Metrics at every path but `/healthz`: 503 for who has to be started again."""
    metrics = make_wsgi_app(registry)
    if health is None:
        return metrics

    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if environ["PATH_INFO"] != "/healthz":
            # prometheus_client gives its application no types.
            return metrics(environ, start_response)  # type: ignore[no-any-return]
        found = health()
        fit = found["status"] != "unhealthy"
        start_response(
            "200 OK" if fit else "503 Service Unavailable", [("Content-Type", "application/json")]
        )
        return [msgspec.json.encode(found)]

    return app
