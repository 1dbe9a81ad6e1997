"""`holdfast health worker|web|clock`: for the health checks of platforms and containers.

Each asks this machine's processes of this deployment. Exit code 0: leave it alone, 1: start it
again.
"""

import argparse
import json
from http.client import HTTPConnection, HTTPException
from typing import Any, Final

from actors.metrics import database_of, health, here
from actors.terminal.asking import Tasks, add_options
from actors.terminal.output import say, show_json
from config import settings
from config.addresses import in_url, reachable

TIMEOUT_S: Final = 4.0


def add_tasks(tasks: Tasks) -> None:
    """Add the task and its kinds of process."""
    text = "Whether this deployment's processes here can work; exit code 1: start them again."
    kinds = tasks.add_parser("health", help=text, description=text).add_subparsers(
        required=True, metavar="KIND"
    )
    for name, run, what in (
        ("worker", _worker, "What the worker processes last said of themselves."),
        ("web", _web, "What the front door answers at /readyz."),
        ("clock", _clock, "What the clock answers on its metrics port."),
    ):
        parser = kinds.add_parser(name, help=what, description=what)
        parser.set_defaults(run=run)
        add_options(parser)


def _worker(options: argparse.Namespace) -> int:
    given = settings()
    _need_port("WORKER_METRICS_PORT", given.worker_metrics_port)
    return _tell("worker", health(here(database_of(given))), options)


def _web(options: argparse.Namespace) -> int:
    given = settings()
    # 503 is its answer as well, with what is wrong.
    found = _get(given.host, given.port, "/readyz")
    failed = [name for name, passed in found.get("checks", {}).items() if not passed]
    ok = found.get("status") == "ok"
    status = "ok" if ok else "unhealthy"
    return _tell("web", {"reasons": failed, **found, "status": status, "ready": ok}, options)


def _clock(options: argparse.Namespace) -> int:
    given = settings()
    _need_port("CLOCK_METRICS_PORT", given.clock_metrics_port)
    return _tell("clock", _get(given.metrics_host, given.clock_metrics_port, "/healthz"), options)


def _need_port(name: str, port: int) -> None:
    if port == 0:
        raise ValueError(f"{name} is 0, so nothing is told of health; set it to a free port")


def _get(host: str, port: int, path: str) -> dict[str, Any]:
    connection = HTTPConnection(reachable(host), port, timeout=TIMEOUT_S)
    try:
        connection.request("GET", path)
        found: dict[str, Any] = json.loads(connection.getresponse().read())
    except (OSError, HTTPException, ValueError) as error:
        return {
            "status": "unhealthy", "ready": False,
            "reasons": [f"no valid answer from {in_url(host)}:{port}{path}: {error!r}"],
        }  # fmt: skip
    finally:
        connection.close()
    return found


def _tell(name: str, found: dict[str, Any], options: argparse.Namespace) -> int:
    if options.json:
        show_json(found)
    else:
        reasons = "; ".join(found["reasons"])
        say(f"{name}: {found['status']}" + (f": {reasons}" if reasons else ""))
    return int(found["status"] == "unhealthy")
