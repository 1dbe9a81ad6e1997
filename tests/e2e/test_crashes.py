"""A message that kills its worker's process is found out; the others are decided meanwhile."""

from collections.abc import Iterator

import pytest

from deploy.local.servers import Postgres, RabbitMQ
from tests.conftest import System, eventually
from tests.e2e.deadly import DEADLY
from tests.e2e.shop import NOW, Shop, all_decided, an_order


@pytest.fixture
def deadly(postgres: Postgres, rabbitmq: RabbitMQ) -> Iterator[System]:
    """A system whose workers die of some orders. No worker runs yet."""
    system = System(
        postgres, rabbitmq, "deadly", worker="tests.e2e.deadly --processes 1 --threads 4"
    )
    system.prepare()
    system.start("web")
    yield system
    system.discard()


def test_an_order_that_kills_its_worker_ends_as_failed_and_its_neighbours_are_decided(
    deadly: System,
) -> None:
    # Given deadly orders, in a batch with good ones and by themselves, among others
    with deadly.client() as client:
        shop = Shop(client)
        deadly.start("worker")
        sku = shop.product(100)
        deadly.stop("worker")
        bodies = [an_order((sku, 1)) for _ in range(4)]
        bodies.insert(2, an_order((sku, 1), customer_id=f"{DEADLY}-in-a-batch"))
        batch = client.post("/v1/order-batches", json={"orders": bodies}, headers=NOW).json()
        ids = [order["id"] for order in batch["orders"]]
        alone = shop.place((sku, 1), headers=NOW, customer_id=f"{DEADLY}-alone").json()["id"]
        good = [shop.place((sku, 1), headers=NOW).json()["id"] for _ in range(8)]
        doomed = [ids.pop(2), alone]

        # When its platform starts the worker again whenever it has died
        deaths = 0

        def settled() -> bool:
            nonlocal deaths
            if deadly.exit_code("worker") is not None:
                deaths += 1
                deadly.stop("worker")
                deadly.start("worker")
            return len(deadly.sql("SELECT id FROM dead_letters")) == len(doomed)

        deadly.start("worker")
        eventually(settled, within_s=240, what="both are given up")

        # Then these failed, on record with what happened, and all the others are confirmed
        all_decided(deadly, [*ids, *good, *doomed])
        assert {shop.order(one)["status"] for one in doomed} == {"failed"}
        assert {shop.order(one)["status"] for one in (*ids, *good)} == {"confirmed"}
        assert shop.stock(sku) == (100, len(ids) + len(good), 100 - len(ids) - len(good))
    letters = deadly.sql("SELECT error_class, error, command_ids::text[] FROM dead_letters")
    assert sorted(id_ for *_, (id_,) in letters) == sorted(doomed)
    assert {error_class for error_class, *_ in letters} == {"WorkerDied"}
    assert all("its worker process died" in error for _, error, _ in letters)
    # and the worker lived through the rest: it died of nothing else
    assert deadly.exit_code("worker") is None
    assert deaths >= 5
