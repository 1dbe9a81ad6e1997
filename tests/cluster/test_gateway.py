"""nginx in front of three front doors: who gets what, what is sent twice, who is turned away."""

import json
import os
import re
import signal
import socket
import ssl
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime
from statistics import median
from typing import Any

import httpx
import pytest

from deploy.check.gateway import RUN, environment
from deploy.local import ports
from deploy.local.servers import Postgres, RabbitMQ
from tests.cluster.gateway import FrontDoor, Gateway
from tests.conftest import API_KEY, ROOT, System, eventually
from tests.e2e.shop import (
    WAIT,
    Shop,
    all_decided,
    an_order,
    assert_stock_is_true,
    fresh,
    paused_workers,
    problem,
)

ELSEWHERE = "127.0.0.2"
BODY_MAX = 256 * 1024
#: What a client may say of itself, none of it true.
CLAIMS = {
    "X-Forwarded-For": "203.0.113.9",
    "X-Forwarded-Proto": "https",
    "X-Real-IP": "203.0.113.9",
    "Forwarded": "for=203.0.113.9;proto=https",
}


@pytest.fixture(scope="module")
def system(postgres: Postgres, rabbitmq: RabbitMQ) -> Iterator[System]:
    """All of a system but its front doors."""
    running = System(postgres, rabbitmq, "gateway", SIGN_IN_RATE_LIMIT="1000/minute")
    running.prepare()
    running.start("worker")
    yield running
    running.stop()


@pytest.fixture(scope="module")
def doors(system: System) -> Iterator[list[FrontDoor]]:
    """Three front doors; who breaks one mends it."""
    started = [FrontDoor(system, number) for number in range(3)]
    for door in started:
        door.wait_ready()
    yield started
    for door in started:
        door.kill()


@pytest.fixture(scope="module")
def gateway(doors: list[FrontDoor]) -> Iterator[Gateway]:
    """In front of all three, with limits that nobody reaches."""
    upstreams = ",".join(door.address for door in doors)
    limits = {"REQUESTS_PER_S": "100000", "BURST": "10000", "CONNECTIONS": "1000"}
    with Gateway("three", upstreams, limits) as running:
        yield running


@pytest.fixture
def client(gateway: Gateway) -> Iterator[httpx.Client]:
    with gateway.client() as client:
        yield client


@pytest.fixture
def mortal(doors: list[FrontDoor]) -> Iterator[tuple[FrontDoor, Gateway]]:
    """A door that gets everything, and a gateway that goes to the next only without it."""
    upstreams = f"{doors[0].address},{doors[1].address} backup"
    with Gateway(fresh("mortal"), upstreams) as running:
        yield doors[0], running
    doors[0].kill()
    doors[0].start()
    doors[0].wait_ready()


# --- shares ---


@pytest.mark.parametrize(
    ("weights", "shares"),
    [(["", "", ""], [60, 60, 60]), ([" weight=3", "", ""], [108, 36, 36])],
    ids=["round robin", "weights 3:1:1"],
)
def test_every_front_door_gets_its_share(
    doors: list[FrontDoor], weights: list[str], shares: list[int]
) -> None:
    upstreams = [door.address + weight for door, weight in zip(doors, weights, strict=True)]

    def counts() -> list[float]:
        return [door.counted("holdfast_http_requests_total", route="/livez") for door in doors]

    before = counts()
    with Gateway(fresh("shares"), ",".join(upstreams)) as gateway, ExitStack() as stack:
        clients = [stack.enter_context(gateway.client()) for _ in range(4)]
        for _ in range(sum(shares) // len(clients)):
            for client in clients:
                assert client.get("/livez").status_code == 200

    def gained() -> list[float]:
        return [now - then for now, then in zip(counts(), before, strict=True)]

    eventually(lambda: sum(gained()) == sum(shares), what="all are counted")
    assert gained() == shares


# --- what is sent twice, and what is not ---


def test_a_front_door_killed_under_load_costs_no_read_and_no_order(
    gateway: Gateway, doors: list[FrontDoor], system: System
) -> None:
    with gateway.client() as client:
        sku = Shop(client).product(1_000_000)
    customer = fresh("c")
    load = Load(gateway, an_order((sku, 1), customer_id=customer))

    with load.running(threads=8):
        eventually(lambda: len(load.ids) > 100, what="load before the death")
        doors[1].kill()
        before = len(load.ids)
        eventually(lambda: len(load.ids) > before + 100, what="load without it")
        doors[1].start()
        doors[1].wait_ready()
        before = len(load.ids)
        eventually(lambda: len(load.ids) > before + 100, what="load with it again")

    assert set(load.reads) == {200}
    # What the dead door may have read is left to its client, who asks again; and one that has
    # just begun says that it can't take orders yet.
    assert set(load.writes) <= {202, 502, 503}
    assert load.writes[502] <= 8
    all_decided(system, load.ids)
    ((placed,),) = system.sql("SELECT count(*) FROM orders WHERE customer_id = %s", customer)
    assert placed == len(load.ids) == len(set(load.ids))
    taken = [line["holdfast"]["upstream"] for line in gateway.lines()]
    assert any(f"{doors[1].address}, " in upstream for upstream in taken)


class Load:
    """Clients that place orders and read them: each with its key until it is accepted."""

    def __init__(self, gateway: Gateway, order: dict[str, Any]) -> None:
        self.ids: list[str] = []
        self.reads: Counter[int] = Counter()
        self.writes: Counter[int] = Counter()
        self._gateway = gateway
        self._order = order
        self._over = threading.Event()

    @contextmanager
    def running(self, threads: int) -> Iterator[None]:
        started = [threading.Thread(target=self._run) for _ in range(threads)]
        for thread in started:
            thread.start()
        try:
            yield
        finally:
            self._over.set()
            for thread in started:
                thread.join()

    def _run(self) -> None:
        with self._gateway.client() as client:
            while not self._over.is_set():
                order_id = self._place(client)
                self.ids.append(order_id)
                self.reads[client.get(f"/v1/orders/{order_id}").status_code] += 1

    def _place(self, client: httpx.Client) -> str:
        headers = {"Idempotency-Key": fresh("key")}
        while True:
            answer = client.post("/v1/orders", json=self._order, headers=headers)
            self.writes[answer.status_code] += 1
            if answer.status_code == 202:
                return str(answer.json()["id"])


def test_a_post_that_a_front_door_read_before_it_died_is_not_sent_again(
    mortal: tuple[FrontDoor, Gateway], system: System
) -> None:
    # Given an order that is published and whose answer waits for a decision
    door, gateway = mortal
    with gateway.client() as client:
        sku = Shop(client).product(10)
        customer = fresh("c")
        with paused_workers(system):
            asked = begun(
                lambda: client.post(
                    "/v1/orders", json=an_order((sku, 1), customer_id=customer), headers=WAIT
                )
            )
            until_accepts(door, "place_order")

            # When its front door dies
            door.kill()
            answer = asked()

        # Then the client is told that nobody knows, and there is one order
        assert "not known" in problem(answer, 502, "unavailable")["detail"]
        assert answer.headers["retry-after"] == "1"
        orders = eventually(lambda: Shop(client).page("/v1/orders", customer_id=customer)["items"])
        Shop(client).decided(orders[0]["id"])
        assert Shop(client).stock(sku) == (10, 1, 9)
    assert_stock_is_true(system)
    (line,) = [one for one in gateway.lines() if one["http"]["response"]["status_code"] == 502]
    assert line["holdfast"]["upstream"] == door.address


def test_a_put_that_a_front_door_read_before_it_died_is_sent_again_as_the_same_command(
    mortal: tuple[FrontDoor, Gateway], doors: list[FrontDoor], system: System
) -> None:
    _, gateway = mortal
    with gateway.client() as client:
        sku = fresh()
        with paused_workers(system):
            asked = begun(lambda: Shop(client).put_product(sku, name="Cup"))
            until_accepts(doors[0], "put_product")
            before = accepted(doors[1], "put_product")
            doors[0].kill()
            until_accepts(doors[1], "put_product", before)
        answer = asked()

    assert answer.status_code == 200, answer.text
    commands = system.sql("SELECT status FROM commands WHERE target = %s", sku)
    assert commands == [("applied",)]


def test_a_read_goes_on_to_the_next_front_door_wherever_its_own_died(
    mortal: tuple[FrontDoor, Gateway],
) -> None:
    door, gateway = mortal
    with gateway.client() as client:
        assert client.get("/livez").status_code == 200
        door.pause()
        asked = begun(lambda: client.get("/v1/orders"))
        time.sleep(0.3)  # who is halted can't be asked whether the request has come

        door.kill()

        assert asked().status_code == 200
    assert gateway.lines()[-1]["holdfast"]["upstream"].startswith(f"{door.address}, ")


def test_a_post_goes_on_where_nothing_of_it_could_be_sent(
    mortal: tuple[FrontDoor, Gateway],
) -> None:
    door, gateway = mortal
    door.kill()
    with gateway.client() as client:
        for _ in range(5):
            assert client.post("/v1/orders", json=an_order(("MUG", 1))).status_code == 202


def test_without_any_front_door_the_answer_is_a_problem() -> None:
    (nobody,) = ports.free_ports(1)
    with Gateway(fresh("alone"), f"127.0.0.1:{nobody}") as gateway, gateway.client() as client:
        answer = client.get("/v1/orders")
        large = client.post("/v1/order-batches", content=b" " * 1_000_000)

    problem(large, 502, "unavailable")
    problem(answer, 502, "unavailable")
    assert gateway.lines()[0]["trace"]["id"] == answer.json()["trace_id"]


def test_it_makes_its_folder_and_logs_to_a_socket_as_systemd_has_it() -> None:
    # Given what systemd gives a service for its output, and a folder that a reboot took away
    folder = ROOT / "gateway-journal"
    variables = environment(folder, GATEWAY_PROCESSES="1")
    options = ["-g", "user root;"] if os.geteuid() == 0 else []
    journal, output = socket.socketpair()
    with (
        journal,
        subprocess.Popen([RUN, *options], stdout=output.fileno(), env=variables) as gateway,
    ):
        output.close()
        try:
            # When somebody asks
            address = f"http://127.0.0.1:{variables['GATEWAY_PORT']}/metrics"
            eventually(lambda: _status(address) == 404, what="the gateway is up")

            # Then the journal has it, and the end of nginx is the end of the journal
            journal.settimeout(10)
            text = journal.recv(65536)
            assert json.loads(text.splitlines()[0])["url"]["path"] == "/metrics"
        finally:
            gateway.send_signal(signal.SIGQUIT)
        assert gateway.wait(timeout=10) == 0
        until_closed(journal)


def _status(address: str) -> int | None:
    with suppress(httpx.TransportError):
        return httpx.get(address).status_code
    return None


def begun(ask: Callable[[], httpx.Response]) -> Callable[[], httpx.Response]:
    """A request in a thread of its own; what is returned waits for its answer."""
    answers: list[httpx.Response] = []
    thread = threading.Thread(target=lambda: answers.append(ask()))
    thread.start()

    def answer() -> httpx.Response:
        thread.join()
        return answers[0]

    return answer


def accepted(door: FrontDoor, kind: str) -> float:
    return door.counted("holdfast_commands_accepted_total", kind=kind)


def until_accepts(door: FrontDoor, kind: str, before: float = 0) -> None:
    """Wait until a door has had one more command of a kind confirmed."""
    eventually(lambda: accepted(door, kind) > before, what=f"{kind} is taken")


# --- limits ---


def test_who_asks_too_often_is_told_so_and_nobody_else(doors: list[FrontDoor]) -> None:
    few = {"REQUESTS_PER_S": "5", "BURST": "5", "UNLIMITED": "127.0.0.3, 127.0.0.4"}
    with Gateway(fresh("limits"), doors[0].address, few) as gateway, ExitStack() as stack:
        greedy, other, trusted = (
            stack.enter_context(gateway.client(address=address))
            for address in ("127.0.0.1", ELSEWHERE, "127.0.0.3")
        )
        answers = [greedy.get("/livez") for _ in range(30)]
        refused = [answer for answer in answers if answer.status_code != 200]

        assert len(answers) - len(refused) <= 10
        for answer in refused:
            problem(answer, 429, "rate-limited")
        assert other.get("/livez").status_code == 200
        assert {trusted.get("/livez").status_code for _ in range(30)} == {200}
        eventually(lambda: greedy.get("/livez").status_code == 200)


def test_who_holds_too_many_requests_at_once_is_told_so_and_nobody_else(
    doors: list[FrontDoor],
) -> None:
    with (
        Gateway(fresh("limits"), doors[0].address, {"CONNECTIONS": "3"}) as gateway,
        ExitStack() as stack,
    ):
        greedy = stack.enter_context(gateway.client())
        for _ in range(3):
            stack.enter_context(greedy.stream("GET", "/dashboard/live/overview"))

        problem(greedy.get("/livez"), 503, "unavailable")
        with gateway.client(address=ELSEWHERE) as other:
            assert other.get("/livez").status_code == 200


@pytest.mark.parametrize(
    ("path", "most"), [("/v1/orders", BODY_MAX), ("/v1/order-batches", 4 * 1024 * 1024)]
)
def test_bodies_may_be_as_large_as_at_the_front_door(
    client: httpx.Client, path: str, most: int
) -> None:
    largest = client.post(path, content=b" " * most, headers={"Content-Type": "application/json"})
    assert largest.status_code == 400
    assert "JSON" in largest.text

    problem(client.post(path, content=b" " * (most + 1)), 413, "too-large")
    chunks = (b" " * 65_536 for _ in range(most // 65_536 + 1))
    problem(client.post(path, content=chunks), 413, "too-large")


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [("/v1/orders", {"X": "x" * 9_000}, 431), ("/" + "x" * 9_000, {}, 414),
     ("/metrics", {}, 404)],
)  # fmt: skip
def test_what_the_gateway_refuses_is_a_problem_and_no_front_door_hears_of_it(
    client: httpx.Client, gateway: Gateway, path: str, headers: dict[str, str], status: int
) -> None:
    document = problem(client.get(path, headers=headers), status)

    eventually(lambda: gateway.lines()[-1]["trace"]["id"] == document["trace_id"])
    assert gateway.lines()[-1]["http"]["response"]["status_code"] == status
    assert gateway.lines()[-1]["holdfast"]["upstream"] == ""


def test_slow_clients_are_held_off_while_others_are_served(doors: list[FrontDoor]) -> None:
    slow_body = (
        b"POST /v1/orders HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\n"
        b"Content-Length: 1000\r\nAuthorization: Bearer " + API_KEY.encode() + b"\r\n\r\n{"
    )
    with (
        Gateway(fresh("slow"), doors[0].address, {"CONNECTIONS": "20"}) as gateway,
        ExitStack() as stack,
        gateway.client(address=ELSEWHERE) as other,
    ):
        connections = [
            stack.enter_context(socket.create_connection(("127.0.0.1", gateway.port), timeout=30))
            for _ in range(520)
        ]
        heads, bodies = connections[:500], connections[500:]
        for connection in heads:
            connection.sendall(b"GET /livez HTTP/1.1\r\nX: ")
        for connection in bodies:
            connection.sendall(slow_body)
        began = time.monotonic()

        # While they drip, others are answered at once, and no front door hears of the slow.
        took_s = []
        while time.monotonic() - began < 7:
            asked = time.monotonic()
            assert other.get("/livez").status_code == 200
            took_s.append(time.monotonic() - asked)
            for connection in connections:
                connection.sendall(b"x")
            time.sleep(0.5)  # it drips
        assert median(took_s) < 10  # when the first heads are given up
        # The address holds as many as it may.
        with gateway.client() as greedy:
            problem(greedy.get("/livez"), 503)
        assert doors[0].counted("holdfast_http_requests_in_flight") == 0

        # Heads are given up after 10 s, however they drip; bodies that stop after as long. nginx by
        # itself would wait for a minute.
        for connection in heads:
            until_closed(connection)
        assert time.monotonic() - began < 40
        for connection in bodies:
            until_closed(connection)
        assert time.monotonic() - began < 50
        assert other.get("/livez").status_code == 200


def until_closed(connection: socket.socket) -> None:
    with suppress(ConnectionResetError):
        while connection.recv(4096):
            pass


# --- what is passed on ---


def test_events_of_the_dashboard_come_through_at_once(doors: list[FrontDoor]) -> None:
    directly, through = {}, {}
    with (
        Gateway(fresh("events"), doors[0].address) as gateway,
        gateway.client() as client,
        httpx.Client(base_url=f"http://{doors[0].address}", headers=client.headers) as neighbour,
    ):
        watching = threading.Thread(target=lambda: directly.update(events(neighbour)))
        watching.start()
        through.update(events(client))
        watching.join()

    both = directly.keys() & through.keys()
    assert len(both) >= 2
    # What gathers in a buffer comes with the next event, a second later, or the one after that.
    assert min(through[number] - directly[number] for number in both) < 0.5


def events(client: httpx.Client) -> dict[str, float]:
    """When each of four events had come, to its last line, by its number."""
    came: dict[str, float] = {}
    with client.stream("GET", "/dashboard/live/delayed", timeout=10) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        number = ""
        for line in answer.iter_lines():
            if line.startswith("id:"):
                number = line
            elif not line and number:
                came.setdefault(number, time.monotonic())
            if len(came) == 4:
                break
    return came


def test_one_trace_leads_from_the_gateways_log_to_the_front_door(
    client: httpx.Client, gateway: Gateway
) -> None:
    given = "4bf92f3577b34da6a3ce929d0e0e4736"
    header = {"traceparent": f"00-{given}-00f067aa0ba902b7-01"}

    told = client.post("/v1/orders", json={"customer_id": "c"}, headers=header)
    own = client.post("/v1/orders", json=an_order(("MUG", 1)))
    unknown = client.get("/v1/orders/nonsense")
    client.get("/livez", headers=header)

    wanted = [given, own.json()["id"].replace("-", ""), unknown.json()["trace_id"]]
    assert [answer.headers["trace-id"] for answer in (told, own, unknown)] == wanted
    eventually(lambda: gateway.lines()[-1]["url"]["path"] == "/livez")
    lines = gateway.lines()[-4:]
    assert [line["trace"]["id"] for line in lines] == [*wanted, given]
    first = lines[0]
    assert first["http"]["response"]["status_code"] == 422
    assert first["http"]["request"]["method"] == "POST"
    assert first["url"]["path"] == "/v1/orders"
    assert first["client"]["address"] == "127.0.0.1"
    assert first["event"]["duration"] % 1_000_000 == 0
    assert abs(datetime.now(UTC) - datetime.fromisoformat(first["@timestamp"])).seconds < 60


def test_nobody_can_say_that_he_is_somebody_else(gateway: Gateway, doors: list[FrontDoor]) -> None:
    with gateway.client(address=ELSEWHERE, **CLAIMS) as somebody:
        signed_in = somebody.post(
            "/dashboard/sign-in",
            data={"api_key": API_KEY},
            headers={"Sec-Fetch-Site": "same-origin"},
        )

    assert signed_in.status_code == 303
    logs = "".join(door.log.read_text() for door in doors)
    assert f"signed in from {ELSEWHERE}" in logs
    assert "203.0.113.9" not in logs


def test_a_front_door_hears_of_the_way_from_the_gateway_alone() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as door,
        Gateway(fresh("hears"), f"127.0.0.1:{door.getsockname()[1]}") as gateway,
        gateway.client(address=ELSEWHERE, **CLAIMS, Host="shop.example:81") as somebody,
    ):
        asked = begun(lambda: somebody.get("/livez"))
        connection, _ = door.accept()
        with connection:
            lines = connection.recv(65_536).decode().splitlines()
            connection.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")
        assert asked().status_code == 204

    heads = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    assert lines[0] == "GET /livez HTTP/1.1"
    assert heads["host"] == heads["x-forwarded-host"] == "shop.example:81"
    assert heads["x-forwarded-for"] == heads["x-real-ip"] == ELSEWHERE
    assert heads["x-forwarded-proto"] == "http"
    assert "203.0.113.9" not in str(lines)
    assert not {"forwarded", "connection", "idempotency-key"} & heads.keys()


# --- TLS ---


@pytest.fixture(scope="module")
def tls(doors: list[FrontDoor]) -> Iterator[Gateway]:
    files = {"CERTIFICATE": "certificate.pem", "CERTIFICATE_KEY": "key.pem"}
    with Gateway("tls", doors[0].address, files) as running:
        yield running


def shake_hands(gateway: Gateway, version: ssl.TLSVersion) -> ssl.SSLSocket:
    context = ssl.create_default_context(cafile=str(gateway.folder / "certificate.pem"))
    context.set_alpn_protocols(["h2", "http/1.1"])
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    context.minimum_version = context.maximum_version = version
    plain = socket.create_connection(("127.0.0.1", gateway.tls_port), timeout=10)
    try:
        return context.wrap_socket(plain, server_hostname="localhost")
    except ssl.SSLError:
        plain.close()
        raise


def test_tls_ends_at_the_gateway(tls: Gateway) -> None:
    for version, name in ((ssl.TLSVersion.TLSv1_2, "TLSv1.2"), (ssl.TLSVersion.TLSv1_3, "TLSv1.3")):
        with shake_hands(tls, version) as connection:
            assert connection.version() == name
            assert connection.selected_alpn_protocol() == "h2"
    with pytest.warns(DeprecationWarning), pytest.raises((ssl.SSLError, ConnectionResetError)):
        shake_hands(tls, ssl.TLSVersion.TLSv1_1)


def test_by_tls_the_dashboard_takes_a_sign_in_and_browsers_stay_with_tls(tls: Gateway) -> None:
    context = ssl.create_default_context(cafile=str(tls.folder / "certificate.pem"))
    with httpx.Client(base_url=f"https://localhost:{tls.tls_port}", verify=context) as browser:
        signed_in = browser.post(
            "/dashboard/sign-in",
            data={"api_key": API_KEY},
            headers={"Sec-Fetch-Site": "same-origin", "Host": "shop.example"},
        )
        assert signed_in.status_code == 303, signed_in.text
        cookie = signed_in.headers["set-cookie"]
        assert re.search(r"__Host-.*; Secure", cookie), cookie
        for path in ("/livez", "/metrics"):
            assert browser.get(path).headers["strict-transport-security"] == "max-age=31536000"


def test_plain_http_is_sent_to_tls(tls: Gateway) -> None:
    answer = httpx.get(f"{tls.base_url}/v1/orders?limit=1", headers={"Host": "shop.example"})

    assert answer.status_code == 308
    assert answer.headers["location"] == "https://shop.example/v1/orders?limit=1"
