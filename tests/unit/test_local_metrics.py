"""Metrics ports of a run: a port that is taken costs the metrics at most, and what is printed
answers."""

import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from deploy.local import metrics, ports

HOST = {"METRICS_HOST": "127.0.0.1"}
VARIABLES = ["WEB_METRICS_PORT", "WORKER_METRICS_PORT", "CLOCK_METRICS_PORT"]


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as holder:
        yield holder.getsockname()[1]


def test_without_any_setting_ports_are_chosen_that_are_free() -> None:
    chosen = metrics.choose(HOST, pytest.fail)

    assert list(chosen) == VARIABLES
    assert all(ports.is_free(int(port)) for port in chosen.values())


def test_a_usual_port_that_is_taken_is_replaced(
    taken: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metrics, "PORTS", (("web", "WEB_METRICS_PORT", taken),))

    chosen = metrics.choose(HOST, pytest.fail)

    assert chosen["WEB_METRICS_PORT"] not in (str(taken), metrics.OFF)


def test_a_port_that_was_asked_for_and_is_taken_is_switched_off_and_said(taken: int) -> None:
    warnings: list[str] = []

    chosen = metrics.choose({**HOST, "WEB_METRICS_PORT": str(taken)}, warnings.append)

    assert chosen["WEB_METRICS_PORT"] == metrics.OFF
    assert str(taken) in warnings[0]


def test_what_is_switched_off_stays_off() -> None:
    given = {**HOST, **dict.fromkeys(VARIABLES, "0")}

    assert metrics.choose(given, pytest.fail) == dict.fromkeys(VARIABLES, "0")
    assert metrics.addresses(given) == dict.fromkeys(["web", "worker", "clock"], "off")


def test_only_what_answers_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()

        def log_message(self, *args: object) -> None:
            pass

    monkeypatch.setattr(metrics, "ANSWER_SECONDS_MAX", 0.2)
    nobody = ports.free_ports(1)[0]
    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        web = server.server_port
        given = {**HOST, "WEB_METRICS_PORT": str(web), "WORKER_METRICS_PORT": str(nobody),
                 "CLOCK_METRICS_PORT": "0"}  # fmt: skip
        try:
            served = metrics.addresses(given)
        finally:
            server.shutdown()
            thread.join()

    assert served == {
        "web": f"http://127.0.0.1:{web}/metrics", "worker": "off", "clock": "off",
    }  # fmt: skip
