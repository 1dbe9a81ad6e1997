"""Fixtures of the end-to-end tests: a shop to talk to, and keys of one's own."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager

import httpx
import pytest

from deploy.local.servers import Postgres, RabbitMQ
from tests.conftest import System
from tests.e2e.desk import LOW, Desk
from tests.e2e.operators import HOSTILE, Operator, new_key
from tests.e2e.running import checkout, make_run  # noqa: F401 - fixtures
from tests.e2e.scene import CURSE, CURSED, Scene
from tests.e2e.shop import Shop, fresh
from web.ids import IdMint

MakeKey = Callable[..., str]


@pytest.fixture(scope="session")
def client(system: System) -> Iterator[httpx.Client]:
    """Somebody with every right; one for all tests, since to make one takes its time."""
    with system.client() as client:
        yield client


@pytest.fixture(scope="session")
def anybody(system: System) -> Iterator[httpx.Client]:
    """Somebody without a key."""
    with httpx.Client(base_url=system.base_url, timeout=40) as client:
        yield client


@pytest.fixture
def shop(client: httpx.Client) -> Shop:
    return Shop(client)


@pytest.fixture(scope="session")
def make_key(system: System) -> MakeKey:
    """Make an API key with some scopes; returns its token."""

    def make(*scopes: str, rate_limit: str = "") -> str:
        options = [f"--scope={scope}" for scope in scopes]
        if rate_limit:
            options += ["--rate-limit", rate_limit]
        return system.run("keys", "create", fresh("key"), *options).split()[-1]

    return make


@pytest.fixture(scope="session")
def other_client(system: System, make_key: MakeKey) -> Iterator[httpx.Client]:
    """A second API client, who may do as much as the first."""
    scopes = ("orders:read", "orders:write", "inventory:read", "inventory:write")
    with system.client(make_key(*scopes)) as client:
        yield client


@pytest.fixture(scope="session")
def desk(postgres: Postgres, rabbitmq: RabbitMQ) -> Iterator[Desk]:
    """The dashboard of a system of its own: use SKUs and customers of your own."""
    with ExitStack() as stack:
        # Tests wait for what workers report.
        given = {"LOW_STOCK_BELOW": str(LOW), "REPORT_EVERY_S": "0.5"}
        system = stack.enter_context(_running(postgres, rabbitmq, "desk", **given))
        operator, reader = _people(stack, system)
        yield Desk(system, Shop(stack.enter_context(system.client())), operator, reader)


@pytest.fixture(scope="module")
def fuzzed(
    request: pytest.FixtureRequest, postgres: Postgres, rabbitmq: RabbitMQ
) -> Iterator[System]:
    """A system that gets odd input and nothing else: whatever is in its tables came of that."""
    name = request.module.__name__.rpartition("_")[2]
    with _running(postgres, rabbitmq, f"fuzz-{name}") as system:
        yield system


@pytest.fixture(scope="module")
def scene(
    request: pytest.FixtureRequest, postgres: Postgres, rabbitmq: RabbitMQ
) -> Iterator[Scene]:
    """A system where something is broken; as many orders have failed as the module says (MANY)."""
    name = request.module.__name__.rpartition("_")[2]
    with ExitStack() as stack:
        system = stack.enter_context(_running(postgres, rabbitmq, name))
        operator, reader = _people(stack, system)
        shop = Shop(stack.enter_context(system.client()))
        sku = shop.product(10_000)
        shop.confirmed((sku, 1))
        system.sql(CURSE)
        mint = IdMint(system.environment["SECRET_KEY"].encode())
        scene = Scene(system, shop, operator, reader, mint, sku)
        customers = [f"{CURSED}-many"] * request.module.MANY
        hostile, *many = scene.fail(CURSED + HOSTILE[:40], *customers)
        yield scene._replace(hostile=hostile, many=many)


@contextmanager
def _running(
    postgres: Postgres, rabbitmq: RabbitMQ, name: str, **settings: str
) -> Iterator[System]:
    system = System(postgres, rabbitmq, name, **settings)
    system.prepare()
    system.start()
    try:
        yield system
    finally:
        system.discard()


def _people(stack: ExitStack, system: System) -> list[Operator]:
    """Olga, who may operate, and Rita, who may look."""
    return [
        stack.enter_context(closing(Operator(system, new_key(system, name, *scopes))))
        for name, scopes in (
            ("Olga", ("dashboard:read", "dashboard:operate")),
            ("Rita", ("dashboard:read",)),
        )
    ]
