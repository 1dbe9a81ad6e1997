"""How many connections to PostgreSQL each process has: deploy/check adds them up for a cluster."""

from concurrent.futures import ThreadPoolExecutor

import httpx

from config import settings
from deploy.check._together import CLOCK_CONNECTIONS, FURTHER_CONNECTIONS
from tests.conftest import System
from tests.e2e.shop import NOW, Shop

CONNECTIONS = """
SELECT split_part(application_name, '/', 1), count(*) FROM pg_stat_activity
WHERE datname = current_database() AND application_name LIKE 'holdfast%/%' GROUP BY 1
"""
CLIENTS = 32


def test_no_process_has_more_connections_than_are_counted_with(
    system: System, shop: Shop, client: httpx.Client
) -> None:
    sku = shop.product(1_000)

    def buy_and_read(_: int) -> None:
        shop.place((sku, 1), headers=NOW)
        for path in ("/v1/orders", f"/v1/inventory/{sku}", "/dashboard", "/dashboard/actors"):
            assert client.get(path).status_code == 200

    with ThreadPoolExecutor(CLIENTS) as clients:
        list(clients.map(buy_and_read, range(10 * CLIENTS)))

    found = dict(system.sql(CONNECTIONS))
    most = {
        "holdfast-web": settings().read_threads + FURTHER_CONNECTIONS,
        "holdfast-worker": settings().worker_threads + FURTHER_CONNECTIONS,
        "holdfast": CLOCK_CONNECTIONS,
    }
    assert {name for name in most if found[name] > most[name]} == set(), found
