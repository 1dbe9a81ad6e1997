"""Which requests are logged: faults of ours and slow ones, with who asked, and never a flood."""

import logging
from types import SimpleNamespace
from typing import Any

import falcon.asgi
import falcon.testing
import pytest

from web import problems, telemetry
from web.metrics import Figures
from web.telemetry import LINES_MAX, Telemetry

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
HEADERS = {"traceparent": f"00-{TRACE}-00f067aa0ba902b7-01"}


class Door:
    """A route that fails or not, and what is logged of it."""

    def __init__(self) -> None:
        self.figures = Figures()
        app: Any = falcon.asgi.App(middleware=[Telemetry(self.figures, None), self])
        problems.install(app)
        app.add_route("/{name}", self)
        self.client: Any = falcon.testing.TestClient(app)

    async def process_resource(self, req: Any, _resp: Any, _resource: Any, _params: Any) -> None:
        req.context.session = SimpleNamespace(key=SimpleNamespace(id="key_7"))

    async def on_get(self, _req: Any, _resp: Any, name: str) -> None:
        if name == "broken":
            raise ValueError(name)

    def lines(self, caplog: pytest.LogCaptureFixture) -> list[Any]:
        return [record for record in caplog.records if record.name == "web.telemetry"]


@pytest.fixture
def door() -> Door:
    return Door()


def test_what_goes_well_is_counted_and_not_logged(
    door: Door, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(3):
        door.client.simulate_get("/fine")

    assert sum(door.figures.answers(("GET", "/{name}", "200 OK")).counts) == 3
    assert (door.figures.begun, door.figures.ended) == (3, 3)
    assert door.lines(caplog) == []


def test_a_clients_own_mistake_is_not_logged(door: Door, caplog: pytest.LogCaptureFixture) -> None:
    door.client.simulate_get("/no/where")
    door.client.simulate_post("/fine")

    assert door.lines(caplog) == []
    assert sum(door.figures.answers(("GET", None, 404)).counts) == 1


def test_a_fault_of_ours_is_logged_with_its_trace_and_who_asked(
    door: Door, caplog: pytest.LogCaptureFixture
) -> None:
    door.client.simulate_get("/broken", headers=HEADERS)

    (line,) = door.lines(caplog)
    assert line.getMessage().startswith("GET /broken answered 500 in ")
    extra = line.__dict__
    assert extra["trace.id"] == TRACE
    assert extra["user.id"] == "key_7"
    assert extra["http.route"] == "/{name}"
    assert extra["http.response.status_code"] == 500
    assert extra["event.duration"] > 0
    (bug,) = [record for record in caplog.records if record.name == "web.problems"]
    assert bug.__dict__["trace.id"] == TRACE


def test_a_slow_one_is_logged_unless_it_was_asked_to_wait(
    door: Door, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(telemetry, "SLOW_S", 0.0)

    door.client.simulate_get("/slow", headers={"Prefer": "wait=10"})
    assert door.lines(caplog) == []
    door.client.simulate_get("/slow")
    assert len(door.lines(caplog)) == 1


def test_of_a_flood_a_few_lines_a_second_are_logged_and_the_rest_is_counted(
    door: Door, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 100.0
    monkeypatch.setattr(telemetry, "monotonic", lambda: now)
    caplog.set_level(logging.WARNING)
    for _ in range(LINES_MAX + 5):
        door.client.simulate_get("/broken")
    now = 101.0
    door.client.simulate_get("/broken")
    door.client.simulate_get("/broken")

    left_out = [line.__dict__.get("holdfast.left_out") for line in door.lines(caplog)]
    assert left_out == [None] * LINES_MAX + [5, None]
