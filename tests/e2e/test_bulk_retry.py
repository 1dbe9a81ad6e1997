"""Thousands of failures put back by one command, with the worker killed in the middle."""

import json
import subprocess
import sys
from collections.abc import Iterator

import pytest

from deploy.local.servers import Postgres, RabbitMQ
from tests.conftest import CHECKOUT, System, eventually
from tests.seeding import FAILED_ORDERS

FAILURES = 12_000


@pytest.fixture
def hospital(postgres: Postgres, rabbitmq: RabbitMQ) -> Iterator[System]:
    """A worker on a database of its own, full of failures."""
    system = System(postgres, rabbitmq, "bulk")
    system.prepare()
    system.sql(
        "INSERT INTO products VALUES ('BULK', 'Mug', 100, 'EUR', now(), now());"
        "INSERT INTO stock VALUES ('BULK', 'main', 1000000, 0, now())"
    )
    for _ in range(4):
        system.sql(FAILED_ORDERS, "BULK", FAILURES // 4)
    system.start("worker")
    yield system
    system.discard()


def test_a_worker_killed_in_the_middle_puts_nothing_back_twice(hospital: System) -> None:
    # Given a retry of everything, well under way
    asking = subprocess.Popen(
        [sys.executable, "-m", "holdfast", "failures", "retry", "--all-matching", "--yes",
         "--json"],
        cwd=CHECKOUT, env=hospital.environment, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip

    def done() -> int:
        rows = hospital.sql("SELECT done FROM operations")
        return int(rows[0][0]) if rows else 0

    eventually(lambda: done() >= 1_000)

    # When the worker is killed, and another one comes
    hospital.kill("worker")
    at_kill = done()
    assert 0 < at_kill < FAILURES, "it was over before it could be killed"
    assert hospital.sql("SELECT status FROM commands WHERE kind = 'operate'") == [("pending",)]
    hospital.start("worker")

    # Then it goes on to the end
    answer = json.loads(asking.communicate(timeout=300)[0])
    assert (answer["status"], answer["done"], answer["skipped"]) == ("applied", FAILURES, 0)
    assert hospital.sql("SELECT DISTINCT state FROM dead_letters") == [("retried",)]
    # and each order is decided once
    eventually(
        lambda: hospital.sql("SELECT allocated FROM stock") == [(FAILURES,)],
        what="all decided",
    )  # fmt: skip
    ((orders, movements, units),) = hospital.sql(
        "SELECT (SELECT count(*) FROM orders WHERE status = 'confirmed'), count(*), "
        "sum(allocated_delta) FROM stock_movements"
    )
    assert orders == movements == units == FAILURES
