"""What an outside client does with the service, in few words, and what has to hold afterwards."""

import itertools
import json
import os
import queue
import signal
import threading
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPException
from typing import Any, NamedTuple, Protocol

import httpx

from tests.conftest import API_KEY, System, eventually

WAIT = {"Prefer": "wait=20"}
NOW: dict[str, str] = {}
TERMINAL = {"confirmed", "rejected", "failed"}

_numbers = itertools.count(1)
_session = uuid.uuid4().hex[:6]


def fresh(prefix: str = "SKU") -> str:
    """A word that nothing else in this session uses."""
    return f"{prefix}-{_session}-{next(_numbers)}"


def an_order(*lines: tuple[str, int], customer_id: str = "c-17", **members: Any) -> dict[str, Any]:
    """The body of an order."""
    wanted = [{"sku": sku, "quantity": quantity} for sku, quantity in lines]
    return {"customer_id": customer_id, "lines": wanted, **members}


class Shop:
    """The API as verbs. What `Prefer: wait` gives is the default; `NOW` answers at once."""

    def __init__(self, client: httpx.Client) -> None:
        self.client = client

    def product(
        self, stock: int = 0, *, price: int = 1250, currency: str = "EUR", sku: str = ""
    ) -> str:
        """A product with so many units on hand; returns its SKU."""
        sku = sku or fresh()
        answer = self.put_product(sku, unit_price=price, currency=currency)
        assert answer.status_code == 200, answer.text
        if stock:
            assert self.adjust(sku, stock).status_code == 200
        return sku

    def put_product(
        self, sku: str, headers: dict[str, str] = WAIT, **members: Any
    ) -> httpx.Response:
        body = {"name": "Mug", "unit_price": 1250, "currency": "EUR", **members}
        return self.client.put(f"/v1/products/{sku}", json=body, headers=headers)

    def adjust(
        self, sku: str, delta: int, reason: str = "received", headers: dict[str, str] = WAIT
    ) -> httpx.Response:
        body = {"delta": delta, "reason": reason}
        return self.client.post(f"/v1/inventory/{sku}/adjustments", json=body, headers=headers)

    def reduce(
        self, sku: str, quantity: int, reason: str = "damaged", headers: dict[str, str] = WAIT
    ) -> httpx.Response:
        body = {"quantity": quantity, "reason": reason}
        return self.client.post(f"/v1/inventory/{sku}/reductions", json=body, headers=headers)

    def place(
        self, *lines: tuple[str, int], headers: dict[str, str] = WAIT, **members: Any
    ) -> httpx.Response:
        return self.client.post("/v1/orders", json=an_order(*lines, **members), headers=headers)

    def confirmed(self, *lines: tuple[str, int], **members: Any) -> dict[str, Any]:
        """A confirmed order."""
        answer = self.place(*lines, **members)
        assert answer.status_code == 201, answer.text
        order: dict[str, Any] = answer.json()
        return order

    def move(
        self, order_id: str, status: str, headers: dict[str, str] = WAIT, **members: Any
    ) -> httpx.Response:
        body = {"status": status, **members}
        return self.client.patch(f"/v1/orders/{order_id}", json=body, headers=headers)

    def order(self, order_id: str) -> dict[str, Any]:
        return self._get(f"/v1/orders/{order_id}")

    def events(self, order_id: str) -> list[dict[str, Any]]:
        items: list[dict[str, Any]] = self._get(f"/v1/orders/{order_id}/events")["items"]
        return items

    def command(self, command_id: str) -> dict[str, Any]:
        return self._get(f"/v1/commands/{command_id}")

    def movements(self, sku: str) -> list[dict[str, Any]]:
        return list(self.pages(f"/v1/inventory/{sku}/movements", limit=200))

    def stock(self, sku: str) -> tuple[int, int, int]:
        """(on hand, allocated, available)"""
        found = self._get(f"/v1/inventory/{sku}")
        return found["on_hand"], found["allocated"], found["available"]

    def page(self, path: str, **query: Any) -> dict[str, Any]:
        return self._get(path, **query)

    def pages(
        self, path: str, between: Callable[[], Any] = lambda: None, **query: Any
    ) -> Iterator[dict[str, Any]]:
        """The items of all pages; `between` is called after each page."""
        page = self._get(path, **query)
        while True:
            yield from page["items"]
            if page["next_cursor"] is None:
                return
            between()
            page = self._get(path, **query, cursor=page["next_cursor"])

    def decided(self, order_id: str, within_s: float = 60) -> dict[str, Any]:
        """An order, once it is decided."""
        eventually(
            lambda: self.order(order_id)["status"] != "pending",
            within_s=within_s,
            what=f"{order_id} is decided",
        )
        return self.order(order_id)

    def _get(self, path: str, **query: Any) -> dict[str, Any]:
        answer = self.client.get(path, params=query)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found


def problem(answer: httpx.Response, status: int, slug: str = "") -> dict[str, Any]:
    """The problem document of an answer, whose every promise is checked."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"].partition(";")[0] == "application/problem+json"
    document: dict[str, Any] = answer.json()
    assert document["status"] == status
    assert document["type"].startswith("/problems/")
    assert document["title"]
    assert document["detail"]
    assert "Traceback" not in answer.text
    if slug:
        assert document["type"] == f"/problems/{slug}"
    if status in (429, 503):
        assert int(answer.headers["retry-after"]) >= 1
    return document


def pointers(document: dict[str, Any]) -> list[str]:
    """Where a body is wrong."""
    assert all(error["detail"] for error in document["errors"])
    return [error["pointer"] for error in document["errors"]]


@contextmanager
def paused_workers(system: System) -> Iterator[None]:
    """The workers' processes hold still, as on an overloaded machine: what is asked stays pending.

    For less than a heartbeat, or RabbitMQ gives their messages to others.
    """
    group = system._running["worker"][1].pid
    os.killpg(group, signal.SIGSTOP)
    try:
        yield
    finally:
        os.killpg(group, signal.SIGCONT)


class Ask(NamedTuple):
    """A request of a burst; answers come back in the order asked."""

    method: str
    path: str
    body: Any
    headers: dict[str, str] = {}  # noqa: RUF012 - never changed


class Answer(NamedTuple):
    """status: 0 where the connection broke, and nobody knows what became of the request."""

    status: int
    body: dict[str, Any]


def burst(
    system: System,
    asks: Iterable[Ask],
    *,
    connections: int = 64,
    on_answer: Callable[[int], None] = lambda _count: None,
) -> list[Answer]:
    """Send requests over so many connections at once. on_answer: told how many are answered."""
    todo: queue.SimpleQueue[tuple[int, Ask]] = queue.SimpleQueue()
    for numbered in enumerate(asks):
        todo.put(numbered)
    answers: list[Answer | None] = [None] * todo.qsize()
    counter = itertools.count(1)

    def ask_all() -> None:
        connection = HTTPConnection("127.0.0.1", system.port, timeout=40)
        while True:
            try:
                index, ask = todo.get_nowait()
            except queue.Empty:
                connection.close()
                return
            answers[index] = _ask(connection, ask)
            on_answer(next(counter))

    threads = [threading.Thread(target=ask_all) for _ in range(min(connections, len(answers)))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [answer for answer in answers if answer is not None]


def _ask(connection: HTTPConnection, ask: Ask) -> Answer:
    headers = {
        "Authorization": f"Bearer {API_KEY}",
        "Content-Type": "application/json",
        **ask.headers,
    }
    try:
        connection.request(ask.method, ask.path, json.dumps(ask.body), headers)
        with connection.getresponse() as answer:
            return Answer(answer.status, json.loads(answer.read()))
    except (OSError, HTTPException):
        connection.close()
        return Answer(0, {})


class Books(Protocol):
    """Where one can look into the database."""

    def sql(self, statement: str, *params: object) -> list[tuple[Any, ...]]: ...


#: Rows that break P3 or P4: stock is the sum of its ledger, allocated units are those of the
#: confirmed orders, and no more is allocated than is there. One statement, so one snapshot.
BROKEN_STOCK = """
WITH ledger AS (
    SELECT sku, location, sum(on_hand_delta) AS on_hand, sum(allocated_delta) AS allocated
    FROM stock_movements GROUP BY sku, location
), held AS (
    SELECT l.sku, l.location, sum(l.quantity) AS units
    FROM orders AS o
    JOIN order_lines AS l ON l.placed_at = o.placed_at AND l.order_id = o.id
    WHERE o.status = 'confirmed' GROUP BY l.sku, l.location
)
SELECT sku, location, s.on_hand, s.allocated, ledger.on_hand, ledger.allocated, held.units
FROM stock AS s
FULL JOIN ledger USING (sku, location)
FULL JOIN held USING (sku, location)
WHERE s.on_hand IS DISTINCT FROM coalesce(ledger.on_hand, 0)
   OR s.allocated IS DISTINCT FROM coalesce(ledger.allocated, 0)
   OR s.allocated IS DISTINCT FROM coalesce(held.units, 0)
   OR NOT (0 <= s.allocated AND s.allocated <= s.on_hand)
"""

#: Orders of the given ids: what was decided first, how often, and how often it took stock.
DECIDED = """
SELECT o.id::text, (SELECT substr(e.type, 7) FROM order_events AS e
        WHERE e.placed_at = o.placed_at AND e.order_id = o.id ORDER BY e.sequence LIMIT 1),
       (SELECT count(*) FROM order_events AS e WHERE e.placed_at = o.placed_at
        AND e.order_id = o.id AND e.type IN ('order.confirmed', 'order.rejected', 'order.failed')),
       (SELECT coalesce(max(times), 0) FROM (
            SELECT count(*) AS times FROM stock_movements AS m
            WHERE m.order_id = o.id AND m.reason = 'placed' GROUP BY m.sku) AS taken)
FROM orders AS o WHERE o.id = ANY (%s::uuid[])
"""


def assert_stock_is_true(system: Books) -> None:
    """Stock = sum of its movements = units of the orders that hold it."""
    assert system.sql(BROKEN_STOCK) == []


def assert_each_decided_once(system: Books, order_ids: Sequence[str]) -> dict[str, str]:
    """Every order has one decision and took its stock once or not; returns it by id."""
    rows = system.sql(DECIDED, list(order_ids))
    assert len(rows) == len(set(order_ids))
    assert [row for row in rows if row[1] not in TERMINAL] == []
    assert [row for row in rows if row[2] != 1] == []
    assert [row for row in rows if row[3] != (row[1] == "confirmed")] == []
    return {id_: status for id_, status, _, _ in rows}


def all_decided(system: Books, order_ids: Sequence[str], within_s: float = 60) -> dict[str, str]:
    """Wait until orders are decided; each once, and the stock true. Returns decisions by id."""
    wanted = len(set(order_ids))
    count = "SELECT count(*) FROM orders WHERE id = ANY (%s::uuid[])"
    eventually(
        lambda: system.sql(count, list(order_ids))[0][0] == wanted,
        within_s=within_s,
        what=f"all {wanted} accepted orders are decided",
    )
    statuses = assert_each_decided_once(system, order_ids)
    assert_stock_is_true(system)
    return statuses
