"""Where processes listen: in every form, and with the setting's name where that can't be."""

import errno
import logging
import os
import socket
import urllib.request

import pytest
from prometheus_client.registry import Collector

from actors.exposition import Exposition
from actors.terminal import health
from config import SettingsError
from config.addresses import (
    address_to_listen_on,
    check_can_listen,
    explanation,
    in_url,
    problem_of_listening,
    reachable,
)
from deploy.local import metrics, ports
from deploy.local.errors import CannotRunError

ELSEWHERE = "203.0.113.9"
NAMES = {"host_name": "HOST", "port_name": "PORT"}
VARIABLES = [variable for _, variable, _ in metrics.PORTS]
IPV6 = problem_of_listening("::1", 0) is None  # many containers have none
HOSTS = ["127.0.0.1", "0.0.0.0", "localhost", *(["::1", "::"] if IPV6 else [])]


class Nothing(Collector):
    def collect(self) -> list[object]:  # type: ignore[override]
        return []


@pytest.mark.parametrize("host", HOSTS)
def test_what_listens_anywhere_is_reached_from_here(host: str) -> None:
    (port,) = ports.free_ports(1)
    served = Exposition(host, port, Nothing(), lambda: {"status": "ok", "reasons": []})

    assert problem_of_listening(host, port) is None
    assert served.start()
    try:
        assert health._get(host, port, "/healthz")["status"] == "ok"
        address = f"http://{in_url(reachable(host))}:{port}/healthz"
        assert urllib.request.urlopen(address, timeout=10).status == 200
        shown = {"METRICS_HOST": host, **dict.fromkeys(VARIABLES, str(port))}
        assert set(metrics.addresses(shown).values()) == {
            f"http://{in_url(reachable(host))}:{port}/metrics"
        }
        # The same port now is taken, and only now.
        problem = problem_of_listening(host, port)
        assert problem is not None
        assert problem.errno == errno.EADDRINUSE
        # That may pass: gunicorn waits for it, and holds it itself when it reads its settings anew.
        assert check_can_listen(host, port, **NAMES) == address_to_listen_on(host, port)[1]
    finally:
        served.stop()


@pytest.mark.parametrize("host", [ELSEWHERE, "2001:db8::9"])
def test_an_address_of_another_machine_is_named_with_its_setting(
    host: str, caplog: pytest.LogCaptureFixture
) -> None:
    warnings: list[str] = []
    served = Exposition(host, 9464, Nothing())

    with pytest.raises(SettingsError, match=f"HOST is '{host}', and this machine can't listen"):
        check_can_listen(host, 8000, **NAMES)
    with pytest.raises(CannotRunError, match=f"HOST is '{host}'") as caught:
        ports.check_own_port(8000, host)
    with caplog.at_level(logging.WARNING):
        assert not served.start()
    metrics.choose({"METRICS_HOST": host, **dict.fromkeys(VARIABLES, "9464")}, warnings.append)

    assert f"METRICS_HOST is '{host}'" in caplog.text
    assert all(f"METRICS_HOST is '{host}'" in warning for warning in warnings)
    assert "taken" not in " ".join([str(caught.value), caplog.text, *warnings])


def test_a_name_that_is_not_known_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object, **__: object) -> list[object]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)

    with pytest.raises(SettingsError, match=r"HOST is 'some-name', .*: Name or service not kn"):
        check_can_listen("some-name", 8000, **NAMES)


def test_a_name_of_both_kinds_is_listened_on_by_ipv4(monkeypatch: pytest.MonkeyPatch) -> None:
    def both(*_: object, **__: object) -> list[object]:
        return [
            (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("::1", 0, 0, 0)),
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 0)),
        ]

    monkeypatch.setattr(socket, "getaddrinfo", both)

    assert address_to_listen_on("both", 0) == (socket.AF_INET, "127.0.0.1")


def test_a_port_that_a_user_may_not_have_is_named() -> None:
    error = OSError(errno.EACCES, os.strerror(errno.EACCES))

    said = explanation(error, "127.0.0.1", 80, **NAMES)

    assert "PORT is 80, and this user may not listen there: Permission denied" in said
