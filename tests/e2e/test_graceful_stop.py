"""SIGTERM to the workers: they end within their bound, and hand back what they could not do."""

import contextlib
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from subprocess import Popen

import pika
import psycopg2
import pytest

from actors.commands import ROUTES, PlaceOrder
from deploy.local import processes
from deploy.local.processes import Program
from deploy.local.servers import Postgres, RabbitMQ
from tests.conftest import CHECKOUT, ROOT, System, eventually
from tests.e2e.shop import NOW, Answer, Ask, Shop, all_decided, an_order, burst

QUEUE = ROUTES[PlaceOrder].queue
BOUND_S = 3
#: Beyond the bound, to close what is open and to report a last time; far less than the locks last.
REST_S = 30


@pytest.fixture(scope="module")
def system(postgres: Postgres, rabbitmq: RabbitMQ) -> Iterator[System]:
    """A system of its own, which waits for a lock longer than a stop waits for a transaction."""
    running = System(postgres, rabbitmq, "leaving", LOCK_TIMEOUT_MS="60000",
                     STATEMENT_TIMEOUT_MS="61000", SHUTDOWN_GRACE_MS="62000")  # fmt: skip
    running.prepare()
    running.start("web")
    yield running
    running.discard()


@pytest.fixture
def shop(system: System) -> Iterator[Shop]:
    with system.client() as client:
        yield Shop(client)


@pytest.fixture
def start_worker(system: System) -> Iterator[Callable[[], Popen[bytes]]]:
    program = Program(
        name="leaving", owner=ROOT, cwd=CHECKOUT, environment=system.environment,
        log=ROOT / "log" / "leaving-worker.log", stop_seconds_max=BOUND_S + REST_S,
        argv=[sys.executable, "-m", "actors", "--processes", "1", "--threads", "4",
              "--worker-shutdown-timeout", str(BOUND_S * 1000)],
    )  # fmt: skip
    started: list[Popen[bytes]] = []

    def start() -> Popen[bytes]:
        started.append(processes.start(program))
        return started[-1]

    yield start
    for process in started:
        processes.end(process, program)


def stop(process: Popen[bytes]) -> float:
    """SIGTERM as a platform sends it; seconds until the end, in good order."""
    began = time.monotonic()
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 0
    return time.monotonic() - began


def ready(system: System) -> int:
    """How many messages of new orders wait."""
    url = pika.URLParameters(system.environment["RABBITMQ_URL"])
    with pika.BlockingConnection(url) as connection:
        found = connection.channel().queue_declare(QUEUE, passive=True)
        return int(found.method.message_count)


def test_under_load_a_stop_is_in_time_and_every_message_is_done_or_back(
    system: System, shop: Shop, start_worker: Callable[[], Popen[bytes]]
) -> None:
    worker = start_worker()
    sku = shop.product(100_000)
    flowing = threading.Event()
    asks = [Ask("POST", "/v1/orders", an_order((sku, 1)), NOW)] * 1_500
    answers: list[Answer] = []

    def on_answer(count: int) -> None:
        if count > 200:
            flowing.set()

    load = threading.Thread(
        target=lambda: answers.extend(burst(system, asks, connections=16, on_answer=on_answer))
    )
    load.start()
    try:
        assert flowing.wait(60)
        assert stop(worker) < BOUND_S + REST_S
    finally:
        load.join()

    # Whoever comes next finds all of it, with nobody left who might still hold some
    start_worker()
    assert {answer.status for answer in answers} == {202}
    ids = [answer.body["id"] for answer in answers]
    assert set(all_decided(system, ids).values()) == {"confirmed"}


def test_a_transaction_that_hangs_does_not_keep_a_stop_and_its_order_is_decided_later(
    system: System, shop: Shop, start_worker: Callable[[], Popen[bytes]]
) -> None:
    # Given a worker in the middle of an order, whose stock someone else has locked
    worker = start_worker()
    sku = shop.product(5)
    with contextlib.closing(psycopg2.connect(system.environment["DATABASE_URL"])) as holder:
        holder.cursor().execute("SELECT FROM stock WHERE sku = %s FOR UPDATE", (sku,))
        order_id = shop.place((sku, 1), headers=NOW).json()["id"]
        waits = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() " \
                "AND wait_event_type = 'Lock'"  # fmt: skip
        eventually(lambda: system.sql(waits)[0][0] == 1, what="the order waits for the lock")

        # When it is told to stop, then it does, without the lock
        took_s = stop(worker)
        assert BOUND_S <= took_s < BOUND_S + REST_S
        # And the order is back in its queue
        eventually(lambda: ready(system) == 1, what="it is handed back")
        assert shop.order(order_id)["status"] == "pending"

    start_worker()
    assert all_decided(system, [order_id]) == {order_id: "confirmed"}
    assert shop.stock(sku)[1] == 1
