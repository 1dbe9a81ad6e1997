"""The torture's check of P7b: it has to see what is out of turn, and nothing else."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.torture.history import Asked, Told
from tests.torture.in_turn import out_of_turn
from tests.torture.world import CommandRow, OrderRow, World

BEGAN = datetime(2026, 1, 1, tzinfo=UTC)


class Chain:
    """A chain as its client saw it, and what became of its changes."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self.commands: dict[str, CommandRow] = {}
        self.moved_at: dict[str, datetime] = {}

    def add(self, kind: str, came: str, told: Told = Told.OK, **rest: Any) -> str:
        """The next change and its outcome; returns its id."""
        number = len(self.asked) + 1
        id_ = f"{kind}-{number}"
        self.asked.append(
            Asked(kind, number, number + 0.5, told, 202, ["order-1" if kind == "move" else "SKU"],
                  ids=[id_] if told is Told.OK else [], chain="chain", **rest)
        )  # fmt: skip
        status = came if came in ("applied", "failed", "pending") else "rejected"
        self.commands[id_] = CommandRow(kind, status, None, None if status == came else came)
        return id_

    def complaints(
        self, events: tuple[str, ...] = (), price: int = 0, put_back: tuple[str, ...] = ()
    ) -> list[str]:
        orders = {
            asked.ids[0]: OrderRow(asked.ids[0], "c", events[-1], len(events), [*events], {})
            for asked in self.asked
            if asked.kind == "order"
        }
        world = World(
            self.asked, [], [], [], orders, self.commands, [], [], {"SKU": price}, self.moved_at,
            set(put_back),
        )  # fmt: skip
        return list(out_of_turn(world))


@pytest.fixture
def chain() -> Chain:
    return Chain()


def test_moves_in_turn_are_fine_and_so_is_what_has_to_be_refused(chain: Chain) -> None:
    chain.add("order", "applied")
    chain.add("move", "applied", to="shipped", if_version=[1])
    chain.add("move", "precondition-failed", to="delivered", if_version=[1])
    chain.add("move", "illegal-transition", to="cancelled")

    assert chain.complaints(("confirmed", "shipped")) == []


@pytest.mark.parametrize(
    ("shipped", "delivered", "events"),
    [
        ("applied", "illegal-transition", ("confirmed", "shipped")),
        ("unknown-order", "unknown-order", ("confirmed",)),
        ("applied", "superseded", ("confirmed", "shipped")),
    ],
)
def test_a_move_that_was_lost_to_another_is_not(
    chain: Chain, shipped: str, delivered: str, events: tuple[str, ...]
) -> None:
    chain.add("order", "applied")
    chain.add("move", shipped, to="shipped")
    chain.add("move", delivered, to="delivered")

    assert chain.complaints(events) != []


def test_a_move_that_is_put_back_after_a_later_one_has_to_be_superseded(chain: Chain) -> None:
    chain.add("order", "applied")
    chain.add("move", "applied", to="shipped")
    returned = chain.add("move", "superseded", to="returned")
    chain.add("move", "applied", to="delivered")
    assert chain.complaints(("confirmed", "shipped", "delivered"), put_back=(returned,)) == []

    chain.commands[returned] = CommandRow("move", "applied", None)
    everything = ("confirmed", "shipped", "delivered", "returned")
    assert chain.complaints(everything, put_back=(returned,)) != []


def test_what_nobody_knows_may_have_happened_or_not(chain: Chain) -> None:
    chain.add("order", "applied")
    chain.add("move", "pending", told=Told.UNKNOWN, to="cancelled")

    assert chain.complaints(("confirmed",)) == []
    assert chain.complaints(("confirmed", "cancelled")) == []
    assert chain.complaints(("confirmed", "shipped")) != []


def test_a_product_is_the_last_one_that_was_put(chain: Chain) -> None:
    chain.add("product", "applied", price=1)
    chain.add("product", "applied", price=2)

    assert chain.complaints(price=2) == []
    assert chain.complaints(price=1) != []


def test_a_product_that_is_put_back_has_to_be_superseded(chain: Chain) -> None:
    put_back = (chain.add("product", "superseded", price=1),)
    last = chain.add("product", "applied", price=2)
    assert chain.complaints(price=2, put_back=put_back) == []
    assert chain.complaints(price=1, put_back=put_back) != []
    assert chain.complaints(price=2) != []

    # The only one there is takes effect, however late.
    chain.commands[last] = CommandRow("product", "failed", None)
    chain.commands[put_back[0]] = CommandRow("product", "applied", None)
    assert chain.complaints(price=1, put_back=put_back) == []


def test_stock_and_orders_of_a_new_sku_are_never_unknown(chain: Chain) -> None:
    chain.add("product", "applied", price=1)
    chain.add("stock", "applied", delta=5)
    chain.add("order", "applied")
    assert chain.complaints(("confirmed",), price=1) == []
    assert chain.complaints(("rejected",), price=1) != []

    chain.commands["stock-2"] = CommandRow("stock", "rejected", None, "unknown-sku")
    assert chain.complaints(("confirmed",), price=1) != []


def test_a_ledger_in_another_order_is_seen(chain: Chain) -> None:
    chain.add("product", "applied", price=1)
    first, second = (chain.add("stock", "applied", delta=delta) for delta in (5, -5))
    chain.moved_at = {first: BEGAN, second: BEGAN}
    assert chain.complaints(price=1) == []

    chain.moved_at = {first: BEGAN + timedelta(milliseconds=1), second: BEGAN}
    assert chain.complaints(price=1) != []
