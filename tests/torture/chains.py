"""Clients that wait for no decision: each change is sent as soon as the one before was accepted.

A chain has an order, or a SKU, to itself: what has to come of it follows from its changes alone, as
they were accepted one after the other. in_turn.py holds it to that.
"""

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import count
from random import Random
from typing import Final

from tests.torture.clients import Wanted, a_change_of_stock, a_move, a_product, an_order
from tests.torture.history import Asked, Told

#: Yields a change, is sent what became of asking for it, yields the next one.
Chain = Generator[Wanted, Asked, None]

#: Moves of an order, by turns; some of them have to be refused.
COURSES: Final = (
    ("shipped", "delivered"),
    ("shipped", "delivered", "returned"),
    ("shipped", "returned", "delivered"),
    ("cancelled", "shipped"),
    ("shipped", "cancelled", "delivered", "shipped"),
)
#: What a client may know of its order's version, and may not.
VERSIONS: Final = ([1], [2], [1, 2])
#: Units of the orders of a new SKU. They take all there are; orders are not decided in turn, so the
#: second one wants more than the first one's.
UNITS: Final = ((1, 10), (11, 20))
#: More than there are without the restock before it: taken off sooner, it would be refused.
RESTOCK: Final = 100
#: How many of the changes have an idempotency key.
KEYED: Final = 0.8


def turns(chain: Chain, ask: Callable[[Wanted], Asked]) -> Iterator[Asked]:
    """Ask for the changes of a chain, one after the other."""
    with suppress(StopIteration):
        wanted = next(chain)
        while True:
            asked = ask(wanted)
            yield asked
            wanted = chain.send(asked)


def some(random: Random, number: int, seed: int, skus: Sequence[str]) -> Chain:
    """A chain of one kind or the other. number: of this chain; skus: known ones, with stock."""
    if random.random() < 0.5:
        chain = of_an_order(random, f"chain-{number}", random.choice(skus))
    else:
        chain = of_a_sku(random, f"NEW-{number}", f"chain-{number}")
    return named(chain, f"chain-{seed}-{number}", lambda: random.random() < KEYED)


def of_an_order(random: Random, customer: str, sku: str) -> Chain:
    """An order and moves of it, some with conditions."""
    placed = yield an_order(customer, {sku: 1})
    if placed.told is not Told.OK:
        return
    for to in random.choice(COURSES):
        versions = random.choice(VERSIONS) if random.random() < 0.25 else None
        yield a_move(placed.ids[0], to, if_version=versions)


def of_a_sku(random: Random, sku: str, customer: str) -> Chain:
    """A SKU that is new: its product, its stock, orders of it, prices and restocks."""
    price = 1
    yield a_product(sku, price)
    for number, between in enumerate(UNITS, start=1):
        units = random.randint(*between)
        yield a_change_of_stock(sku, units)
        yield an_order(f"{customer}-{number}", {sku: units})
    for _ in range(random.randint(2, 4)):
        if random.random() < 0.5:
            price += 1
            yield a_product(sku, price)
        else:
            yield a_change_of_stock(sku, RESTOCK)
            yield a_change_of_stock(sku, -RESTOCK)
    yield a_product(sku, price + 1)


def named(chain: Chain, name: str, keyed: Callable[[], bool] = lambda: True) -> Chain:
    """A chain with a name, and keys where `keyed` says so. It ends where one of its changes was
    not accepted that others rest on."""
    with suppress(StopIteration):
        wanted = next(chain)
        for number in count(1):
            key = f"{name}-{number}" if keyed() else None
            asked = yield replace(wanted, chain=name, key=key)
            if asked.told is not Told.OK and asked.kind != "move":
                return
            wanted = chain.send(asked)
