"""Policies that would take messages out of our queues are known before they do."""

import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from socketserver import BaseRequestHandler, StreamRequestHandler, TCPServer
from typing import Any, ClassVar

import msgspec
import pytest

from actors import policies
from actors.clock import Clock
from actors.clock_metrics import health
from actors.commands import QUEUES
from actors.policies import PoliciesUnknownError, conflicts
from config import Settings, settings
from deploy.local import ports
from tests.conftest import eventually
from tests.integration.test_dropped import clear_policy, set_policy
from tests.integration.workshop import Workshop


@pytest.fixture
def managed(workshop: Workshop) -> Iterator[Settings]:
    """Our settings with the URL of a management plugin, which is there for the test alone."""
    rabbitmq = workshop.rabbitmq
    (port,) = ports.free_ports(1)
    listener = f'[{{port, {port}}}, {{ip, "127.0.0.1"}}]'
    user = rabbitmq.url.partition("://")[2].partition("@")[0]
    rabbitmq.ctl("eval", f"application:set_env(rabbitmq_management, listener, {listener}).")
    plugins(workshop, "enable")
    try:
        yield msgspec.structs.replace(
            settings(), rabbitmq_url=rabbitmq.url,
            rabbitmq_management_url=f"http://{user}@127.0.0.1:{port}",
        )  # fmt: skip
    finally:
        plugins(workshop, "disable")


def plugins(workshop: Workshop, action: str) -> None:
    rabbitmq = workshop.rabbitmq
    subprocess.run(
        [*rabbitmq.entry, str(rabbitmq.binaries / "rabbitmq-plugins"), action,
         "rabbitmq_management"],
        env=rabbitmq.environment(), check=True, capture_output=True, stdin=subprocess.DEVNULL,
    )  # fmt: skip


def test_a_policy_that_takes_messages_out_of_a_queue_is_named(
    workshop: Workshop, managed: Settings
) -> None:
    workshop.broker.declare_queue(QUEUES[0], ensure=True)
    assert conflicts(managed, QUEUES[:1]) == []

    set_policy(
        workshop,
        '{"message-ttl": 60000, "max-length": 200000, "delivery-limit": 5,'
        ' "overflow": "drop-head"}',
    )
    try:
        clock = Clock(managed)
        eventually(lambda: len(conflicts(managed, QUEUES[:1])) == 9)
        clock.survey()
        said = health(clock.seen)
        assert said["status"] == "degraded"
        # Longer than ours is no conflict where ours is shorter.
        assert f"a policy sets max-length of {QUEUES[0]}" not in clock.seen.policies
        for key in ("message-ttl", "delivery-limit", "overflow"):
            assert f"a policy sets {key} of {QUEUES[0]}" in str(said["reasons"])
    finally:
        clear_policy(workshop)
    eventually(lambda: conflicts(managed, QUEUES[:1]) == [])


def test_nobody_asks_where_nobody_said_whom() -> None:
    assert conflicts(settings(), QUEUES) == []
    (nobody,) = ports.free_ports(1)
    away = msgspec.structs.replace(
        settings(), rabbitmq_management_url=f"http://a:b@127.0.0.1:{nobody}"
    )

    with pytest.raises(PoliciesUnknownError, match="RABBITMQ_MANAGEMENT_URL"):
        conflicts(away, QUEUES)


def test_a_policy_that_takes_nothing_out_is_no_conflict() -> None:
    unlimited = {"delivery-limit": -1, "overflow": "reject-publish", "max-length": 100}

    assert list(policies._harmful(unlimited, QUEUES[0], QUEUES[0], length_max=100)) == []


@contextmanager
def served(handler: type[BaseRequestHandler]) -> Iterator[Any]:
    """Our settings with the URL of a server that answers so."""
    with TCPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://a:b@127.0.0.1:{server.server_address[1]}"
        try:
            yield msgspec.structs.replace(settings(), rabbitmq_management_url=url)
        finally:
            server.shutdown()


class NoHttp(StreamRequestHandler):
    """As RabbitMQ's own port."""

    def handle(self) -> None:
        self.rfile.readline()
        self.wfile.write(b"AMQP\x00\x00\x09\x01")


def test_an_address_that_speaks_no_http_keeps_nothing_from_the_survey(
    database: None, caplog: pytest.LogCaptureFixture
) -> None:
    with served(NoHttp) as given:
        clock = Clock(given)

        clock.survey()

    assert clock.seen.stock_below is not None
    assert "RABBITMQ_MANAGEMENT_URL" in caplog.text


class Elsewhere(BaseHTTPRequestHandler):
    """Sends whoever asks to somewhere else."""

    asked: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        self.asked.append(self.path)
        self.send_response(302)
        self.send_header("Location", "/elsewhere")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


def test_the_password_goes_nowhere_but_to_the_address(monkeypatch: pytest.MonkeyPatch) -> None:
    (nobody,) = ports.free_ports(1)
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{nobody}")
    monkeypatch.delenv("no_proxy", raising=False)

    with served(Elsewhere) as given, pytest.raises(PoliciesUnknownError, match="302"):
        conflicts(given, QUEUES)

    assert len(Elsewhere.asked) == 1
