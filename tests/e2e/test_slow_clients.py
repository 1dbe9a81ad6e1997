"""Clients that hold on to connections: the others hardly notice, and they lose them in time."""

import json
import os
import resource
import selectors
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import pytest

from deploy.local.servers import Postgres, RabbitMQ
from tests.conftest import System, eventually
from tests.e2e.raw import AUTH, LAST, hear, say
from tests.e2e.shop import WAIT, an_order, fresh

#: How much longer than without them somebody else may wait for an answer.
TIMES_LONGER = 10
#: Less than this is too short to be compared with.
ALONE_S_MIN = 0.2
HEADER_TIMEOUT_S = 3
BODY_TIMEOUT_S = 4
FLOOD = 2_000
#: One more than the flood and who asks meanwhile.
CONNECTIONS_MAX = FLOOD + 2
#: What an idle connection may cost.
CONNECTION_KIB = 24
ORDERS = 200
TAKERS = 100
#: What others ask for meanwhile.
OTHERS = ("/livez", "/readyz", "/v1/orders")


@pytest.fixture(scope="module")
def system(postgres: Postgres, rabbitmq: RabbitMQ) -> Iterator[System]:
    """A front door with little patience, started where few files may be open."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    running = System(
        postgres, rabbitmq, "slow", HEADER_TIMEOUT_S=str(HEADER_TIMEOUT_S),
        BODY_TIMEOUT_S=str(BODY_TIMEOUT_S), CONNECTIONS_MAX=str(CONNECTIONS_MAX),
    )  # fmt: skip
    running.prepare()
    resource.setrlimit(resource.RLIMIT_NOFILE, (512, hard))
    try:
        running.start()
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        yield running
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        running.discard()


@pytest.fixture
def client(system: System) -> Iterator[httpx.Client]:
    """Somebody else."""
    with system.client() as client:
        yield client


@contextmanager
def connections(system: System, count: int, **options: int) -> Iterator[list[socket.socket]]:
    with ExitStack() as stack:
        yield [stack.enter_context(dial(system, **options)) for _ in range(count)]


def dial(system: System, receive_buffer: int = 0) -> socket.socket:
    connection = socket.socket()
    connection.settimeout(60)
    if receive_buffer:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    connection.connect(("127.0.0.1", system.port))
    return connection


def wait_s(client: httpx.Client, path: str) -> float:
    """Seconds until somebody else is answered."""
    begun = time.monotonic()
    assert client.get(path).status_code == 200
    return time.monotonic() - begun


@pytest.fixture
def alone_s(client: httpx.Client) -> float:
    """Seconds that somebody waits for an answer who has the front door alone."""
    return max(ALONE_S_MIN, *(wait_s(client, path) for path in OTHERS))


def others_are_answered(client: httpx.Client, alone_s: float) -> None:
    for path in OTHERS:
        assert wait_s(client, path) < TIMES_LONGER * alone_s


def drip(connections: list[socket.socket], drop: bytes, *, within_s: float) -> None:
    """Send a drop on each ten times a second, until the other end has given all of them up."""
    deadline = time.monotonic() + within_s
    with selectors.DefaultSelector() as selector:
        for connection in connections:
            selector.register(connection, selectors.EVENT_READ)
        while selector.get_map():
            assert time.monotonic() < deadline, f"{len(selector.get_map())} are not given up"
            for key, _ in selector.select(timeout=0.1):
                selector.unregister(key.fileobj)
            for key in list(selector.get_map().values()):
                key.fileobj.send(drop)  # type: ignore[union-attr]


def resident_kib(system: System) -> int:
    """Memory of the front door's processes."""
    group = system._running["web"][1].pid
    total = 0
    for status in Path("/proc").glob("[0-9]*/status"):
        try:
            if os.getpgid(int(status.parent.name)) == group:
                total += int(status.read_text().partition("VmRSS:")[2].split()[0])
        except (OSError, IndexError):
            continue  # gone meanwhile
    return total


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_a_flood_of_idle_connections_costs_little_and_ebbs_away(
    system: System, client: httpx.Client, alone_s: float
) -> None:
    before = resident_kib(system)

    with connections(system, FLOOD) as flood:
        others_are_answered(client, alone_s)
        assert resident_kib(system) - before < FLOOD * CONNECTION_KIB
        heard = [hear(connection) for connection in flood]

    assert {tuple(answer.statuses) for answer in heard} == {(408,)}
    others_are_answered(client, alone_s)


def test_who_finds_no_place_is_told_so_and_finds_one_later(system: System) -> None:
    with connections(system, CONNECTIONS_MAX) as flood:
        late = say(system, LAST)
        assert late.statuses == [503]
        assert b"Retry-After" in late.text
        for connection in flood:
            hear(connection)

    eventually(lambda: say(system, LAST).statuses == [200])


@pytest.mark.parametrize(
    "head", [b"GET /livez HTTP/1.1\r\nHost: h\r\nX: ", b"GET /", b"\r\n"],
    ids=["in a header", "in the address", "before it"],
)  # fmt: skip
def test_heads_that_come_in_drops_are_given_up_in_time(
    system: System, client: httpx.Client, alone_s: float, head: bytes
) -> None:
    drop = b"\r\n" if head == b"\r\n" else b"x"

    with connections(system, 100) as slow:
        for connection in slow:
            connection.sendall(head)
        others_are_answered(client, alone_s)
        drip(slow, drop, within_s=60)
        assert {tuple(hear(connection).statuses) for connection in slow} == {(408,)}


@pytest.mark.parametrize("sent", ["with its length", "in chunks"])
def test_bodies_that_come_in_drops_are_given_up_in_time_and_nothing_comes_of_them(
    system: System, client: httpx.Client, alone_s: float, sent: str
) -> None:
    customer = fresh("slow")
    body = json.dumps(an_order(("MUG", 1), customer_id=customer)).encode()
    framed, drop = {
        "with its length": (b"Content-Length: 100000\r\n\r\n" + body, b" "),
        "in chunks": (
            b"Transfer-Encoding: chunked\r\n\r\n%x\r\n" % len(body) + body + b"\r\n",
            b"1\r\n \r\n",
        ),
    }[sent]
    head = b"POST /v1/orders HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\n" + AUTH

    with connections(system, 100) as slow:
        for connection in slow:
            connection.sendall(head + framed)
        others_are_answered(client, alone_s)
        assert client.post("/v1/orders", json=an_order(("MUG", 1))).status_code == 202
        drip(slow, drop, within_s=60)
        assert {tuple(hear(connection).statuses) for connection in slow} == {(408,)}

    placed = client.post(
        "/v1/orders", json=an_order(("MUG", 1), customer_id=customer), headers=WAIT
    ).json()
    (order,) = client.get("/v1/orders", params={"customer_id": customer}).json()["items"]
    assert order["id"] == placed["id"]


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_who_asks_for_much_and_takes_nothing_costs_little(
    system: System, client: httpx.Client, alone_s: float
) -> None:
    batch = {"orders": [an_order(("MUG", 1), metadata={"k": "x" * 1000})] * ORDERS}
    assert client.post("/v1/order-batches", json=batch).status_code == 202
    many = f"/v1/orders?limit={ORDERS}"
    eventually(lambda: len(client.get(many).json()["items"]) == ORDERS)
    answer = len(client.get(many).content)
    # Others wait while the first answers are made for all, not while all nine are.
    alone_s += TAKERS * 3 / TIMES_LONGER * min(wait_s(client, many) for _ in range(3))
    before = resident_kib(system)

    with connections(system, TAKERS, receive_buffer=4_096) as takers:
        for connection in takers:
            connection.sendall(
                (f"GET {many} HTTP/1.1\r\nHost: h\r\n".encode() + AUTH + b"\r\n") * 9
            )
        others_are_answered(client, alone_s)
        # Two answers each at most: the one that is ready, and the one that is being made.
        assert resident_kib(system) - before < TAKERS * 2 * answer // 1024

    others_are_answered(client, alone_s)
