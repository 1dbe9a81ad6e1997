"""A database that takes no writes: told where people and platforms look, and nothing is lost."""

from collections.abc import Iterator

import httpx
import pytest

from deploy.local.servers import Postgres
from tests.conftest import System, eventually


@pytest.fixture
def read_only(postgres: Postgres, system: System) -> Iterator[None]:
    """All sessions of the system's database, those that exist, too."""
    postgres.query("ALTER SYSTEM SET default_transaction_read_only = on")
    postgres.query("SELECT pg_reload_conf()")
    yield
    take_writes(postgres)


def take_writes(postgres: Postgres) -> None:
    postgres.query("ALTER SYSTEM RESET default_transaction_read_only")
    postgres.query("SELECT pg_reload_conf()")


def test_readiness_and_the_dashboard_tell_it_and_orders_wait(
    system: System, client: httpx.Client, postgres: Postgres, read_only: None
) -> None:
    # Given a database that answers, and takes no writes
    def checks() -> dict[str, bool]:
        told: dict[str, bool] = httpx.get(f"{system.base_url}/readyz").json()["checks"]
        return told

    eventually(lambda: checks() == {"broker": True, "database": False, "not_draining": True})
    assert httpx.get(f"{system.base_url}/readyz").status_code == 503

    # When an order comes all the same
    body = {"customer_id": "c-1", "lines": [{"sku": "NEVER-MADE", "quantity": 1}]}
    accepted = client.post("/v1/orders", json=body)
    assert accepted.status_code == 202
    address = accepted.headers["Location"]
    top = system.run("top", "--json", "--once")
    assert "The database is read-only" in top

    # Then it is decided once writes are taken again
    take_writes(postgres)
    eventually(lambda: client.get(address).json()["status"] == "rejected", within_s=60)
    eventually(system.is_ready)
