"""What operators see from outside: logs a machine can read, one trace id all the way, metrics."""

import json
import threading
import uuid
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from deploy.check.logging import mapped, not_covered
from tests.conftest import API_KEY, CHECKOUT, System, eventually
from tests.e2e.shop import WAIT, Shop, an_order, fresh, problem
from tests.scraping import Samples, samples

TROUBLE = "c-trouble-in-the-database"
SECRET = "hf_this-is-quoted-by-an-error"


def traceparent() -> tuple[str, str]:
    """A client's trace, and its header."""
    trace_id = uuid.uuid4().hex
    return trace_id, f"00-{trace_id}-00f067aa0ba902b7-01"


def lines(system: System, name: str) -> list[dict[str, Any]]:
    """A process's log; every line of it has to be an object of JSON."""
    found = [json.loads(line) for line in system.log(name).read_text().splitlines()]
    assert found
    assert all(isinstance(line, dict) for line in found)
    return found


def of_trace(system: System, name: str, trace_id: str) -> list[dict[str, Any]]:
    return [one for one in lines(system, name) if one.get("trace", {}).get("id") == trace_id]


class Failing:
    """An order that fails in the worker, for good: it takes seconds, while other tests run."""

    def __init__(self, system: System, shop: Shop) -> None:
        self.trace_id, header = traceparent()
        self.answer: httpx.Response | None = None
        self._body = an_order((shop.product(1), 1), customer_id=TROUBLE)
        self._headers = {"Prefer": "wait=30", "traceparent": header}
        self._system = system
        self._thread = threading.Thread(target=self._place)
        self._thread.start()

    def _place(self) -> None:
        with self._system.client() as client:
            self.answer = client.post("/v1/orders", json=self._body, headers=self._headers)

    def decided(self) -> httpx.Response:
        self._thread.join(35)
        assert self.answer is not None
        return self.answer


@pytest.fixture(scope="module", autouse=True)
def failing(system: System, client: httpx.Client) -> Iterator[Failing]:
    system.sql(f"""
        CREATE FUNCTION trouble() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            RAISE EXCEPTION 'trouble with {SECRET}';
        END $$;
        CREATE TRIGGER trouble BEFORE INSERT ON orders FOR EACH ROW
            WHEN (NEW.customer_id = '{TROUBLE}' AND NEW.status <> 'failed')
            EXECUTE FUNCTION trouble();
    """)
    failing = Failing(system, Shop(client))
    yield failing
    # The system is shared: nothing of it stays.
    failing.decided()
    system.sql("DROP TRIGGER trouble ON orders; DROP FUNCTION trouble()")
    system.sql(
        "WITH gone AS (DELETE FROM dead_letters WHERE trace_id = %s RETURNING command_ids)"
        " DELETE FROM commands WHERE id IN (SELECT unnest(command_ids) FROM gone)",
        failing.trace_id,
    )


@pytest.mark.parametrize("name", ["web", "worker"])
def test_every_line_of_a_log_is_json_with_the_fields_of_the_schema(
    system: System, name: str
) -> None:
    for line in lines(system, name):
        assert {"@timestamp", "log.level", "message", "ecs.version"} <= line.keys(), line
        assert line["service"]["name"] == f"holdfast-{name}"
        assert line["service"]["version"]
        assert line["service"]["environment"] == "development"
        assert line["process"]["pid"] > 0
        assert line["log"]["logger"]
        assert "Traceback" not in line["message"]


def test_servers_of_others_log_the_same_way(system: System) -> None:
    loggers = {name: {one["log"]["logger"] for one in lines(system, name)}
               for name in ("web", "worker")}  # fmt: skip

    assert {"gunicorn.error", "uvicorn.error", "web.publisher"} <= loggers["web"]
    assert {"dramatiq.MainProcess", "dramatiq.WorkerProcess(0)"} <= loggers["worker"]


def test_a_problem_names_the_clients_trace(client: httpx.Client) -> None:
    trace_id, header = traceparent()
    headers = {"traceparent": header}

    refused = client.post("/v1/orders", json={}, headers=headers)
    unknown = client.get("/v1/orders/nonsense", headers=headers)
    nowhere = client.get("/nowhere", headers=headers)

    for answer, status in ((refused, 422), (unknown, 404), (nowhere, 404)):
        assert problem(answer, status)["trace_id"] == trace_id
        assert answer.headers["trace-id"] == trace_id


@pytest.mark.parametrize("header", ["", "nonsense", "00-" + "0" * 32 + "-00f067aa0ba902b7-01"])
def test_without_a_trace_that_makes_sense_a_command_is_its_own(shop: Shop, header: str) -> None:
    headers = {**WAIT, "traceparent": header} if header else WAIT

    document = problem(shop.place((shop.product(0), 1), headers=headers), 409)

    assert document["trace_id"] == document["id"].replace("-", "")


def test_what_is_taken_says_its_trace(client: httpx.Client) -> None:
    order = client.post("/v1/orders", json=an_order(("MUG", 1)))
    batch = client.post("/v1/order-batches", json={"orders": [an_order(("MUG", 1))] * 2})

    assert order.headers["trace-id"] == order.json()["id"].replace("-", "")
    assert batch.headers["trace-id"] == batch.json()["orders"][0]["id"].replace("-", "")


def scrape(system: System) -> Samples:
    """The front door's metrics."""
    address = f"http://127.0.0.1:{system.metrics_ports['web']}/metrics"
    return samples(httpx.get(address).raise_for_status().text)


def value(found: dict[Any, float], name: str, **labels: str) -> float:
    return found.get((name, frozenset(labels.items())), 0)


def test_the_front_door_counts_its_requests_by_route(system: System, shop: Shop) -> None:
    before = scrape(system)
    for _ in range(3):
        shop.confirmed((shop.product(5), 1))
    shop.client.get("/v1/orders/nonsense")
    shop.client.get("/nowhere")

    def grown(name: str, **labels: str) -> float:
        return value(scrape(system), name, **labels) - value(before, name, **labels)

    placed = {"method": "POST", "route": "/v1/orders"}
    eventually(lambda: grown("holdfast_http_requests_total", **placed, status="201") >= 3)
    requests = "holdfast_http_requests_total"
    eventually(
        lambda: grown(requests, method="GET", route="/v1/orders/{order_id}", status="404") >= 1
    )
    eventually(lambda: grown(requests, method="GET", route="none", status="404") >= 1)
    seconds = "holdfast_http_request_duration_seconds"
    assert grown(f"{seconds}_count", route="/v1/orders") >= 3
    assert grown(f"{seconds}_bucket", route="/v1/orders", le="30.0") >= 3
    assert grown(f"{seconds}_sum", route="/v1/orders") > 0


def test_the_front_door_counts_what_it_publishes(system: System, shop: Shop) -> None:
    before = scrape(system)
    sku = shop.product(9)
    orders = [an_order((sku, 1)) for _ in range(7)]
    shop.client.post("/v1/order-batches", json={"orders": orders}).raise_for_status()

    def accepted() -> float:
        name = "holdfast_commands_accepted_total"
        return value(scrape(system), name, kind="place_order") - value(
            before, name, kind="place_order"
        )

    eventually(lambda: accepted() >= 7)
    after = scrape(system)
    for name in ("holdfast_publish_batch_commands_count", "holdfast_publish_seconds_count"):
        assert value(after, name) >= value(before, name) + 3
    assert value(after, "holdfast_publish_batch_commands_sum") >= 9
    assert value(after, "holdfast_publish_failures_total") == 0
    assert ("holdfast_sse_viewers", frozenset()) in after
    # The order that fails is being waited for just now.
    assert value(after, "holdfast_http_requests_in_flight") >= 0


def test_what_is_refused_before_it_is_a_request_is_counted(
    system: System, client: httpx.Client
) -> None:
    problem(client.get("/v1/orders", headers={"X-Large": "x" * 40_000}), 431)

    name = "holdfast_http_requests_total"
    labels = {"method": "other", "route": "refused", "status": "431"}
    eventually(lambda: value(scrape(system), name, **labels) >= 1)


def test_one_trace_id_leads_from_the_request_to_the_workers_log_and_the_dead_letter(
    system: System, failing: Failing
) -> None:
    document = problem(failing.decided(), 500, "processing-failed")

    assert document["trace_id"] == failing.trace_id
    assert system.sql(
        "SELECT command_ids::text[] FROM dead_letters WHERE trace_id = %s", failing.trace_id
    ) == [([document["id"]],)]
    worker = of_trace(system, "worker", failing.trace_id)
    assert len(worker) >= 2
    assert {line["holdfast"]["actor"] for line in worker} == {"place_orders"}


def test_the_workers_log_has_the_whole_error_and_no_secret(
    system: System, failing: Failing
) -> None:
    failing.decided()
    errors = [one for one in of_trace(system, "worker", failing.trace_id) if "error" in one]

    assert errors
    for line in errors:
        assert line["message"].startswith("Failed to process message place_orders(")
        assert line["error"]["type"] == "InternalError"
        assert line["error"]["message"].startswith("trouble with hf_[redacted]")
        assert "Traceback (most recent call last)" in line["error"]["stack_trace"]
        assert "trouble with hf_[redacted]" in line["error"]["stack_trace"]


def test_a_request_that_fails_on_our_side_is_logged_with_who_asked(
    system: System, failing: Failing
) -> None:
    failing.decided()

    (line,) = of_trace(system, "web", failing.trace_id)
    assert line["message"].startswith("POST /v1/orders answered 500 in ")
    assert line["http"]["request"]["method"] == "POST"
    assert line["http"]["route"] == "/v1/orders"
    assert line["http"]["response"]["status_code"] == 500
    assert line["event"]["duration"] > 1e9
    assert line["user"]["id"]


def test_no_log_has_a_secret(system: System, failing: Failing) -> None:
    failing.decided()
    secrets = [API_KEY, SECRET, system.environment["SECRET_KEY"], fresh("hf_")]
    secrets += [system.environment[name] for name in ("DATABASE_URL", "RABBITMQ_URL")]

    for name in ("web", "worker"):
        text = system.log(name).read_text()
        assert not [secret for secret in secrets if secret in text]


def test_every_field_of_a_line_is_indexed_where_logs_come_together(
    system: System, failing: Failing
) -> None:
    failing.decided()
    fields = mapped(json.loads((CHECKOUT / "deploy/logging/index-template.json").read_text()))
    logged = [*lines(system, "web"), *lines(system, "worker")]

    assert [wrong for line in logged for wrong in not_covered(line, fields)] == []
    # Lines of all kinds were among them.
    for group, field in (("error", "stack_trace"), ("holdfast", "commands"), ("http", "route")):
        assert any(field in line.get(group, {}) for line in logged), f"{group}.{field}"
