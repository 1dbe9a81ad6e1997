"""Health, and what clients see while RabbitMQ or PostgreSQL are away: on servers of their own."""

import os
import signal
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import httpx
import psycopg2
import pytest

from deploy.local.servers import Postgres, RabbitMQ
from tests.conftest import System, eventually
from tests.e2e.shop import (
    NOW,
    Answer,
    Ask,
    Shop,
    all_decided,
    an_order,
    burst,
    fresh,
    problem,
)
from tests.generations import private_rabbitmq

#: How long a change waits for its confirm.
DEADLINE_S = 2


class Frail(NamedTuple):
    """A system, and the servers that may be taken from under it."""

    system: System
    postgres: Postgres
    rabbitmq: RabbitMQ


@pytest.fixture(scope="module")
def frail() -> Iterator[Frail]:
    with ExitStack() as stack:
        root = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="holdfast-frail-")))
        postgres = stack.enter_context(Postgres(root))
        rabbitmq = stack.enter_context(private_rabbitmq(root))
        patience = {"PUBLISH_DEADLINE_S": str(DEADLINE_S), "BLOCKED_TIMEOUT_S": "1"}
        system = System(postgres, rabbitmq, "frail", **patience)
        system.prepare()
        stack.callback(system.discard)
        system.start()
        yield Frail(system, postgres, rabbitmq)


@pytest.fixture
def frail_shop(frail: Frail) -> Iterator[Shop]:
    with frail.system.client() as client:
        yield Shop(client)


def readiness(system: System) -> httpx.Response:
    return httpx.get(f"{system.base_url}/readyz", timeout=60)


def is_ready(system: System) -> bool:
    return readiness(system).status_code == 200


def takes_orders(shop: Shop, sku: str) -> bool:
    """Whether an order is taken and decided, as a client sees it."""
    return shop.place((sku, 1), headers={"Prefer": "wait=5"}).status_code == 201


def test_a_whole_system_is_live_and_ready(frail: Frail) -> None:
    for path in ("/livez", "/readyz"):
        answer = httpx.get(f"{frail.system.base_url}{path}")
        assert answer.status_code == 200
        assert answer.headers["content-type"] == "application/json"


def test_while_rabbitmq_is_away_changes_are_refused_and_reads_go_on(
    frail: Frail, frail_shop: Shop
) -> None:
    # Given an order, and a broker that has gone
    shop, system = frail_shop, frail.system
    sku = shop.product(1000)
    order = shop.confirmed((sku, 1))
    keyed = {"Idempotency-Key": fresh("key")}
    frail.rabbitmq.kill()
    try:
        # Then orders are refused, and the service says that it can't take any
        problem(shop.place((sku, 1), headers=keyed), 503, "unavailable")
        problem(shop.adjust(sku, 1), 503, "unavailable")
        problem(shop.move(order["id"], "shipped"), 503, "unavailable")
        problem(shop.client.post("/v1/order-batches", json={"orders": [an_order((sku, 1))]}), 503)
        not_ready = readiness(system)
        assert not_ready.status_code == 503
        assert not_ready.headers["retry-after"]
        # And all else goes on
        assert httpx.get(f"{system.base_url}/livez").status_code == 200
        assert shop.order(order["id"]) == order
        assert shop.stock(sku) == (1000, 1, 999)
        assert shop.page("/v1/orders", sku=sku)["items"] == [order]
        problem(shop.client.post("/v1/orders", json={}), 422)
    finally:
        frail.rabbitmq.start()

    # And when it is back, so is the service, by itself; the refused order can be sent again
    eventually(lambda: is_ready(system), what="ready again")
    again = shop.place((sku, 1), headers={**keyed, "Prefer": "wait=20"})
    assert again.status_code == 201
    all_decided(system, [order["id"], again.json()["id"]])
    assert shop.stock(sku) == (1000, 2, 998)


def test_while_postgresql_is_away_reads_are_refused_and_nothing_accepted_is_lost(
    frail: Frail, frail_shop: Shop
) -> None:
    # Given
    shop, system = frail_shop, frail.system
    sku = shop.product(1000)
    order = shop.confirmed((sku, 1))
    headers = {"Idempotency-Key": fresh("key")}
    frail.postgres.kill()
    try:
        # Then what has to be read can't be, and the service says so
        problem(shop.client.get(f"/v1/orders/{order['id']}"), 503, "unavailable")
        problem(shop.client.get("/v1/orders"), 503, "unavailable")
        problem(shop.client.get(f"/v1/inventory/{sku}"), 503, "unavailable")
        eventually(lambda: readiness(system).status_code == 503, what="not ready")
        assert httpx.get(f"{system.base_url}/livez").status_code == 200
        # And a change is either refused or kept
        answers = [shop.place((sku, 1), headers=head) for head in (NOW, headers, headers)]
        for answer in answers:
            assert answer.status_code in (202, 503)
        kept = {answer.json()["id"] for answer in answers if answer.status_code == 202}
    finally:
        frail.postgres.start()

    # And when it is back, so is the service, by itself, and what was accepted is decided
    eventually(lambda: is_ready(system), what="ready again")
    statuses = all_decided(system, [order["id"], *kept])
    assert set(statuses.values()) == {"confirmed"}
    again = shop.place((sku, 1), headers={**headers, "Prefer": "wait=20"})
    assert again.status_code == 201
    assert shop.stock(sku)[1] == len({order["id"], again.json()["id"], *kept})


def test_while_rabbitmq_is_short_of_memory_changes_are_refused_until_it_is_not(
    frail: Frail, frail_shop: Shop
) -> None:
    # Given
    shop, system = frail_shop, frail.system
    sku = shop.product(1000)
    keyed = {"Idempotency-Key": fresh("key")}
    frail.rabbitmq.ctl("set_vm_memory_high_watermark", "absolute", "1")
    try:
        # Then the first who asks is told by the deadline, and the rest at once, however long it
        # lasts: a fresh connection is no sign of memory
        began = time.monotonic()
        problem(shop.place((sku, 1), headers=keyed), 503, "unavailable")
        first_s = time.monotonic() - began
        took_s = []
        until = time.monotonic() + 3
        while time.monotonic() < until:
            began = time.monotonic()
            problem(shop.place((sku, 1), headers=keyed), 503, "unavailable")
            took_s.append(time.monotonic() - began)
            assert readiness(system).status_code == 503
        assert median(took_s) < first_s / 2
        assert shop.stock(sku) == (1000, 0, 1000)
    finally:
        frail.rabbitmq.ctl("set_vm_memory_high_watermark", "absolute", "1GB")

    # And when there is memory again, it goes on by itself, and the order is there once
    eventually(lambda: is_ready(system), what="ready again")
    eventually(lambda: takes_orders(shop, sku), what="orders are taken again")
    again = shop.place((sku, 1), headers={**keyed, "Prefer": "wait=20"})
    assert again.status_code == 201
    placed = [item["id"] for item in shop.pages("/v1/orders", sku=sku)]
    assert placed.count(again.json()["id"]) == 1
    all_decided(system, placed)


def test_two_bodies_with_one_key_while_postgresql_is_away_are_the_first_one(
    frail: Frail, frail_shop: Shop
) -> None:
    # Given
    shop, system = frail_shop, frail.system
    sku = shop.product(1000)
    keyed = {**NOW, "Idempotency-Key": fresh("key")}
    frail.postgres.kill()
    try:
        # When nobody can tell what the key was used for, both are taken, under one id
        answers = [shop.place((sku, quantity), headers=keyed) for quantity in (1, 2)]
        assert [answer.status_code for answer in answers] == [202, 202]
        (order_id,) = {answer.json()["id"] for answer in answers}
    finally:
        frail.postgres.start()

    # Then only the first has an effect
    eventually(lambda: is_ready(system), what="ready again")
    all_decided(system, [order_id])
    assert shop.order(order_id)["lines"][0]["quantity"] == 1
    assert shop.stock(sku) == (1000, 1, 999)


def _log_writer(system: System) -> int:
    """The process that flushes what nobody waits for; 0 while there is none, or no server."""
    try:
        pids = system.sql("SELECT pid FROM pg_stat_activity WHERE backend_type = 'walwriter'")
    except psycopg2.Error:
        return 0
    return int(pids[0][0]) if pids else 0


def test_a_crash_may_forget_what_a_key_stands_for_and_not_that_it_is_one_order(
    frail: Frail, frail_shop: Shop
) -> None:
    # Given an order that is taken, with nobody who decides it, and whose key is not on disk yet
    shop, system = frail_shop, frail.system
    sku = shop.product(1000)
    keyed = {**NOW, "Idempotency-Key": fresh("key")}
    system.stop("worker")
    pid = _log_writer(system)
    os.kill(pid, signal.SIGSTOP)
    first = shop.place((sku, 1), headers=keyed)
    assert first.status_code == 202
    problem(shop.place((sku, 2), headers=keyed), 422, "idempotency-key-reused")

    # When PostgreSQL crashes: of the death of one of its processes it begins anew from its log
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: _log_writer(system) not in (0, pid), what="PostgreSQL is back")
    eventually(lambda: is_ready(system), what="ready again")

    # Then the other body is no longer refused, and it is the same order
    other = shop.place((sku, 2), headers=keyed)
    assert other.status_code == 202
    assert other.json()["id"] == first.json()["id"]
    # And only the first has an effect, of which the other hears
    system.start("worker")
    all_decided(system, [first.json()["id"]])
    again = shop.place((sku, 2), headers={**keyed, "Prefer": "wait=20"})
    assert again.json()["lines"][0]["quantity"] == 1
    assert shop.stock(sku) == (1000, 1, 999)


def test_workers_survive_both_servers_restarting_under_load(frail: Frail, frail_shop: Shop) -> None:
    shop, system = frail_shop, frail.system
    sku = shop.product(100_000)
    accepted: list[str] = []

    def load() -> list[Answer]:
        ask = Ask("POST", "/v1/orders", an_order((sku, 1)))
        answers = burst(system, [ask] * 300, connections=16)
        accepted.extend(answer.body["id"] for answer in answers if answer.status == 202)
        return answers

    assert {answer.status for answer in load()} == {202}
    frail.postgres.restart()
    assert {answer.status for answer in load()} <= {202, 503}
    frail.rabbitmq.restart()
    assert {answer.status for answer in load()} <= {202, 503}

    eventually(lambda: is_ready(system), what="ready again")
    eventually(lambda: takes_orders(shop, sku), what="orders are taken again")
    assert set(all_decided(system, accepted).values()) == {"confirmed"}


def test_a_full_queue_refuses_changes_until_there_is_room(
    postgres: Postgres, rabbitmq: RabbitMQ
) -> None:
    # Given a queue that holds a few messages, and nobody who works
    system = System(postgres, rabbitmq, "narrow", QUEUE_LENGTH_MAX="3")
    system.prepare()
    with ExitStack() as stack:
        client: httpx.Client = stack.enter_context(system.client())
        stack.callback(system.discard)
        system.start("web")
        shop = Shop(client)
        sku = fresh()
        answers: list[Any] = []

        # When more come than fit
        def refused() -> bool:
            answers.append(shop.place((sku, 1), headers=NOW))
            return bool(answers[-1].status_code != 202)

        eventually(refused, what="the queue is full")

        # Then the next is refused, and can come again; reads go on
        problem(answers[-1], 503, "unavailable")
        kept = [answer.json()["id"] for answer in answers[:-1]]
        assert 1 <= len(kept) < 50
        assert shop.order(kept[0])["status"] == "pending"

        # And when somebody works, it goes on by itself, and what was accepted is decided
        system.start("worker")
        eventually(lambda: shop.place((sku, 1), headers=NOW).status_code == 202)
        assert set(all_decided(system, kept).values()) == {"rejected"}
