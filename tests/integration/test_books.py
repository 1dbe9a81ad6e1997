"""The books always agree: random histories against a small model, on the real database."""

from collections import Counter
from dataclasses import dataclass, field
from itertools import count
from random import Random
from threading import Barrier, Thread
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from actors import inventory, moves
from actors.commands import AdjustStock, MoveOrder, PlaceOrder, PutProduct
from actors.inventory import adjust_stock, put_products
from actors.moves import move_orders
from actors.placing import place_behind, place_orders
from actors.waiting_moves import sweep
from deploy.local.servers import RabbitMQ
from models import database as db
from models.database import discard_connection
from tests.integration.workshop import (
    adjustment,
    apply,
    assert_books_agree,
    move,
    new_id,
    order,
    orders_now,
    place,
    product,
    rows,
    stock_of,
    stocked,
)

SKUS = ("A", "B", "C")
DRAWN = {
    "confirmed": {"shipped", "cancelled"},
    "shipped": {"delivered", "returned"},
    "delivered": {"returned"},
}
examples = count()


@dataclass
class Shop:
    """What should be so: one command after the other, each once."""

    on_hand: dict[str, int] = field(default_factory=dict)
    allocated: Counter[str] = field(default_factory=Counter)
    named: dict[str, str] = field(default_factory=dict)
    status: dict[str, str] = field(default_factory=dict)
    version: Counter[str] = field(default_factory=Counter)
    held: dict[str, Counter[str]] = field(default_factory=dict)
    outcomes: dict[str, str] = field(default_factory=dict)

    def take(self, command: Any) -> None:
        if command.id in self.outcomes:
            return
        deciders: dict[Any, Any] = {
            PutProduct: self._put,
            AdjustStock: self._adjust,
            PlaceOrder: self._place,
            MoveOrder: self._move,
        }
        done = deciders[type(command)](command)
        if done is not None:
            self.outcomes[command.id] = "applied" if done else "rejected"

    def _put(self, command: PutProduct) -> bool:
        self.on_hand.setdefault(command.sku, 0)
        self.named[command.sku] = command.name
        return True

    def _adjust(self, command: AdjustStock) -> bool:
        if command.sku not in self.on_hand:
            return False
        after = self.on_hand[command.sku] + command.delta
        if after < self.allocated[command.sku]:
            return False
        self.on_hand[command.sku] = after
        return True

    def _place(self, command: PlaceOrder) -> bool:
        units: Counter[str] = Counter()
        for line in command.lines:
            units[line.sku] += line.quantity
        self.version[command.id] = 1
        fits = all(n <= self.on_hand.get(sku, 0) - self.allocated[sku] for sku, n in units.items())
        self.status[command.id] = "confirmed" if fits else "rejected"
        if fits:
            self.held[command.id] = units
            self.allocated += units
        return fits

    def _move(self, command: MoveOrder) -> bool | None:
        now = self.status.get(command.order_id)
        if now is None:
            return None
        if command.if_version not in (None, self.version[command.order_id]):
            return False
        if command.to not in DRAWN.get(now, set()):
            return False
        self.status[command.order_id] = command.to
        self.version[command.order_id] += 1
        for sku, units in self.held[command.order_id].items():
            if command.to in ("shipped", "cancelled"):
                self.allocated[sku] -= units
            if command.to == "shipped":
                self.on_hand[sku] -= units
            if command.to == "returned" and command.restock:
                self.on_hand[sku] += units
        return True


class Books(RuleBasedStateMachine):
    """Batches of every kind, delivered at least once, in any order, with duplicates in them."""

    def __init__(self) -> None:
        super().__init__()
        self.shop = Shop()
        self.prefix = f"x{next(examples)}-"
        self.sent: list[tuple[Any, list[Any]]] = []
        self.order_ids: list[str] = []

    def deliver(self, actor: Any, commands: list[Any]) -> None:
        apply(actor, *commands)
        for command in commands:
            self.shop.take(command)

    def send(self, actor: Any, commands: list[Any]) -> None:
        self.sent.append((actor, commands))
        self.deliver(actor, commands)

    @initialize(units=st.lists(st.integers(0, 20), min_size=2, max_size=2))
    def open_with_some_stock(self, units: list[int]) -> None:
        skus = [self.prefix + sku for sku in SKUS]
        self.send(put_products, [product(sku) for sku in skus[:2]])
        self.send(adjust_stock, [adjustment(s, n) for s, n in zip(skus, units, strict=False)])

    @rule(
        wanted=st.lists(
            st.tuples(st.sampled_from(SKUS), st.text("xyz", min_size=1, max_size=3)),
            min_size=1,
            max_size=3,
        )
    )
    def put(self, wanted: list[tuple[str, str]]) -> None:
        self.send(put_products, [product(self.prefix + sku, name=name) for sku, name in wanted])

    @rule(
        wanted=st.lists(
            st.tuples(st.sampled_from(SKUS), st.integers(-8, 8)), min_size=1, max_size=4
        )
    )
    def adjust(self, wanted: list[tuple[str, int]]) -> None:
        self.send(adjust_stock, [adjustment(self.prefix + sku, n) for sku, n in wanted])

    @rule(
        wanted=st.lists(
            st.lists(st.tuples(st.sampled_from(SKUS), st.integers(1, 5)), min_size=1, max_size=3),
            min_size=1,
            max_size=4,
        )
    )
    def place(self, wanted: list[list[tuple[str, int]]]) -> None:
        placed = [order(*((self.prefix + sku, n) for sku, n in lines)) for lines in wanted]
        self.order_ids += [each.id for each in placed]
        # For good, whenever its products were put.
        self.send(place_behind, placed)

    @rule(wanted=st.lists(
        st.tuples(
            st.integers(0, 50),
            st.sampled_from(["shipped", "cancelled", "delivered", "returned"]),
            st.none() | st.integers(1, 3),
            st.booleans(),
        ), min_size=1, max_size=5))  # fmt: skip
    def move(self, wanted: list[tuple[int, str, int | None, bool]]) -> None:
        if self.order_ids:
            self.send(move_orders, [
                move(self.order_ids[-1 - n % len(self.order_ids)], to, if_version=version,
                     restock=restock)
                for n, to, version, restock in wanted
            ])  # fmt: skip

    @rule()
    def move_an_order_that_was_never_accepted(self) -> None:
        lonely = move(new_id(), "shipped")
        apply(move_orders, lonely)
        db.execute(
            "UPDATE waiting_moves SET since = now() - interval '31 days' WHERE command_id = %s",
            (lonely.id,),
        )
        sweep()
        self.shop.outcomes[lonely.id] = "rejected"

    @rule(which=st.integers(0, 1_000), seed=st.integers(0, 1_000))
    def deliver_again(self, which: int, seed: int) -> None:
        """An earlier batch, torn, shuffled and with duplicates, beside a batch of its kind."""
        if not self.sent:
            return
        actor, commands = self.sent[which % len(self.sent)]
        again = commands * 2
        Random(seed).shuffle(again)
        self.deliver(actor, again[: 1 + seed % len(again)])

    @rule(wanted=st.lists(st.sampled_from(SKUS), min_size=1, max_size=3))
    def deliver_one_batch_with_each_command_twice(self, wanted: list[str]) -> None:
        names = "pqrs"
        commands = [
            product(self.prefix + sku, name=names[n]) for n, sku in enumerate([*wanted, wanted[0]])
        ]
        self.send(put_products, commands + commands[:-1])

    @invariant()
    def stock_is_as_it_should_be(self) -> None:
        found = rows(
            "SELECT sku, on_hand, allocated, name FROM stock JOIN products USING (sku)"
            " WHERE sku LIKE %s", self.prefix + "%"
        )  # fmt: skip
        assert {row[0]: row[1:] for row in found} == {
            sku: (units, self.shop.allocated[sku], self.shop.named[sku])
            for sku, units in self.shop.on_hand.items()
        }
        assert all(0 <= allocated <= on_hand for _, on_hand, allocated, _ in found)

    @invariant()
    def the_ledger_adds_up(self) -> None:
        assert_books_agree()

    @invariant()
    def each_command_has_one_outcome_and_each_order_its_status(self) -> None:
        known = list(self.shop.outcomes)
        found = dict(
            rows("SELECT id::text, status FROM commands WHERE id = ANY (%s::uuid[])", known)
        )
        assert found == self.shop.outcomes
        placed = rows(
            "SELECT id::text, status, version FROM orders WHERE id = ANY (%s::uuid[])",
            self.order_ids,
        )
        assert sorted(placed) == sorted(
            (id_, status, self.shop.version[id_]) for id_, status in self.shop.status.items()
        )

    @invariant()
    def each_timeline_counts_up_by_one_and_ends_where_the_order_is(self) -> None:
        wrong = rows("""
            SELECT o.id FROM orders AS o JOIN order_events AS e
                ON e.placed_at = o.placed_at AND e.order_id = o.id
            GROUP BY o.id, o.version, o.status
            HAVING array_agg(e.sequence ORDER BY e.sequence)
                   <> ARRAY(SELECT generate_series(1, o.version))
                OR (array_agg(e.type ORDER BY e.sequence DESC))[1] <> 'order.' || o.status
        """)
        assert wrong == []


def test_any_history_leaves_books_that_agree(database: None, rabbitmq: RabbitMQ) -> None:
    run_state_machine_as_test(
        Books,
        settings=settings(
            max_examples=25,
            stateful_step_count=25,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


def in_threads(number: int, run: Any) -> None:
    """Run it in so many threads, all beginning at once; raises what one of them raised."""
    begin, errors = Barrier(number), []

    def one(n: int) -> None:
        try:
            rows("SELECT 'connected'")
            begin.wait(60)
            run(n)
        except Exception as error:
            errors.append(error)
        finally:
            discard_connection()

    threads = [Thread(target=one, args=(n,)) for n in range(number)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    if errors:
        raise errors[0]


def test_transactions_of_many_processes_at_once_never_oversell(database: None) -> None:
    # Given a hot SKU, and orders that name it in different orders with others
    stocked("HOT", 60)
    stocked("MILD", 1_000)
    both = [[("HOT", 1), ("MILD", 1)], [("MILD", 1), ("HOT", 1)]]
    batches = [[order(*both[n % 2]) for n in range(2)] for _ in range(60)]

    # When they are decided in transactions of their own at the same time, some of them twice
    def run(n: int) -> None:
        for batch in (*batches[n::12], *batches[n - 1 :: 12]):
            place(batch)

    in_threads(12, run)

    # Then exactly the stock is sold
    placed = [each for batch in batches for each in batch]
    assert orders_now(placed).count("confirmed") == 60
    assert orders_now(placed).count("rejected") == 60
    assert stock_of("HOT") == (60, 60)
    assert_books_agree()


def test_of_many_cancellations_at_once_one_releases_the_stock(database: None) -> None:
    stocked("A", 10)
    placed = order(("A", 4))
    apply(place_orders, placed)
    cancellations = [move(placed.id, "cancelled") for _ in range(12)]

    in_threads(12, lambda n: moves._apply([cancellations[n]]))

    found = rows("SELECT status, count(*) FROM commands WHERE kind = 'move_order' GROUP BY 1")
    assert dict(found) == {"applied": 1, "rejected": 11}
    assert stock_of("A") == (10, 0)
    assert_books_agree()


def test_orders_moves_and_adjustments_at_once_leave_books_that_agree(database: None) -> None:
    stocked("A", 200)
    stocked("B", 200)
    placed = [order(("A", 1), ("B", 2)) for _ in range(40)]
    apply(place_orders, *placed)

    def run(n: int) -> None:
        if n % 3 == 0:
            place([order(("B", 1), ("A", 3)) for _ in range(5)])
        elif n % 3 == 1:
            mine = placed[n::12]
            moves._apply([move(each.id, "shipped") for each in mine])
            moves._apply([move(each.id, "returned") for each in reversed(mine)])
        else:
            inventory._adjust([adjustment(sku, -1) for sku in ("B", "A", "B")])

    in_threads(12, run)

    assert_books_agree()


def test_stock_is_the_sum_of_the_ledger_in_every_snapshot_while_orders_are_placed(
    database: None,
) -> None:
    stocked("A", 500)

    def run(n: int) -> None:
        for _ in range(10):
            if n:
                place([order(("A", 1)) for _ in range(5)])
            else:
                assert_books_agree()

    in_threads(4, run)


@pytest.mark.parametrize("seed", range(3))
def test_splitting_batches_and_delivering_them_twice_changes_nothing(
    database: None, seed: int
) -> None:
    """The same commands: one batch, or single ones with duplicates, decide alike."""
    random = Random(seed)
    lines = [[(random.choice("AB"), random.randint(1, 4)) for _ in range(2)] for _ in range(20)]
    results = []
    for way in ("whole", "split"):
        skus = {sku: f"{way}-{sku}" for sku in "AB"}
        for sku in skus.values():
            stocked(sku, 25)
        placed = [order(*((skus[sku], n) for sku, n in each)) for each in lines]
        if way == "whole":
            apply(place_orders, *placed)
        else:
            for each in placed:
                apply(place_orders, each, each)
                apply(place_orders, each)
        results.append((orders_now(placed), [stock_of(sku) for sku in skus.values()]))

    assert results[0] == results[1]
