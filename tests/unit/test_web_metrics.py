"""What a web process counts, and how Prometheus gets it."""

import logging
import os
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from deploy.local.ports import free_ports
from tests.conftest import CHECKOUT, eventually
from web.exporter import Exporter
from web.exposition import FOLDER_VARIABLE, MasterExposition
from web.metrics import BATCH_COMMANDS, Figures, Spread

REQUESTS = "holdfast_http_requests_total"
SECONDS = "holdfast_http_request_duration_seconds"


class Counted:
    """Figures, and what Prometheus sees of them."""

    def __init__(self) -> None:
        self.figures = Figures()
        self.exporter = Exporter()

    def value(self, name: str, **labels: str) -> float | None:
        self.exporter.sync(self.figures)
        return self.exporter.registry.get_sample_value(name, labels)


@pytest.fixture
def counted() -> Counted:
    return Counted()


def test_a_value_falls_into_the_first_bucket_that_holds_it() -> None:
    spread = Spread((1, 2, 5))
    for value in (0, 1, 1.5, 2, 5, 5.1, 100):
        spread.add(value)

    assert spread.take() == ([2, 2, 1, 2], 114.6)
    assert spread.take() == ([0, 0, 0, 0], 0)


def test_requests_are_counted_by_method_route_and_status(counted: Counted) -> None:
    for status in (202, 202, 503):
        counted.figures.answers(("POST", "/v1/orders", status)).add(0.02)

    accepted = {"method": "POST", "route": "/v1/orders", "status": "202"}
    assert counted.value(REQUESTS, **accepted) == 2
    assert counted.value(REQUESTS, **{**accepted, "status": "503"}) == 1
    assert counted.value(f"{SECONDS}_count", route="/v1/orders") == 3
    assert counted.value(f"{SECONDS}_sum", route="/v1/orders") == pytest.approx(0.06)
    assert counted.value(f"{SECONDS}_bucket", route="/v1/orders", le="0.01") == 0
    assert counted.value(f"{SECONDS}_bucket", route="/v1/orders", le="0.025") == 3


def test_what_was_taken_is_not_taken_again(counted: Counted) -> None:
    counted.figures.answers(("GET", "/livez", 200)).add(0.001)
    labels = {"method": "GET", "route": "/livez", "status": "200"}

    assert [counted.value(REQUESTS, **labels) for _ in range(3)] == [1, 1, 1]
    counted.figures.answers(("GET", "/livez", 200)).add(0.001)
    assert counted.value(REQUESTS, **labels) == 2


def test_words_of_a_clients_own_make_no_labels(counted: Counted) -> None:
    counted.figures.answers(("BREW", None, "404 Not Found")).add(0.001)
    counted.figures.answers(("STEEP", None, "404 Not Found")).add(0.001)

    assert counted.value(REQUESTS, method="other", route="none", status="404") == 2


def test_only_our_own_faults_count_as_failed() -> None:
    figures = Figures()
    statuses = (200, 409, 500, 503, "200 OK", "404 Not Found", "500 Internal Server Error")

    failed = [status for status in statuses if figures.answers(("GET", "/x", status)).failed]

    assert failed == [500, 503, "500 Internal Server Error"]


def test_what_is_published_and_what_is_not(counted: Counted) -> None:
    counted.figures.publish("place_order", 500, 0.004)
    counted.figures.publish("place_order", 1, 0.004)
    counted.figures.publish_failures += 1
    counted.figures.orders_shed += 3
    counted.figures.refused[431] += 2

    assert counted.value("holdfast_commands_accepted_total", kind="place_order") == 501
    assert counted.value("holdfast_publish_batch_commands_bucket", le="1.0") == 1
    assert (
        counted.value("holdfast_publish_batch_commands_bucket", le=str(BATCH_COMMANDS[-1]) + ".0")
        == 2
    )
    assert counted.value("holdfast_publish_seconds_bucket", le="0.005") == 2
    assert counted.value("holdfast_publish_failures_total") == 1
    assert counted.value("holdfast_orders_shed_total") == 3
    assert counted.value(REQUESTS, method="other", route="refused", status="431") == 2


def test_attempts_to_sign_in_are_counted_by_what_came_of_them(counted: Counted) -> None:
    counted.figures.sign_ins["throttled"] += 3

    for _ in range(2):
        assert counted.value("holdfast_sign_ins_total", outcome="throttled") == 3


def test_what_is_under_way_goes_up_and_down(counted: Counted) -> None:
    counted.figures.begun, counted.figures.sse_viewers = 3, 2
    assert counted.value("holdfast_http_requests_in_flight") == 3
    assert counted.value("holdfast_sse_viewers") == 2

    counted.figures.ended, counted.figures.sse_viewers = 3, 0
    assert counted.value("holdfast_http_requests_in_flight") == 0
    assert counted.value("holdfast_sse_viewers") == 0


def is_served(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/metrics").status_code == 200
    except httpx.TransportError:
        return False


def test_a_port_that_is_taken_is_a_warning_until_it_is_free_and_the_folder_goes_at_the_end(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv(FOLDER_VARIABLE, "of somebody else")
    exposition = MasterExposition()
    exposition.open_folder()
    folder = Path(os.environ[FOLDER_VARIABLE])
    with socket.create_server(("127.0.0.1", 0)) as holder, caplog.at_level(logging.WARNING):
        port = holder.getsockname()[1]
        exposition.start("127.0.0.1", port)

    assert str(port) in caplog.text
    eventually(lambda: is_served(port), what="its metrics, once it is free")
    assert folder.is_dir()
    exposition.close()
    assert not folder.exists()


COUNTING = """
from web.exporter import Exporter
from web.metrics import Figures
figures = Figures()
figures.begun = 1
figures.answers(("GET", "/livez", 200)).add(0.02)
exporter = Exporter()
exporter.sync(figures)
figures.answers(("GET", "/livez", 200)).add(0.04)
exporter.sync(figures)
"""


def test_counts_outlive_the_processes_that_counted_and_what_was_under_way_does_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(FOLDER_VARIABLE, "of somebody else")
    exposition, port = MasterExposition(), free_ports(1)[0]
    exposition.open_folder()
    exposition.start("127.0.0.1", port)
    try:
        processes = [subprocess.Popen([sys.executable, "-c", COUNTING], cwd=CHECKOUT)
                     for _ in range(2)]  # fmt: skip
        assert [process.wait() for process in processes] == [0, 0]
        exposition.forget(processes[0].pid)
        text = httpx.get(f"http://127.0.0.1:{port}/metrics").text
    finally:
        exposition.close()

    assert f'{REQUESTS}{{method="GET",route="/livez",status="200"}} 4.0' in text
    assert f'{SECONDS}_bucket{{le="0.025",route="/livez"}} 2.0' in text
    assert f'{SECONDS}_count{{route="/livez"}} 4.0' in text
    assert "holdfast_http_requests_in_flight 1.0" in text


def test_each_master_has_a_folder_of_its_own_and_a_reload_keeps_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(FOLDER_VARIABLE, "of somebody else")
    masters = MasterExposition(), MasterExposition()
    folders = set()
    for master in (*masters, *masters):
        master.open_folder()
        folders.add(os.environ[FOLDER_VARIABLE])

    assert len(folders) == 2
    for master in masters:
        master.close()
