"""Of many puts of one product, sent in turn, the last one stays: for the night, with ROUNDS."""

import os
import signal
from collections.abc import Iterator

import psycopg2
import pytest

from deploy.local.servers import Postgres, RabbitMQ
from tests.conftest import System, eventually
from tests.e2e.shop import NOW, Shop, fresh

ROUNDS = int(os.environ.get("ROUNDS", "2"))
PUTS = 300
#: Which worker is killed after which put: one of them is active.
KILLS = {100: "worker", 200: "worker-2"}


@pytest.fixture(scope="module")
def busy(postgres: Postgres, rabbitmq: RabbitMQ) -> Iterator[System]:
    """A system with two workers."""
    system = System(postgres, rabbitmq, "puts-in-turn")
    system.prepare()
    system.start("web", "worker", "worker-2")
    yield system
    system.discard()


def outcomes(system: System, sku: str) -> dict[str, int]:
    """How many changes of a SKU had which outcome."""
    found = system.sql("SELECT status, count(*) FROM commands WHERE target = %s GROUP BY 1", sku)
    return {status: int(count) for status, count in found}


@pytest.mark.parametrize("number", range(ROUNDS))
@pytest.mark.parametrize("kills", [{}, KILLS], ids=["calm", "killed"])
def test_of_puts_sent_in_turn_the_last_one_stays(
    busy: System, kills: dict[int, str], number: int
) -> None:
    sku = fresh(f"ROUND-{number}")
    with busy.client() as client:
        shop = Shop(client)

        # When a client sends puts in turn, without waiting for what becomes of them
        for price in range(1, PUTS + 1):
            answer = shop.put_product(sku, headers=NOW, unit_price=price)
            assert answer.status_code == 202, answer.text
            if price in kills:
                busy.kill(kills[price])
                busy.start(kills[price])

        # Then all of them take effect, the last one last
        eventually(lambda: outcomes(busy, sku) == {"applied": PUTS}, what=f"{sku} is decided")
    assert busy.sql("SELECT unit_price FROM products WHERE sku = %s", sku) == [(PUTS,)]


def test_a_worker_that_was_frozen_in_the_middle_of_a_put_overwrites_nothing(
    postgres: Postgres, rabbitmq: RabbitMQ
) -> None:
    # Given workers that RabbitMQ gives up after some seconds of silence
    system = System(postgres, rabbitmq, "frozen-put", HEARTBEAT_S="2")
    system.prepare()
    system.start("web", "worker")
    with system.client() as client:
        shop = Shop(client)
        sku = shop.product()
        connection = psycopg2.connect(system.environment["DATABASE_URL"])
        with connection.cursor() as cursor:
            cursor.execute("SELECT FROM products WHERE sku = %s FOR UPDATE", (sku,))

            # When one is frozen while it waits for a lock, and another one has its turn
            for price in range(1, 21):
                assert shop.put_product(sku, headers=NOW, unit_price=price).status_code == 202
            eventually(lambda: waiting(system) == 1, what="a put waits for the lock")
            frozen = system._running["worker"][1].pid
            os.killpg(frozen, signal.SIGSTOP)
            system.start("worker-2")
            try:
                eventually(lambda: attempts(system), what="the other worker begins")
            finally:
                connection.rollback()
                os.killpg(frozen, signal.SIGCONT)
        connection.close()

        # Then each has taken effect once, the last one last
        eventually(lambda: outcomes(system, sku) == {"applied": 21}, what=f"{sku} is decided")
    assert system.sql("SELECT unit_price FROM products WHERE sku = %s", sku) == [(20,)]
    system.discard()


def waiting(system: System) -> int:
    ((count,),) = system.sql(
        "SELECT count(*) FROM pg_stat_activity "
        "WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )
    return int(count)


def attempts(system: System) -> int:
    """Messages that came again and are being tried."""
    ((count,),) = system.sql("SELECT count(*) FROM attempts")
    return int(count)
