"""The metrics ports of a run: no reason not to run, and shown where they answer."""

import errno
import http.client
import time
from collections.abc import Callable, Mapping

from config.addresses import explanation, in_url, problem_of_listening, reachable
from deploy.local import ports

#: Whose metrics, the variable of its port, and the port it has where nobody says otherwise.
PORTS = (
    ("web", "WEB_METRICS_PORT", 9464),
    ("worker", "WORKER_METRICS_PORT", 9191),
    ("clock", "CLOCK_METRICS_PORT", 9465),
)
OFF = "0"
ANSWER_SECONDS_MAX = 3.0


def choose(settings: Mapping[str, str], warn: Callable[[str], None]) -> dict[str, str]:
    """Ports that are free: those given, else the usual ones, else any. 0 is none.

    Other checkouts use the usual ones, too. One that was asked for and is taken is switched off,
    or what answers there would be somebody else's.
    """
    host = settings["METRICS_HOST"]
    return {variable: _choose(variable, usual, settings.get(variable), host, warn)
            for _, variable, usual in PORTS}  # fmt: skip


def _choose(
    variable: str, usual: int, given: str | None, host: str, warn: Callable[[str], None]
) -> str:
    if given is None:
        return str(usual if ports.is_free(usual, host) else ports.free_ports(1)[0])
    problem = problem_of_listening(host, int(given)) if given != OFF else None
    if problem is None:
        return given
    if problem.errno == errno.EADDRINUSE:
        warn(f"{variable}: port {given} is taken{ports.holder(int(given))}; no metrics there")
    else:
        names = {"host_name": "METRICS_HOST", "port_name": variable}
        warn(explanation(problem, host, int(given), **names))
    return OFF


def addresses(settings: Mapping[str, str]) -> dict[str, str]:
    """By name, where metrics are served just now, or `off`."""
    host = reachable(settings["METRICS_HOST"])
    deadline = time.monotonic() + ANSWER_SECONDS_MAX
    return {name: _address(host, settings[variable], deadline) for name, variable, _ in PORTS}


def _address(host: str, port: str, deadline: float) -> str:
    while port != OFF:
        if _answers(host, int(port)):
            return f"http://{in_url(host)}:{port}/metrics"
        if time.monotonic() > deadline:
            break
        time.sleep(0.1)
    return "off"


def _answers(host: str, port: int) -> bool:
    connection = http.client.HTTPConnection(host, port, timeout=2)
    try:
        connection.request("GET", "/metrics")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
