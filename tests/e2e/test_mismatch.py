"""A queue that exists with other arguments: whoever can't work says so, and does not look well."""

import time
from collections.abc import Iterator

import httpx
import pika
import pytest

from actors.commands import ROUTES, PlaceOrder
from deploy.local.servers import Postgres, RabbitMQ
from tests.conftest import System, eventually
from web.publisher import MISMATCH_PAUSE_S

ORDERS = ROUTES[PlaceOrder].queue
EX_CONFIG = 78


@pytest.fixture
def system(postgres: Postgres, rabbitmq: RabbitMQ) -> Iterator[System]:
    """Beside a queue of orders as another version made it. Nothing runs yet."""
    system = System(postgres, rabbitmq, "mismatch")
    with connect(system) as connection:
        connection.channel().queue_declare(ORDERS, durable=True)
    system.prepare()
    yield system
    system.discard()


def connect(system: System) -> pika.BlockingConnection:
    return pika.BlockingConnection(pika.URLParameters(system.environment["RABBITMQ_URL"]))


def explanations(system: System, name: str) -> list[str]:
    lines = system.log(name).read_text().splitlines()
    return [line for line in lines if f"'{ORDERS}'" in line and "delete_queue" in line]


def test_a_worker_says_what_to_do_and_ends_and_the_front_door_is_not_ready_until_it_is_done(
    system: System,
) -> None:
    # When all is started beside a queue that differs
    system.start("worker")
    started_at = time.monotonic()
    system.start("web", ready=False)

    # Then the worker says so, once, and ends with an error
    ended = eventually(lambda: system.exit_code("worker"), what="the worker ends")
    assert ended == EX_CONFIG
    (line,) = explanations(system, "worker")
    assert '"log.level":"error"' in line
    system.stop("worker")
    # And the front door lives, takes nothing, and says why
    eventually(lambda: explanations(system, "web"), what="the front door explains it")
    answer = httpx.get(f"{system.base_url}/readyz")
    assert (answer.status_code, answer.json()["checks"]["broker"]) == (503, False)
    assert httpx.get(f"{system.base_url}/livez").status_code == 200
    # And it does not try again all the time
    said = len(explanations(system, "web"))
    assert said <= 1 + (time.monotonic() - started_at) / MISMATCH_PAUSE_S

    # When that queue is deleted, then all work
    with connect(system) as connection:
        connection.channel().queue_delete(ORDERS)
    eventually(system.is_ready, what="ready")
    system.start("worker")
    with system.client() as client:
        body = {"customer_id": "c-1", "lines": [{"sku": "NONE", "quantity": 1}]}
        answer = client.post("/v1/orders", json=body, headers={"Prefer": "wait=20"})
        assert answer.status_code in (404, 409, 422), answer.text
