"""Back-pressure: new orders are turned away before their queue is full, and nothing else is."""

from collections.abc import Iterator

import httpx
import pytest

from deploy.local.servers import Postgres, RabbitMQ
from tests.conftest import System, eventually
from tests.e2e.shop import NOW, Shop, all_decided, an_order, problem

LENGTH_MAX = 200


@pytest.fixture
def small(postgres: Postgres, rabbitmq: RabbitMQ) -> Iterator[System]:
    """A system whose queues hold few messages, and no worker that takes them."""
    system = System(postgres, rabbitmq, "backlog", QUEUE_LENGTH_MAX=str(LENGTH_MAX))
    system.prepare()
    system.start()
    yield system
    system.discard()


def shed_total(system: System) -> float:
    text = httpx.get(f"http://127.0.0.1:{system.metrics_ports['web']}/metrics").text
    return next(
        (
            float(line.split()[-1])
            for line in text.splitlines()
            if line.startswith("holdfast_orders_shed_total")
        ),
        0.0,
    )


def test_orders_are_turned_away_before_their_queue_is_full_and_taken_again_when_it_has_room(
    small: System,
) -> None:
    with small.client() as client:
        shop = Shop(client)
        sku = shop.product(1000)
        shipped = shop.confirmed((sku, 1))["id"]
        small.stop("worker")
        # Given almost as many orders as are taken
        taken = [shop.place((sku, 1), headers=NOW).json()["id"] for _ in range(LENGTH_MAX * 3 // 4)]

        # When more come, one at a time
        def turned_away() -> httpx.Response | None:
            answer = shop.place((sku, 1), headers=NOW)
            if answer.status_code == 202:
                taken.append(answer.json()["id"])
                return None
            return answer

        refused = [eventually(turned_away, what="an order is turned away")]

        # Then they are told when to come back, before the queue is full
        assert LENGTH_MAX * 0.8 <= len(taken) < LENGTH_MAX
        batch = client.post("/v1/order-batches", json={"orders": [an_order((sku, 1))]})
        for answer in (*refused, batch):
            document = problem(answer, 503, "unavailable")
            assert "Too many orders wait to be decided" in document["detail"]
            assert 10 <= int(answer.headers["retry-after"]) < 30
        eventually(lambda: shed_total(small) >= 2, what="they are counted")
        # and all else goes on
        assert shop.move(shipped, "shipped", headers=NOW).status_code == 202
        assert shop.adjust(sku, 1, headers=NOW).status_code == 202
        assert shop.put_product(sku, headers=NOW).status_code == 202
        assert small.is_ready()
        ready = httpx.get(f"{small.base_url}/readyz").json()
        assert LENGTH_MAX * 0.8 <= ready["backlog"]["messages"] < LENGTH_MAX

        # When a worker has made room, orders are taken again, and nothing accepted is lost
        small.start("worker")
        eventually(lambda: turned_away() is None, what="orders are taken again")
        all_decided(small, [*taken, shipped])
        assert shop.stock(sku)[1] == len(taken)
