"""How many connections to PostgreSQL a process has: deploy/check adds them up for a cluster."""

from concurrent.futures import ThreadPoolExecutor

from config import settings
from deploy.check._together import FURTHER_CONNECTIONS
from tests.conftest import System
from tests.e2e.shop import NOW, Shop

CONNECTIONS = """
SELECT split_part(application_name, '/', 1), count(*) FROM pg_stat_activity
WHERE datname = current_database() AND application_name ~ '^holdfast-(web|worker)' GROUP BY 1
"""
CLIENTS = 16


def test_no_process_has_more_connections_than_are_counted_with(system: System, shop: Shop) -> None:
    sku = shop.product(1_000)

    def buy_and_read(_: int) -> None:
        with system.client() as client:
            for _ in range(10):
                Shop(client).place((sku, 1), headers=NOW)
                for path in ("/v1/orders", f"/v1/inventory/{sku}", "/dashboard/actors"):
                    assert client.get(path).status_code == 200

    with ThreadPoolExecutor(CLIENTS) as clients:
        list(clients.map(buy_and_read, range(CLIENTS)))

    found = dict(system.sql(CONNECTIONS))
    most = {
        "holdfast-web": settings().read_threads + FURTHER_CONNECTIONS,
        "holdfast-worker": settings().worker_threads + FURTHER_CONNECTIONS,
    }
    assert {name: count for name, count in found.items() if count > most[name]} == {}
    assert found.keys() == most.keys()
