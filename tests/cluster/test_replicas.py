"""Lists go to read replicas, and yet nobody reads less than they were told: on real streaming
replicas that lag, die, freeze, are cut off and promoted, behind a front door of two processes.
"""

import asyncio
import itertools
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import NamedTuple

import httpx
import msgspec
import pytest

from config import settings
from deploy.local import ports
from deploy.local.servers import Postgres, RabbitMQ
from models.database import configure
from models.queries import replication
from tests.cluster.standby import Standby, frozen
from tests.conftest import ROOT, System, eventually
from tests.e2e.shop import NOW, Shop, fresh
from tests.scraping import samples
from tests.seeding import FAILED_ORDERS
from tests.torture.proxy import Loop, Mode, Proxy
from web.metrics import figures
from web.reading import Reader
from web.replicas import Replicas

LAG_MAX_S = 0.4
#: A list of a replica that hangs goes to another one within this.
PATIENCE_S = 12.0


class Scene(NamedTuple):
    """A shop with a primary and two replicas; the log comes to `near` through `link`."""

    system: System
    shop: Shop
    near: Standby
    far: Standby
    link: Proxy

    @property
    def replicas(self) -> tuple[Standby, Standby]:
        return self.near, self.far

    def metric(self, name: str, label: str) -> dict[str, float]:
        """A metric of the front door by the values of its label."""
        url = f"http://127.0.0.1:{self.system.metrics_ports['web']}/metrics"
        found = samples(httpx.get(url).text)
        return {dict(labels)[label]: value for (of, labels), value in found.items() if of == name}

    def served(self) -> dict[str, float]:
        """Lists by the server they came from."""
        return self.metric("holdfast_list_reads_total", "server")

    def lag_s(self, replica: Standby) -> float:
        return self.metric("holdfast_replica_lag_seconds", "replica")[name_of(replica)]

    def list_until(self, serves: Callable[[dict[str, float]], bool]) -> dict[str, float]:
        """Read lists until those since now came from certain servers; returns from which."""
        before = self.served()

        def since() -> dict[str, float]:
            for _ in range(4):
                self.shop.page("/v1/orders", limit=1)
            now = self.served()
            return {name: count - before.get(name, 0.0) for name, count in now.items()}

        return eventually(lambda: (found := since()) and serves(found) and found)  # type: ignore[no-any-return]


def name_of(replica: Standby) -> str:
    return f"127.0.0.1:{replica.port}"


@pytest.fixture(scope="module")
def scene(rabbitmq: RabbitMQ) -> Iterator[Scene]:
    with ExitStack() as stack:
        primary = stack.enter_context(Postgres(ROOT / "replicated"))
        link = Proxy(Loop(), ports.free_ports(1)[0], primary.port)
        near, far = (
            stack.enter_context(Standby(ROOT / name, primary, through))
            for name, through in (("near", link.port), ("far", None))
        )
        system = System(
            primary, rabbitmq, "replicated", WEB_CONCURRENCY="2", REPLICA_LAG_MAX_S=str(LAG_MAX_S),
            DATABASE_REPLICA_URL=",".join(
                one.database_url("replicated").replace("postgresql:", "postgres:")
                for one in (near, far)
            ),
        )  # fmt: skip
        system.prepare()
        system.start()
        stack.callback(system.stop)
        shop = Shop(stack.enter_context(system.client()))
        scene = Scene(system, shop, near, far, link)
        yield scene


@pytest.fixture(autouse=True)
def whole(scene: Scene) -> None:
    """Both replicas serve, to begin with."""
    both_serve(scene)


def both_serve(scene: Scene) -> None:
    names = {name_of(one) for one in scene.replicas}
    scene.list_until(lambda served: all(served.get(name, 0) > 0 for name in names))


@contextmanager
def paused(*replicas: Standby) -> Iterator[None]:
    for replica in replicas:
        replica.pause()
    try:
        yield
    finally:
        for replica in replicas:
            replica.resume()


def test_lists_are_read_from_the_replicas_in_turn_and_nothing_else_is(scene: Scene) -> None:
    # Given lists, reads by id, and a decision that is waited for
    sku = scene.shop.product(100)
    order = scene.shop.confirmed((sku, 1))
    found = scene.list_until(lambda served: len(served) > 1 and min(served.values()) > 20)

    # When one looks at what the replicas were asked
    asked = {
        statement
        for replica in scene.replicas
        for statement in replica.query(
            "SELECT translate(query, E'\\n', ' ') FROM pg_stat_activity"
            " WHERE application_name LIKE 'holdfast-web/%'"
        ).splitlines()
    }

    # Then they have served all lists, about as many each, and nothing but lists
    assert set(found) == {name_of(one) for one in scene.replicas}
    assert max(found.values()) < 2 * min(found.values())
    assert scene.shop.order(order["id"])["status"] == "confirmed"
    assert any("JOIN orders AS o" in statement for statement in asked)
    assert not any("api_keys" in s or "idempotency_keys" in s or "INSERT" in s for s in asked)


def test_every_list_and_page_is_whole_when_it_comes_from_a_replica(scene: Scene) -> None:
    # Given something of everything: an order that was moved, failures, a ledger
    sku = scene.shop.product(100)
    order_id = scene.shop.confirmed((sku, 1))["id"]
    scene.shop.move(order_id, "shipped")
    scene.system.sql(FAILED_ORDERS, sku, 3)
    ((failure,),) = scene.system.sql("SELECT max(id) FROM dead_letters")
    lists = [
        "/v1/orders?status=shipped", f"/v1/orders?sku={sku}", f"/v1/inventory?prefix={sku}",
        f"/v1/inventory/{sku}/movements", "/dashboard", "/dashboard/orders",
        f"/dashboard/orders/{order_id}", "/dashboard/inventory?low=yes",
        f"/dashboard/inventory/{sku}", f"/dashboard/inventory/{sku}/levels.json",
        "/dashboard/failures", "/dashboard/failures?view=list", f"/dashboard/failures?q={sku}",
        f"/dashboard/failures/{failure}", "/dashboard/failures/export.csv",
        "/dashboard/failures/export.json", "/dashboard/failures/retry?q=price+list",
        "/dashboard/audit", "/dashboard/data/throughput.json?window=1h",
    ]  # fmt: skip
    before = scene.served()

    # When each is looked at
    answers = {path: scene.shop.client.get(path) for path in lists}

    # Then it is there, and replicas have served all of it
    assert {path: a.status_code for path, a in answers.items() if a.status_code != 200} == {}
    assert order_id in answers["/v1/orders?status=shipped"].text
    assert "shipped" in answers[f"/dashboard/orders/{order_id}"].text
    assert answers["/dashboard/failures/export.csv"].text.count(sku) >= 3
    eventually(lambda: sum(scene.served().values()) > sum(before.values()) + len(lists))
    assert scene.served().get("primary", 0.0) == before.get("primary", 0.0)


def test_who_was_told_of_a_decision_finds_it_in_every_list_while_no_replica_applies_anything(
    scene: Scene,
) -> None:
    # Given replicas that stand still, and still say that they are fine
    sku = scene.shop.product(100)
    with paused(*scene.replicas):
        # When an order is placed, moved and its stock adjusted, each time waited for
        customer = fresh("c")
        order = scene.shop.confirmed((sku, 1), customer_id=customer)
        assert scene.shop.move(order["id"], "shipped").status_code == 200
        assert scene.shop.adjust(sku, 7).status_code == 200

        # Then every list, search, ledger and page has it at once, whichever process answers
        for _ in range(4):
            (listed,) = scene.shop.page("/v1/orders", customer_id=customer)["items"]
            assert (listed["id"], listed["status"]) == (order["id"], "shipped")
            (stock,) = scene.shop.page("/v1/inventory", prefix=sku)["items"]
            assert (stock["on_hand"], stock["allocated"]) == (106, 0)
            reasons = [one["reason"] for one in scene.shop.movements(sku)]
            assert reasons == ["received", "shipped", "placed", "received"]
            page = scene.shop.client.get("/dashboard/orders", params={"customer": customer})
            assert order["id"] in page.text
        # And so do reads by id
        assert scene.shop.order(order["id"])["status"] == "shipped"
        why = "holdfast_replica_fallbacks_total", "reason"
        eventually(lambda: scene.metric(*why).get("behind", 0) > 0)

    # And when they go on, they serve again by themselves
    both_serve(scene)


def test_nobody_ever_reads_less_than_they_were_told_while_replicas_stop_and_go(
    scene: Scene,
) -> None:
    # Given replicas that stop and go on in turn all the time
    sku = scene.shop.product(10_000)
    stopping = threading.Event()
    missing: list[str] = []
    checked = itertools.count()

    def disturb() -> None:
        for replica in itertools.cycle(scene.replicas):
            with paused(replica):
                stopping.wait(0.6)
            if stopping.wait(0.6):
                return

    # When clients place orders, and list them as soon as they are told
    def shop() -> None:
        with scene.system.client() as client:
            mine = Shop(client)
            while not stopping.is_set():
                customer = fresh("c")
                placed = mine.confirmed((sku, 1), customer_id=customer)["id"]
                listed = mine.page("/v1/orders", customer_id=customer)["items"]
                if [(one["id"], one["status"]) for one in listed] != [(placed, "confirmed")]:
                    missing.append(placed)
                next(checked)

    before = scene.served()
    threads = [threading.Thread(target=work) for work in (disturb, *[shop] * 6)]
    for thread in threads:
        thread.start()
    time.sleep(6)  # several turns of each disturbance
    stopping.set()
    for thread in threads:
        thread.join()

    # Then each finds its order in every list, though replicas have served most of them
    count = next(checked)
    eventually(lambda: sum(scene.served().values()) >= sum(before.values()) + count)
    served = {name: n - before.get(name, 0.0) for name, n in scene.served().items()}
    print(f"{count} lists right after a decision, by server: {served}")
    assert missing == []
    assert count > 100
    assert all(served[name_of(one)] > 10 for one in scene.replicas)


def test_pages_skip_and_repeat_nothing_while_they_come_from_different_servers(
    scene: Scene,
) -> None:
    # Given a list of some pages, whose latest orders no replica has
    sku = scene.shop.product(1_000)
    customer = fresh("c")
    with paused(*scene.replicas):
        placed = [scene.shop.confirmed((sku, 1), customer_id=customer)["id"] for _ in range(12)]

        # When it is paged through, and the replicas go on after the first page
        resumed = itertools.count()

        def go_on() -> None:
            if next(resumed) == 0:
                for replica in scene.replicas:
                    replica.resume()
                both_serve(scene)

        pages = scene.shop.pages("/v1/orders", go_on, customer_id=customer, limit=5)

        # Then each order comes once, the newest first
        assert [order["id"] for order in pages] == placed[::-1]


def test_a_list_waits_a_little_for_a_replica_that_is_a_little_behind(scene: Scene) -> None:
    # Given replicas that apply everything late, by less than a list may wait
    for replica in scene.replicas:
        set_delay(replica, "120ms")
    try:
        both_serve(scene)
        sku = scene.shop.product(100)
        customer = fresh("c")
        before = scene.served()

        # When somebody lists an order as soon as it is decided
        order = scene.shop.confirmed((sku, 1), customer_id=customer)
        began = time.monotonic()
        listed = scene.shop.page("/v1/orders", customer_id=customer)["items"]
        took_s = time.monotonic() - began

        # Then a replica serves it, whole, once it is as far; and says how far it is behind
        assert [one["id"] for one in listed] == [order["id"]]
        assert took_s > 0.02
        eventually(lambda: sum(scene.served().values()) > sum(before.values()))
        assert scene.served().get("primary", 0.0) == before.get("primary", 0.0)
        eventually(
            lambda: (
                scene.shop.place((sku, 1), headers=NOW)
                and 0.05 < scene.lag_s(scene.near) < LAG_MAX_S
            )
        )
    finally:
        for replica in scene.replicas:
            set_delay(replica, "0")


def set_delay(replica: Standby, delay: str) -> None:
    replica.query(f"ALTER SYSTEM SET recovery_min_apply_delay = '{delay}'")
    replica.query("SELECT pg_reload_conf()")


def test_a_replica_that_stands_still_is_behind_by_as_much_as_it_is(scene: Scene) -> None:
    # Given one that stands still while much is decided
    with paused(scene.far):
        began = time.monotonic()
        sku = scene.shop.product(100)
        scene.shop.confirmed((sku, 1))

        # When some time has gone by
        eventually(lambda: scene.lag_s(scene.far) > 2.0)

        # Then it is behind by that time, the other one not at all, which serves alone
        assert scene.lag_s(scene.far) <= time.monotonic() - began + 2.5
        assert scene.lag_s(scene.near) < LAG_MAX_S
        found = scene.list_until(lambda served: served.get(name_of(scene.near), 0) > 20)
        assert found.get(name_of(scene.far), 0) == 0
        assert found.get("primary", 0) == 0


def test_a_primary_with_nothing_to_do_makes_no_replica_late(scene: Scene) -> None:
    # Given a service of which nobody wants anything, and whose workers report nothing
    scene.system.stop("worker")
    try:
        before = scene.system.sql("SELECT pg_current_wal_flush_lsn() - '0/0'")

        # When much longer goes by than a replica may be behind
        time.sleep(4 * LAG_MAX_S)  # the time itself is what is tested

        # Then no replica is late
        assert all(scene.lag_s(one) < LAG_MAX_S for one in scene.replicas)
        both_serve(scene)
        after = scene.system.sql("SELECT pg_current_wal_flush_lsn() - '0/0'")
        print(f"the primary wrote {after[0][0] - before[0][0]} bytes meanwhile")
    finally:
        scene.system.start("worker")


def test_a_replica_that_is_cut_off_from_the_primary_is_not_read(scene: Scene) -> None:
    # Given a replica that hears nothing of the primary any more, and answers as before
    scene.link.set(Mode.CUT)
    try:
        # When something has been decided since
        sku = scene.shop.product(100)
        customer = fresh("c")
        order = scene.shop.confirmed((sku, 1), customer_id=customer)
        listed = scene.shop.page("/v1/orders", customer_id=customer)["items"]
        eventually(lambda: scene.lag_s(scene.near) > LAG_MAX_S)

        # Then it serves nothing, however quiet it has become meanwhile
        assert [one["id"] for one in listed] == [order["id"]]
        found = scene.list_until(lambda served: served.get(name_of(scene.far), 0) > 20)
        assert found.get(name_of(scene.near), 0) == 0
    finally:
        scene.link.set(Mode.PASS)

    # And when it hears of the primary again, it serves again
    both_serve(scene)


def test_lists_go_on_without_an_error_when_replicas_die_and_come_back(scene: Scene) -> None:
    # Given nobody but the primary, in the middle of everything
    with constant_lists(scene) as answers:
        for replica in scene.replicas:
            replica.kill()
        scene.list_until(lambda served: served.get("primary", 0) > 20)

        # Then the front door is ready, for that is about the primary
        assert scene.system.is_ready()
        for replica in scene.replicas:
            replica.start()
        both_serve(scene)

    assert set(answers) == {200}


def test_lists_go_on_when_a_replica_freezes(scene: Scene) -> None:
    # Given a replica whose every process stands still, with all its connections open
    with constant_lists(scene) as answers, frozen(scene.near):
        # When somebody asks
        began = time.monotonic()
        found = scene.list_until(lambda served: served.get(name_of(scene.far), 0) > 20)

        # Then nobody waits for it for long
        assert time.monotonic() - began < PATIENCE_S
        assert found.get("primary", 0) < 20

    assert set(answers) == {200}
    both_serve(scene)


@contextmanager
def constant_lists(scene: Scene) -> Iterator[list[int]]:
    """Somebody reads lists all the time; gives their statuses."""
    answers: list[int] = []
    stopping = threading.Event()

    def read() -> None:
        with scene.system.client() as client:
            while not stopping.wait(0.01):
                answers.append(client.get("/v1/orders", params={"limit": 1}).status_code)

    thread = threading.Thread(target=read)
    thread.start()
    try:
        yield answers
    finally:
        stopping.set()
        thread.join()


def test_a_replica_of_another_primary_is_not_read(scene: Scene) -> None:
    # Given one that is well, and far ahead, and of another system
    other = Postgres(ROOT / "other").start()
    other.create_database("replicated")
    other.stop()
    (other.data / "standby.signal").touch()
    url = scene.system.environment["DATABASE_URL"]
    given = msgspec.structs.replace(
        settings(), database_url=url, database_replica_url=other.database_url("replicated")
    )
    states: list[str] = []

    # When a front door has it for a replica
    async def list_once() -> list[int]:
        replicas = Replicas(given, Reader(1))
        replicas.start()
        while not figures.replica_lag_s:
            await asyncio.sleep(0.05)
        try:
            return [await replicas.run(replication.system) for _ in range(3)]
        finally:
            states.extend(one.state for one in replicas._replicas)
            replicas.close()

    with other:
        configure(given)
        try:
            found = asyncio.run(list_once())
        finally:
            configure(settings())

    # Then lists come from its own primary
    assert states == ["foreign"]
    ((system,),) = scene.system.sql("SELECT system_identifier FROM pg_control_system()")
    assert set(found) == {system}


def test_a_replica_that_was_promoted_is_not_read(scene: Scene) -> None:
    # Given a replica that takes itself for a primary: nobody knows what it will show
    scene.far.promote()
    scene.far.query("DELETE FROM order_lines", "replicated")

    # When the front door has seen that
    said = f"Replica {name_of(scene.far)} is promoted and not read from"
    eventually(lambda: said in scene.system.log("web").read_text())

    # Then it serves none
    scene.list_until(lambda served: served.get(name_of(scene.near), 0) > 50)
    found = scene.list_until(lambda served: served.get(name_of(scene.near), 0) > 20)
    assert found.get(name_of(scene.far), 0) == 0
