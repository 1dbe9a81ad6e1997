"""Clients: orders by one and by the batch, moves, stock; some repeat with a key, some don't."""

import itertools
import json
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from random import Random
from typing import Any, Final

from tests.torture.history import Asked, History, Told
from tests.torture.rig import API_KEY, Rig

#: Orders of every kind want this one, and there is never enough.
HOT: Final = "HOT"
SKUS: Final = (HOT, *(f"SKU-{n:02}" for n in range(24)))
STOCK: Final = 2_000
RESTOCK: Final = (50, 200)
CLIENTS: Final = 12
FLOODERS: Final = 24
FLOOD_BATCH: Final = 5
TIMEOUT_S: Final = 8.0
ATTEMPTS_MAX: Final = 6
ATTEMPT_PAUSE_S: Final = (0.1, 1.0)
#: How the front door begins when it has sent something and heard nothing.
UNCERTAIN: Final = "We could not confirm that the request was accepted"
#: Orders that moves choose from.
KNOWN_MAX: Final = 3_000
MOVES: Final = ("shipped", "shipped", "delivered", "cancelled", "returned")

Ask = Callable[[str, str, Any, dict[str, str]], tuple[int, dict[str, Any], dict[str, str]]]


@dataclass(frozen=True)
class Wanted:
    """A change that a client wants, however many attempts it takes. See history.Asked."""

    kind: str
    method: str
    path: str
    body: Any
    names: list[str]
    units: list[dict[str, int]] = field(default_factory=list)
    to: str | None = None
    delta: int = 0
    key: str | None = None
    wait: bool = False


class Load:
    """Clients at a steady rate, while it runs; told: is called with every id that was accepted."""

    def __init__(
        self, rig: Rig, history: History, seed: int, per_s: float, told: Callable[[list[str]], None]
    ) -> None:
        self.accepted_orders = 0
        self.unknown = 0
        self.server_errors: list[str] = []
        self.shed = 0
        self._rig = rig
        self._history = history
        self._seed = seed
        self._pause_s = CLIENTS / per_s
        self._told = told
        self._known: deque[str] = deque(maxlen=KNOWN_MAX)
        self._numbers = itertools.count(1)
        self._stopping = threading.Event()
        self._open = threading.Event()
        self._open.set()
        self._busy = threading.Semaphore(CLIENTS)
        self._threads: list[threading.Thread] = []

    def stock_up(self) -> None:
        """Products and their first stock; waits for each."""
        stock = {"delta": STOCK, "reason": "received"}
        with self._connection() as ask:
            for sku in SKUS:
                product = {"name": sku, "unit_price": 100, "currency": "EUR"}
                self._insist(ask, Wanted("product", "PUT", f"/v1/products/{sku}", product, [sku]))
                path = f"/v1/inventory/{sku}/adjustments"
                received = Wanted("stock", "POST", path, stock, [sku], delta=STOCK, wait=True)
                self._insist(ask, received)

    def start(self) -> None:
        """Begin; returns at once."""
        for number in range(CLIENTS):
            random = Random(f"{self._seed}-{number}")
            thread = threading.Thread(target=self._shop, args=(random,), name=f"client-{number}")
            self._threads.append(thread)
            thread.start()

    def stop(self) -> None:
        """Stop; returns when every client has its last answer."""
        self._stopping.set()
        self._open.set()
        for thread in self._threads:
            thread.join()

    @contextmanager
    def held(self) -> Iterator[None]:
        """Nobody asks for anything meanwhile; what was asked has been answered."""
        self._open.clear()
        for _ in range(CLIENTS):
            self._busy.acquire()
        self._busy.release(CLIENTS)
        try:
            yield
        finally:
            self._open.set()

    def flood(self, for_s: float) -> int:
        """Many clients more, who send batches as fast as they can; returns how often they were

        told to come again later.
        """
        before = self.shed
        ends_s = self._history.now_s() + for_s

        def send(random: Random) -> None:
            with self._connection() as ask:
                while self._history.now_s() < ends_s:
                    self._attempt(ask, self._a_batch(random, FLOOD_BATCH, keyed=False))

        threads = [
            threading.Thread(target=send, args=(Random(f"{self._seed}-flood-{n}"),))
            for n in range(FLOODERS)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return self.shed - before

    def probe(self) -> bool:
        """Whether a new order is taken and decided now."""
        wanted = self._an_order(Random(), wait=True)
        with self._connection() as ask:
            return self._attempt(ask, wanted).final is not None

    def place(self, *customers: str) -> list[str]:
        """Orders of given customers, insisted on, which nobody moves; returns their ids."""
        ids = []
        with self._connection() as ask:
            for customer in customers:
                body = {"customer_id": customer, "lines": [{"sku": SKUS[1], "quantity": 1}]}
                wanted = Wanted("order", "POST", "/v1/orders", body, [customer], [{SKUS[1]: 1}],
                                key=f"key-{customer}")  # fmt: skip
                ids += self._insist(ask, wanted).ids
        return ids

    def _shop(self, random: Random) -> None:
        with self._connection() as ask:
            self._ask_for_more(ask, random)

    def _ask_for_more(self, ask: Ask, random: Random) -> None:
        pause = threading.Event()
        while not self._stopping.is_set():
            self._open.wait()
            with self._busy:
                if not self._open.is_set():
                    continue
                self._get(ask, self._choose(random), random)
            pause.wait(random.uniform(0.5, 1.5) * self._pause_s)

    def _get(self, ask: Ask, wanted: Wanted, random: Random) -> None:
        """Ask, again while nobody knows; what was ordered may be moved from then on."""
        pause = threading.Event()
        asked = self._attempt(ask, wanted)
        for attempt in range(1, ATTEMPTS_MAX):
            if asked.told is not Told.UNKNOWN or wanted.key is None:
                break
            pause.wait(random.uniform(*ATTEMPT_PAUSE_S) * attempt)
            asked = self._attempt(ask, wanted)
        if asked.told is Told.OK and asked.kind == "order":
            self._known.extend(asked.ids)

    def _insist(self, ask: Ask, wanted: Wanted) -> Asked:
        pause = threading.Event()
        while (asked := self._attempt(ask, wanted)).told is not Told.OK:
            pause.wait(0.5)
        return asked

    def _choose(self, random: Random) -> Wanted:
        chance = random.random()
        if chance < 0.62 or not self._known:
            return self._an_order(random, wait=random.random() < 0.1)
        if chance < 0.76:
            return self._a_batch(random, random.randint(2, 20), keyed=random.random() < 0.5)
        if chance < 0.90:
            return self._a_move(random)
        if chance < 0.92:
            return self._an_order_that_is_none(random)
        if chance < 0.93:
            return self._a_product(random)
        return self._a_change_of_stock(random)

    def _an_order(self, random: Random, *, wait: bool) -> Wanted:
        customer, body, units = self._order(random)
        key = self._key(random.random() < 0.6)
        return Wanted("order", "POST", "/v1/orders", body, [customer], [units], key=key, wait=wait)

    def _an_order_that_is_none(self, random: Random) -> Wanted:
        customer, body, units = self._order(random)
        wrong = {**body, "lines": [*body["lines"], {"sku": HOT, "quantity": 0}]}
        return Wanted("order", "POST", "/v1/orders", wrong, [customer], [units])

    def _a_product(self, random: Random) -> Wanted:
        sku = random.choice(SKUS)
        product = {"name": sku, "unit_price": random.randint(1, 500), "currency": "EUR"}
        key = self._key(True)
        return Wanted("product", "PUT", f"/v1/products/{sku}", product, [sku], key=key)

    def _a_batch(self, random: Random, count: int, *, keyed: bool) -> Wanted:
        orders = [self._order(random) for _ in range(count)]
        return Wanted(
            "order", "POST", "/v1/order-batches", {"orders": [body for _, body, _ in orders]},
            [customer for customer, _, _ in orders], [units for _, _, units in orders],
            key=self._key(keyed),
        )  # fmt: skip

    def _order(self, random: Random) -> tuple[str, dict[str, Any], dict[str, int]]:
        # In any order, so that only the service's own keeps them from a deadlock.
        skus = random.sample(SKUS, random.randint(1, 4))
        if random.random() < 0.3 and HOT not in skus:
            skus[0] = HOT
        units = {sku: random.randint(1, 3) for sku in skus}
        customer = f"c-{next(self._numbers)}"
        lines = [{"sku": sku, "quantity": quantity} for sku, quantity in units.items()]
        return customer, {"customer_id": customer, "lines": lines}, units

    def _a_move(self, random: Random) -> Wanted:
        # Mostly young ones: some of them are not decided yet.
        known = self._known
        order_id = known[max(0, len(known) - 1 - int(random.expovariate(1 / 40)))]
        to = random.choice(MOVES)
        return Wanted("move", "PATCH", f"/v1/orders/{order_id}", {"status": to}, [order_id], to=to,
                      key=self._key(random.random() < 0.7))  # fmt: skip

    def _a_change_of_stock(self, random: Random) -> Wanted:
        sku = random.choice((HOT, *SKUS))
        if random.random() < 0.8:
            delta = random.randint(*RESTOCK)
            path, body = "adjustments", {"delta": delta, "reason": "received"}
        else:
            delta = -random.randint(1, 5)
            path, body = "reductions", {"quantity": -delta, "reason": "damaged"}
        return Wanted("stock", "POST", f"/v1/inventory/{sku}/{path}", body, [sku], delta=delta,
                      key=self._key(True))  # fmt: skip

    def _key(self, wanted: bool) -> str | None:
        return f"k-{self._seed}-{next(self._numbers)}" if wanted else None

    def _attempt(self, ask: Ask, wanted: Wanted) -> Asked:
        headers = {"Prefer": "wait=5"} if wanted.wait else {}
        if wanted.key is not None:
            headers["Idempotency-Key"] = wanted.key
        began_s = self._history.now_s()
        status, body, answer_headers = ask(wanted.method, wanted.path, wanted.body, headers)
        asked = Asked(
            kind=wanted.kind, began_s=began_s, ended_s=self._history.now_s(),
            told=told(status, body), status=status, names=wanted.names, units=wanted.units,
            ids=_ids(body), key=wanted.key, to=wanted.to, delta=wanted.delta,
            replayed="idempotent-replayed" in answer_headers, final=_final(status, body),
        )  # fmt: skip
        self._history.add(asked)
        self._count(asked, body)
        return asked

    def _count(self, asked: Asked, body: dict[str, Any]) -> None:
        if asked.told is Told.OK:
            # Of a change of stock that was waited for, the answer is the stock.
            self._told(asked.ids)
            if asked.kind == "order":
                self.accepted_orders += len(asked.ids)
        elif asked.told is Told.UNKNOWN:
            self.unknown += 1
        if asked.status in (429, 503):
            self.shed += 1
        elif asked.status >= 500:
            self.server_errors.append(f"{asked.status} {asked.kind}: {json.dumps(body)[:300]}")

    def _connection(self) -> AbstractContextManager[Ask]:
        return client(self._rig.port)


@contextmanager
def client(port: int) -> Iterator[Ask]:
    """A connection that is made again when it breaks; status 0: it broke, nobody knows."""
    connection = HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_S)

    def ask(
        method: str, path: str, body: Any, headers: dict[str, str]
    ) -> tuple[int, dict[str, Any], dict[str, str]]:
        sent = {
            "Authorization": f"Bearer {API_KEY}", "Content-Type": "application/json", **headers,
        }  # fmt: skip
        try:
            connection.request(method, path, json.dumps(body), sent)
            with connection.getresponse() as answer:
                found = {name.lower(): value for name, value in answer.getheaders()}
                return answer.status, json.loads(answer.read()), found
        except (OSError, HTTPException, ValueError):
            connection.close()
            return 0, {}, {}

    with closing(connection):
        yield ask


def told(status: int, body: dict[str, Any]) -> Told:
    """What an answer lets a client know. 409: it was taken, and decided against.

    503: refused, unless it says that publishing had begun.
    """
    if 200 <= status < 300 or (status == 409 and "id" in body):
        return Told.OK
    uncertain = status != 503 or str(body.get("detail", "")).startswith(UNCERTAIN)
    return Told.REFUSED if 400 <= status < 500 or not uncertain else Told.UNKNOWN


def _ids(body: dict[str, Any]) -> list[str]:
    if "orders" in body:
        return [order["id"] for order in body["orders"]]
    return [body["id"]] if "id" in body else []


def _final(status: int, body: dict[str, Any]) -> str | None:
    if status == 409:
        return "rejected"
    return str(body["status"]) if status in (200, 201) and "status" in body else None
