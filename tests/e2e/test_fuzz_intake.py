"""Odd requests to running processes: taken whole or refused whole, and never an error of ours."""

from collections.abc import Iterator
from contextlib import closing

import httpx
import msgspec
import pytest
from hypothesis import event, given
from hypothesis import strategies as st

from tests.conftest import System, eventually
from tests.e2e.operators import Operator, new_key
from tests.e2e.shop import Shop, fresh, problem
from tests.fuzz.effort import effort
from tests.fuzz.strategies import (
    Document,
    Headers,
    bodies,
    headers,
    identifiers,
    queries,
)
from web.dashboard import audit, failure_query, orders

JSON: Headers = [(b"Content-Type", b"application/json")]
WAITING: Headers = [*JSON, (b"Prefer", b"wait=10")]
#: Parameters of the lists, but for their cursors.
LISTS = {
    "/v1/orders": (
        "status", "customer_id", "sku", "placed_after", "placed_before", "updated_after", "limit",
    ),
    "/v1/inventory": ("prefix", "available_below", "limit"),
    "/v1/inventory/{sku}/movements": ("limit",),
    "/v1/orders/{order_id}/events": ("limit",),
}  # fmt: skip
PAGES = {
    "orders": orders.FIELDS,
    "inventory": ("q", "low", "below"),
    "inventory/{sku}": ("window",),
    "inventory/{sku}/levels.json": ("window",),
    "failures": failure_query.FIELDS,
    "failures/export.csv": failure_query.FIELDS,
    "failures/export.json": failure_query.FIELDS,
    "audit": audit.FIELDS,
}


class Door:
    """The front door, and a count of what it took.

    sku, order_id: of a product and an order that are there; cursors: that lists gave out.
    """

    def __init__(self, system: System, shop: Shop) -> None:
        self.system = system
        self.shop = shop
        self.before = self.decided()
        self.taken: set[str] = set()
        shop.client.event_hooks["response"] = [self._note]
        self.sku, self.order_id = self.place()
        self.place()
        lists = ("/v1/orders", "/v1/inventory", f"/v1/inventory/{self.sku}/movements")
        self.cursors = [shop.page(path, limit=1)["next_cursor"] for path in lists]

    def place(self) -> tuple[str, str]:
        """A product with stock, and a confirmed order of it: something of each queue but moves."""
        sku = self.shop.product(100)
        return sku, self.shop.confirmed((sku, 1))["id"]

    def decided(self) -> set[str]:
        return {id_ for (id_,) in self.system.sql("SELECT id::text FROM commands")}

    def ask(
        self, method: str, path: str, *, headers: Headers = JSON, content: bytes = b""
    ) -> httpx.Response:
        """An answer, of which holds what holds of every answer."""
        answer = self.shop.client.request(method, path, headers=headers, content=content)
        assert answer.status_code < 500 or answer.status_code == 503, answer.text
        assert "Traceback" not in answer.text
        event(str(answer.status_code))
        if answer.status_code >= 400:
            problem(answer, answer.status_code)
        return answer

    def _note(self, answer: httpx.Response) -> None:
        """Every change that was taken says under which id, whatever came of it."""
        if "location" in answer.headers:
            self.taken.add(answer.headers["location"].rpartition("/")[2])
        elif answer.request.url.path == "/v1/order-batches" and answer.is_success:
            answer.read()
            self.taken |= {order["id"] for order in answer.json()["orders"]}

    def assert_nothing_else_was_done(self) -> None:
        """What was taken is decided, and nothing is that was not taken."""
        # What comes last is decided last, also of what nobody should have sent.
        _, order_id = self.place()
        assert self.shop.move(order_id, "shipped").status_code == 200
        eventually(lambda: self.taken <= self.decided(), what="all that was taken is decided")
        assert self.decided() - self.before == self.taken


@pytest.fixture(scope="module")
def door(fuzzed: System) -> Iterator[Door]:
    with fuzzed.client() as client:
        yield Door(fuzzed, Shop(client))


@pytest.fixture(scope="module")
def log_begins(fuzzed: System) -> dict[str, int]:
    """How long the logs were before this file's requests."""
    return {name: len(fuzzed.log(name).read_bytes()) for name in ("web", "worker")}


@pytest.fixture(autouse=True)
def _afterwards(door: Door, log_begins: dict[str, int]) -> Iterator[None]:
    yield
    door.assert_nothing_else_was_done()
    assert door.shop.client.get("/readyz").status_code == 200
    for name, begin in log_begins.items():
        logged = door.system.log(name).read_bytes()[begin:].decode()
        assert '"log.level":"error"' not in logged
        assert "Traceback" not in logged


def changes(door: Door) -> dict[str, tuple[str, str, Document]]:
    """A good change of each kind."""
    line = {"sku": door.sku, "quantity": 1}
    order = {"customer_id": fresh("c"), "lines": [line, line], "metadata": {"k": "v"}}
    single = {**order, "idempotency_key": fresh("key")}
    return {
        "order": ("POST", "/v1/orders", order),
        "batch": ("POST", "/v1/order-batches", {"orders": [single, order]}),
        "move": ("PATCH", f"/v1/orders/{door.order_id}", {"status": "returned", "restock": True}),
        "product": (
            "PUT",
            f"/v1/products/{door.sku}",
            {"name": "Mug", "unit_price": 1250, "currency": "EUR"},
        ),
        "adjustment": (
            "POST",
            f"/v1/inventory/{door.sku}/adjustments",
            {"delta": 5, "reason": "received"},
        ),
        "reduction": (
            "POST",
            f"/v1/inventory/{door.sku}/reductions",
            {"quantity": 1, "reason": "damaged"},
        ),
    }


@pytest.mark.parametrize("kind", ["order", "batch", "move", "product", "adjustment", "reduction"])
def test_an_odd_body_is_taken_or_refused(door: Door, kind: str) -> None:
    method, path, good = changes(door)[kind]

    @effort(250)
    @given(bodies(good))
    def check(content: bytes) -> None:
        door.ask(method, path, headers=WAITING, content=content)

    check()


def test_odd_headers_are_understood_or_refused(door: Door) -> None:
    good = {
        **changes(door),
        "one": ("GET", f"/v1/orders/{door.order_id}", {}),
        "list": ("GET", "/v1/orders?limit=1", {}),
        "page": ("GET", "/readyz", {}),
    }

    @effort(400)
    @given(st.sampled_from(list(good)), headers())
    def check(kind: str, odd: Headers) -> None:
        method, path, body = good[kind]
        typed = any(name == b"Content-Type" for name, _ in odd)
        content = msgspec.json.encode(body) if body else b""
        door.ask(method, path, headers=odd if typed else [*JSON, *odd], content=content)

    check()


@pytest.mark.parametrize("what", ["order", "command"])
def test_an_id_that_is_not_ours_is_not_found(door: Door, what: str) -> None:
    good = door.order_id
    paths = [("GET", "/v1/orders/{}"), ("GET", "/v1/orders/{}/events"), ("PATCH", "/v1/orders/{}")]
    if what == "command":
        good = door.shop.adjust(door.sku, 1).headers["location"].rpartition("/")[2]
        paths = [("GET", "/v1/commands/{}")]

    @effort(250)
    @given(st.sampled_from(paths), identifiers(good))
    def check(asked: tuple[str, str], odd: str) -> None:
        method, path = asked
        content = b'{"status":"shipped"}' if method == "PATCH" else b""
        answer = door.ask(method, path.format(odd), content=content)
        assert answer.status_code == 404

    check()


def test_an_odd_sku_is_not_found_or_refused(door: Door) -> None:
    good = changes(door)["adjustment"][2]

    @effort(150)
    @given(identifiers(door.order_id))
    def check(odd: str) -> None:
        assert door.ask("GET", f"/v1/inventory/{odd}").status_code == 404
        assert door.ask("GET", f"/v1/inventory/{odd}/movements").status_code == 404
        path = f"/v1/inventory/{odd}/adjustments"
        door.ask("POST", path, headers=WAITING, content=msgspec.json.encode(good))

    check()


@pytest.mark.parametrize("path", LISTS)
def test_an_odd_query_is_answered_or_refused(door: Door, path: str) -> None:
    address = path.format(sku=door.sku, order_id=door.order_id)

    @effort(250)
    @given(queries(LISTS[path], door.cursors))
    def check(query: str) -> None:
        assert door.ask("GET", f"{address}?{query}").status_code in (200, 422)

    check()


def test_an_odd_query_of_a_page_is_answered_with_a_page(door: Door) -> None:
    wanted = st.sampled_from(list(PAGES)).flatmap(
        lambda page: st.tuples(st.just(page), queries(PAGES[page], door.cursors))
    )
    key = new_key(door.system, "Rita", "dashboard:read")
    with closing(Operator(door.system, key)) as operator:

        @effort(400)
        @given(wanted)
        def check(asked: tuple[str, str]) -> None:
            page, query = asked
            path = f"/dashboard/{page.format(sku=door.sku)}?{query}"
            answer = operator.client.get(path)
            assert answer.status_code in (200, 422)

        check()
