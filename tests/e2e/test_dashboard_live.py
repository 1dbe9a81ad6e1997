"""Pages that stay current, and are whole without any script."""

import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from itertools import pairwise
from statistics import median

import httpx
import psycopg2
import pytest

from tests.conftest import API_KEY, System, eventually
from tests.e2e.conftest import MakeKey
from tests.e2e.operators import new_key
from tests.e2e.shop import Shop, fresh, problem
from web.dashboard.live import VIEWERS_PER_KEY_MAX
from web.ids import COMMAND, IdMint

#: As in web/gunicorn_conf.py: processes that have not ended by then are killed.
GRACEFUL_TIMEOUT_S = 10
#: A key is looked up again for every request.
KEY_CACHE_S = 0.001


@contextmanager
def stream(client: httpx.Client, page: str) -> Iterator[Iterator[dict[str, str]]]:
    """The events of a page's stream, each as its fields."""
    with client.stream("GET", f"/dashboard/live/{page}", timeout=60) as answer:
        assert answer.status_code == 200, answer.read()
        assert answer.headers["content-type"].startswith("text/event-stream")
        yield _events(answer)


def _events(answer: httpx.Response) -> Iterator[dict[str, str]]:
    fields: dict[str, list[str]] = {}
    for line in answer.iter_lines():
        if line:
            name, _, value = line.partition(":")
            fields.setdefault(name, []).append(value.strip())
        elif fields:
            yield {name: "\n".join(values) for name, values in fields.items()}
            fields = {}


def text_of(html: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", html))


@pytest.mark.parametrize(
    ("path", "words"),
    [("/dashboard", ["Orders decided", "Accepted to decided", "Workers", "Failures", "orders",
                     "The books", "5 minutes", "<svg"]),
     ("/dashboard/actors", ["place_orders", "operate", "holdfast.orders", "Pause…", "Consumers",
                            "from the settings"]),
     ("/dashboard/workers", ["alive", "Threads busy", "MiB", "Last seen"]),
     ("/dashboard/delayed", ["holdfast.skus", "Due next"])],
)  # fmt: skip
def test_every_page_is_whole_without_scripts(
    client: httpx.Client, path: str, words: list[str]
) -> None:
    # A worker says that it lives within two seconds of its start.
    page = eventually(lambda: "alive" in client.get("/dashboard/workers").text and client.get(path))

    assert page.status_code == 200
    for word in words:
        assert word in page.text
    assert page.text.rstrip().endswith("</html>")


def test_the_overview_tells_what_was_decided(shop: Shop, client: httpx.Client) -> None:
    sku = shop.product(5)
    shop.confirmed((sku, 1))

    def decided() -> bool:
        match = re.search(
            r"Orders decided ([\d.,]+) /(?:s|min)", text_of(client.get("/dashboard").text)
        )
        return match is not None and float(match[1].replace(",", "")) >= 0

    eventually(decided)
    data = eventually(
        lambda: (
            (found := client.get("/dashboard/data/throughput.json").json())
            and any(value for value in found["data"][1])
            and found
        )
    )
    assert [line["label"] for line in data["lines"]] == ["decided", "of these rejected"]
    times, *lines = data["data"]
    assert len(times) == 30
    assert all(len(line) == len(times) for line in lines)
    assert {later - earlier for earlier, later in pairwise(times)} == {10}


@pytest.mark.parametrize("name", ["throughput", "latency", "waiting", "trouble"])
@pytest.mark.parametrize(("window", "points"), [("5m", 30), ("1h", 60), ("24h", 288), ("7d", 168)])
def test_charts_have_a_point_for_every_step(
    client: httpx.Client, name: str, window: str, points: int
) -> None:
    found = client.get(f"/dashboard/data/{name}.json", params={"window": window})

    assert found.status_code == 200
    assert {len(line) for line in found.json()["data"]} == {points}


def test_a_window_that_is_none_is_refused(client: httpx.Client) -> None:
    answer = client.get("/dashboard/data/throughput.json", params={"window": "1y"})
    assert answer.status_code == 422
    assert client.get("/dashboard", params={"window": "1y"}).status_code == 422


def test_a_stream_carries_the_page_as_it_is_polled(client: httpx.Client) -> None:
    with stream(client, "actors") as events:
        assert next(events) == {"retry": "2000"}
        first, second = next(events), next(events)

    assert int(second["id"]) == int(first["id"]) + 1
    polled = client.get("/dashboard/live/actors", params={"poll": 1})
    for html in (first["data"], polled.text):
        assert "holdfast.orders" in html
        assert "<html" not in html
        assert 'name="csrf"' not in html


def test_all_who_look_see_the_same_snapshot_and_it_is_one_a_second(client: httpx.Client) -> None:
    with ExitStack() as stack:
        viewers = [stack.enter_context(stream(client, "overview")) for _ in range(5)]
        for events in viewers:
            assert next(events) == {"retry": "2000"}
        began = time.monotonic()
        seen = [[next(events) for _ in range(3)] for events in viewers]
        took = time.monotonic() - began

    by_number: dict[str, set[str]] = {}
    for event in (event for events in seen for event in events):
        by_number.setdefault(event["id"], set()).add(event["data"])
    assert all(len(bodies) == 1 for bodies in by_number.values())
    assert len(by_number) <= took + 2


def test_a_reader_s_stream_has_no_buttons(system: System, make_key: MakeKey) -> None:
    with system.client(make_key("dashboard:read")) as reader, stream(reader, "actors") as events:
        next(events)
        assert "data-dialog" not in next(events)["data"]


def test_a_stream_ends_with_its_key(system: System) -> None:
    made = system.run("keys", "create", fresh("viewer"), "--scope", "dashboard:read")
    with system.client(made.split()[-1]) as viewer, stream(viewer, "workers") as events:
        assert next(events)
        assert next(events)
        system.run("keys", "revoke", made.split()[1].rstrip("."))
        began = time.monotonic()
        for _ in events:
            assert time.monotonic() - began < 60


def test_one_key_holds_so_many_streams_and_no_more(
    system: System, client: httpx.Client, make_key: MakeKey
) -> None:
    with system.client(make_key("dashboard:read")) as greedy, ExitStack() as stack:
        viewers = [
            stack.enter_context(stream(greedy, "workers")) for _ in range(VIEWERS_PER_KEY_MAX)
        ]
        for events in viewers:
            assert next(events)

        refused = greedy.get("/dashboard/live/workers")
        assert refused.status_code == 503
        assert int(refused.headers["retry-after"]) >= 1
        assert greedy.get("/dashboard/live/workers?poll=1").status_code == 200
        with stream(client, "workers") as others:
            assert next(others)
    with system.client(greedy.headers["authorization"].split()[1]) as again:
        eventually(lambda: _opens(again))


def _opens(client: httpx.Client) -> bool:
    with client.stream("GET", "/dashboard/live/workers", timeout=60) as answer:
        return answer.status_code == 200


def test_without_a_key_there_is_no_stream(anybody: httpx.Client) -> None:
    assert anybody.get("/dashboard/live/overview").status_code == 401
    assert anybody.get("/dashboard/data/throughput.json").status_code == 401


def test_pausing_and_resuming_is_seen_live(client: httpx.Client) -> None:
    queue = "holdfast.transitions"
    client.post(f"/dashboard/queues/{queue}/pause", data={"reason": "to be seen"})
    with stream(client, "actors") as events:
        assert any("to be seen" in event.get("data", "") for event in _some(events))
        client.post(f"/dashboard/queues/{queue}/resume")
        assert any("to be seen" not in event.get("data", "x") for event in _some(events))


def _some(events: Iterator[dict[str, str]]) -> Iterator[dict[str, str]]:
    return (event for _, event in zip(range(8), events, strict=False) if "data" in event)


def test_a_rate_limit_is_set_and_taken_back(client: httpx.Client, system: System) -> None:
    address = "/dashboard/actors/put_products/limit"
    for amount in ("0", "-1", "1.5", "x", "", "1e3", "9999999999"):
        refused = client.post(address, data={"amount": amount, "unit": "s", "do": "set"})
        assert refused.status_code == 422, amount
    assert client.post(address, data={"amount": "5", "unit": "d", "do": "set"}).status_code == 422

    done = client.post(address, data={"amount": "700", "unit": "m", "do": "set"})

    assert "Done." in client.get(done.headers["location"]).text
    eventually(lambda: "700/m" in client.get("/dashboard/actors").text)
    client.post(address, data={"do": "reset"})
    eventually(lambda: "700/m" not in client.get("/dashboard/actors").text)
    assert system.sql("SELECT * FROM actor_limits") == []


# --- outages ---


@pytest.fixture(scope="module")
def own(postgres: object, rabbitmq: object) -> Iterator[System]:
    """A system that may be broken; a test leaves it whole."""
    name = fresh("own").lower().replace("-", "_")
    broken = System(postgres, rabbitmq, name, API_KEY_CACHE_S=str(KEY_CACHE_S))  # type: ignore[arg-type]
    broken.prepare()
    broken.start()
    yield broken
    broken.discard()


def is_whole(client: httpx.Client) -> bool:
    """Whether the overview names no trouble. (That no clock runs is worth a word after minutes.)"""
    return re.search('class="verdict (good|warn)"', client.get("/dashboard").text) is not None


def test_the_web_process_stops_in_time_with_twenty_streams_open(own: System) -> None:
    keys = (API_KEY, new_key(own, "Ada", "dashboard:read"))
    with ExitStack() as stack:
        clients = [stack.enter_context(own.client(key)) for key in keys]
        viewers = [
            stack.enter_context(stream(client, "overview")) for client in clients for _ in range(10)
        ]
        for events in viewers:
            next(events)
            next(events)

        began = time.monotonic()
        own.stop("web")

        # Then nobody had to be cut off.
        assert time.monotonic() - began < GRACEFUL_TIMEOUT_S
        for events in viewers:
            list(events)
    assert "Traceback" not in own.log("web").read_text()
    own.start("web")


def test_without_a_worker_the_overview_says_so(own: System) -> None:
    with own.client() as client:
        eventually(lambda: is_whole(client), what="no trouble")

        own.stop("worker")

        page = eventually(lambda: (t := client.get("/dashboard").text).find("No worker") > 0 and t)
        assert "queues have no consumer" in page
        assert client.get("/readyz").status_code == 200
        own.start("worker")


def test_while_the_database_is_away_the_pages_say_so_and_come_back(
    own: System,
) -> None:
    with own.client() as operator:
        eventually(lambda: is_whole(operator), what="no trouble")
    with own.client() as operator, outage(own):
        # What can't be told is unknown, not zero; what RabbitMQ knows is still told
        page = eventually(
            lambda: (
                (t := operator.get("/dashboard").text).find("The database has not answered") > 0
                and t
            )
        )
        assert "unknown" in page
        assert "holdfast" in page
        assert "consuming" in page
        data = eventually(
            lambda: (
                (found := operator.get("/dashboard/data/latency.json")).status_code == 503 and found
            )
        )
        assert data.headers["content-type"] == "application/problem+json"

        # Pages that need it are errors that say what still works, and look again
        orders = operator.get("/dashboard/orders")
        assert orders.status_code == 503
        assert orders.headers["content-type"].startswith("text/html")
        assert "What still works" in orders.text
        assert '<meta http-equiv="refresh"' in orders.text
    with own.client() as operator:
        eventually(lambda: is_whole(operator), what="no trouble")
        assert operator.get("/dashboard/orders").status_code == 200


def test_while_the_database_hangs_pages_and_actions_answer_soon(own: System) -> None:
    pages = ("/dashboard", "/dashboard/workers", "/dashboard/delayed", "/dashboard/actors")
    pause = "/dashboard/queues/holdfast.transitions/pause"
    with own.client() as operator:
        eventually(lambda: is_whole(operator), what="no trouble")
        with hanging(own), ThreadPoolExecutor(1) as beside:
            given_up = beside.submit(seconds_of_a_read, own)
            took_s = []
            for path in (*pages, f"/dashboard?done={own_command(own)}"):
                began = time.monotonic()
                assert operator.get(path).status_code == 200
                took_s.append(time.monotonic() - began)
            form = {"reason": "hangs", "key": fresh("click")}
            assert operator.post(pause, data=form).status_code == 303
            # Nobody waits until the statement is given up; once is a slow machine's doing.
            assert median(took_s) < given_up.result() / 2, took_s
            with stream(operator, "overview") as events:
                assert any("has not answered" in event["data"] for event in _some(events))
        eventually(lambda: "hangs" in operator.get("/dashboard/actors").text)
        operator.post(pause.replace("pause", "resume"))
        eventually(lambda: is_whole(operator), what="no trouble")


def seconds_of_a_read(system: System) -> float:
    """How long a reader of the API waits while the database hangs."""
    with system.client() as client:
        began = time.monotonic()
        problem(client.get(f"/v1/commands/{own_command(system)}"), 503, "unavailable")
        return time.monotonic() - began


def own_command(system: System) -> str:
    return IdMint(system.environment["SECRET_KEY"].encode()).new(COMMAND)


@contextmanager
def hanging(system: System) -> Iterator[None]:
    """The system's database takes statements and does not answer them."""
    names = ("api_keys", "workers", "commands", "dead_letters", "idempotency_keys")
    connection = psycopg2.connect(system.environment["DATABASE_URL"])
    try:
        with connection.cursor() as cursor:
            cursor.execute(f"LOCK TABLE {', '.join(names)}")
        yield
    finally:
        connection.close()


@contextmanager
def outage(system: System) -> Iterator[None]:
    """The system's database lets nobody in."""
    url, _, name = system.environment["DATABASE_URL"].rpartition("/")

    def run(*statements: str) -> None:
        connection = psycopg2.connect(f"{url}/postgres")
        connection.autocommit = True
        try:
            with connection.cursor() as cursor:
                for statement in statements:
                    cursor.execute(statement)
        finally:
            connection.close()

    run(
        f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false',
        f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'",
    )
    try:
        yield
    finally:
        run(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true')
