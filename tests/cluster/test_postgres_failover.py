"""A failover of PostgreSQL under load: every accepted order is decided once, on the new primary."""

import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import pytest

from deploy.local.servers import Postgres, RabbitMQ
from tests.cluster.failover_rig import (
    CUT_OFF,
    KILLED,
    CutOffRig,
    FailoverRig,
    either,
    make_synchronous,
)
from tests.cluster.standby import Standby
from tests.conftest import CHECKOUT, ROOT, System
from tests.e2e.shop import NOW, Shop, all_decided
from tests.torture.report import report
from tests.torture.run import run

SEED = 21
STATEMENT_S = 1.5


@pytest.mark.timeout(240)
# The clients' connections end with their threads.
@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize(("fault", "rig"), [(KILLED, FailoverRig), (CUT_OFF, CutOffRig)])
def test_a_failover_to_the_synchronous_standby_keeps_every_promise(
    fault: str, rig: type[FailoverRig], tmp_path: Path
) -> None:
    # Given clients of all kinds, and a primary whose standby has all that is committed
    # When the primary is lost and the standby promoted, while they go on
    verdict = run(tmp_path, SEED, 0, [fault], CHECKOUT, make_rig=rig)
    print(f"\n{report(verdict, fault)}")

    # Then what was accepted is decided once, and every promise holds
    assert verdict.broken == []
    assert verdict.not_proved == []
    assert verdict.accepted > 300
    assert verdict.decided == verdict.accepted


class Pair(NamedTuple):
    """A shop on a primary with a standby."""

    system: System
    shop: Shop
    primary: Postgres
    standby: Standby


@pytest.fixture
def pair(rabbitmq: RabbitMQ) -> Iterator[Pair]:
    with ExitStack() as stack:
        primary = stack.enter_context(Postgres(ROOT / "first"))
        standby = stack.enter_context(Standby(ROOT / "second", primary))
        system = System(
            primary, rabbitmq, "pair", LOCK_TIMEOUT_MS="700",
            STATEMENT_TIMEOUT_MS=str(int(STATEMENT_S * 1000)),
            DATABASE_URL=either(primary, "pair", primary.port, standby.port),
        )  # fmt: skip
        system.prepare()
        system.start()
        stack.callback(system.stop)
        yield Pair(system, Shop(stack.enter_context(system.client())), primary, standby)


def test_a_failover_loses_what_only_an_asynchronous_primary_had_and_nothing_else(
    pair: Pair,
) -> None:
    shop = pair.shop
    # Given an asynchronous standby that goes away, and an order that is decided without it
    make_synchronous(pair.primary)
    sku = shop.product(100)
    kept = shop.confirmed((sku, 1))
    make_synchronous(pair.primary, of="")
    pair.standby.kill()
    without = shop.confirmed((sku, 1))

    # And orders that are accepted while it has to be synchronous and is not there
    make_synchronous(pair.primary)
    ids = [shop.place((sku, 1), headers=NOW).json()["id"] for _ in range(20)]

    # When longer goes by than any statement may take, and a worker dies over it
    time.sleep(1.5 * STATEMENT_S)  # of what must not happen there is no sign
    pair.system.kill("worker")
    pair.system.start("worker")
    time.sleep(1.5 * STATEMENT_S)  # of what must not happen there is no sign

    # Then none of them is decided to anybody: its commit waits for the standby
    assert {shop.order(id_)["status"] for id_ in ids} == {"pending"}

    # And when the primary is lost and the standby promoted as it is
    pair.primary.kill()
    pair.standby.start()
    pair.standby.promote()

    # Then all of them are decided there, once, and what no standby had is gone
    all_decided(pair.system, ids)
    assert shop.order(kept["id"])["status"] == "confirmed"
    assert shop.order(without["id"])["status"] == "pending"
    assert shop.stock(sku) == (100, 21, 79)
