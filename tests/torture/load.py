"""Clients: orders by one and by the batch, moves, stock; some repeat with a key, some don't."""

import itertools
import json
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from random import Random
from typing import Any, Final

from tests.torture import chains
from tests.torture.chains import Chain
from tests.torture.clients import (
    Ask,
    Wanted,
    a_change_of_stock,
    a_move,
    a_product,
    an_order,
    asked_for,
    client,
)
from tests.torture.history import Asked, History, Told
from tests.torture.rig import Rig

#: Orders of every kind want this one, and there is never enough.
HOT: Final = "HOT"
SKUS: Final = (HOT, *(f"SKU-{n:02}" for n in range(24)))
STOCK: Final = 2_000
RESTOCK: Final = (50, 200)
CLIENTS: Final = 12
#: Clients besides who wait for no decision.
CHAINERS: Final = 4
#: Of each of them, so that one chain goes through several web processes.
CONNECTIONS: Final = 3
FLOODERS: Final = 24
FLOOD_BATCH: Final = 5
ATTEMPTS_MAX: Final = 6
ATTEMPT_PAUSE_S: Final = (0.1, 1.0)
#: Orders that moves choose from.
KNOWN_MAX: Final = 3_000
MOVES: Final = ("shipped", "shipped", "delivered", "cancelled", "returned")
#: What a later attempt may do better.
COME_AGAIN: Final = (429, 503)


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
        self._busy = threading.Semaphore(CLIENTS + CHAINERS)
        self._threads: list[threading.Thread] = []

    def stock_up(self) -> None:
        """Products and their first stock; waits for each."""
        with self._connection() as ask:
            for sku in SKUS:
                self._insist(ask, a_product(sku, 100))
                self._insist(ask, replace(a_change_of_stock(sku, STOCK), wait=True))

    def start(self) -> None:
        """Begin; returns at once."""
        for number in range(CLIENTS + CHAINERS):
            client = self._shop if number < CLIENTS else self._hurry
            random = Random(f"{self._seed}-{number}")
            thread = threading.Thread(target=client, args=(random,), name=f"client-{number}")
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
        for _ in range(CLIENTS + CHAINERS):
            self._busy.acquire()
        self._busy.release(CLIENTS + CHAINERS)
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
                ids += self._insist(ask, an_order(customer, {SKUS[1]: 1}, f"key-{customer}")).ids
        return ids

    def fire(self, *links: Chain) -> list[list[str]]:
        """Chains that a fault wants, each change insisted on; returns the ids of each chain."""
        ids: list[list[str]] = []
        with self._connection() as ask:
            for chain in links:
                ids.append([])
                for asked in chains.turns(chain, partial(self._insist, ask)):
                    ids[-1] += asked.ids
        return ids

    def _shop(self, random: Random) -> None:
        with self._connection() as ask:
            self._ask_for_more(ask, random)

    def _ask_for_more(self, ask: Ask, random: Random) -> None:
        pause = threading.Event()
        while not self._stopping.is_set():
            with self._turn():
                asked = self._get(ask, self._choose(random), random)
            if asked.told is Told.OK and asked.kind == "order":
                # From now on others may move it.
                self._known.extend(asked.ids)
            pause.wait(random.uniform(0.5, 1.5) * self._pause_s)

    def _hurry(self, random: Random) -> None:
        """Change after change without a pause, until a chain ends; as many as others in the end."""
        pause = threading.Event()
        while not self._stopping.is_set():
            changes = self._run(chains.some(random, next(self._numbers), self._seed, SKUS), random)
            pause.wait(random.uniform(0.5, 1.5) * self._pause_s * changes)

    def _run(self, chain: Chain, random: Random) -> int:
        """A chain, to its end or to what nobody knows; returns the number of changes."""
        changes = 0
        with ExitStack() as stack:
            asks = [stack.enter_context(self._connection()) for _ in range(CONNECTIONS)]

            def ask_once(wanted: Wanted) -> Asked:
                with self._turn():
                    return self._get(random.choice(asks), wanted, random, over=COME_AGAIN)

            for asked in chains.turns(chain, ask_once):
                changes += 1
                if self._stopping.is_set() or asked.told is Told.UNKNOWN:
                    break
        return changes

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """Clients may ask meanwhile."""
        while True:
            self._open.wait()
            with self._busy:
                if self._open.is_set():
                    yield
                    return

    def _get(self, ask: Ask, wanted: Wanted, random: Random, over: Sequence[int] = ()) -> Asked:
        """Ask, again while nobody knows, or while the status is one of `over`.

        Returns the last attempt; of several the unknown one, unless one was accepted.
        """
        pause = threading.Event()
        unknown = None
        for attempt in range(1, ATTEMPTS_MAX + 1):
            asked = self._attempt(ask, wanted)
            if asked.told is Told.UNKNOWN:
                unknown = asked
            if not _may_repeat(asked, over):
                break
            pause.wait(random.uniform(*ATTEMPT_PAUSE_S) * attempt)
        return asked if asked.told is Told.OK else unknown or asked

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
        customer, units = self._order(random)
        return replace(an_order(customer, units, self._key(random.random() < 0.6)), wait=wait)

    def _an_order_that_is_none(self, random: Random) -> Wanted:
        wanted = an_order(*self._order(random))
        lines = [*wanted.body["lines"], {"sku": HOT, "quantity": 0}]
        return replace(wanted, body={**wanted.body, "lines": lines})

    def _a_product(self, random: Random) -> Wanted:
        return a_product(random.choice(SKUS), random.randint(1, 500), self._key(True))

    def _a_batch(self, random: Random, count: int, *, keyed: bool) -> Wanted:
        orders = [an_order(*self._order(random)) for _ in range(count)]
        return Wanted(
            "order", "POST", "/v1/order-batches", {"orders": [order.body for order in orders]},
            [name for order in orders for name in order.names],
            [units for order in orders for units in order.units], key=self._key(keyed),
        )  # fmt: skip

    def _order(self, random: Random) -> tuple[str, dict[str, int]]:
        # In any order, so that only the service's own keeps them from a deadlock.
        skus = random.sample(SKUS, random.randint(1, 4))
        if random.random() < 0.3 and HOT not in skus:
            skus[0] = HOT
        return f"c-{next(self._numbers)}", {sku: random.randint(1, 3) for sku in skus}

    def _a_move(self, random: Random) -> Wanted:
        # Mostly young ones: some of them are not decided yet.
        known = self._known
        order_id = known[max(0, len(known) - 1 - int(random.expovariate(1 / 40)))]
        return a_move(order_id, random.choice(MOVES), self._key(random.random() < 0.7))

    def _a_change_of_stock(self, random: Random) -> Wanted:
        sku = random.choice((HOT, *SKUS))
        delta = random.randint(*RESTOCK) if random.random() < 0.8 else -random.randint(1, 5)
        return a_change_of_stock(sku, delta, self._key(True))

    def _key(self, wanted: bool) -> str | None:
        return f"k-{self._seed}-{next(self._numbers)}" if wanted else None

    def _attempt(self, ask: Ask, wanted: Wanted) -> Asked:
        began_s = self._history.now_s()
        answer = ask(wanted.method, wanted.path, wanted.body, wanted.headers())
        asked = asked_for(wanted, began_s, self._history.now_s(), answer)
        self._history.add(asked)
        self._count(asked, answer[1])
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


def _may_repeat(asked: Asked, over: Sequence[int]) -> bool:
    """Whether another attempt is the same change: with its key, or where nothing was taken."""
    if asked.told is Told.UNKNOWN:
        return asked.key is not None
    return asked.told is Told.REFUSED and asked.status in over
