"""Orders of a product that is being set up: decided behind its changes, once, whatever happens."""

import msgspec
import pytest
from dramatiq.errors import ConnectionClosed

from actors import dead_letters as letters
from actors.inventory import adjust_stock, put_products
from actors.placing import place_behind, place_orders
from models import database as db
from models.queries import reads
from tests.conftest import eventually
from tests.integration.workshop import (
    Workshop,
    adjustment,
    apply,
    assert_books_agree,
    dead_letters,
    for_actor,
    order,
    orders_now,
    outcomes,
    product,
    put_back,
    rows,
    stock_of,
    stocked,
)

ORDERS, SKUS = place_orders.queue_name, place_behind.queue_name


def problem_types() -> list[str]:
    return [type_ for (type_,) in rows("SELECT problem ->> 'type' FROM commands ORDER BY id")]


def test_an_order_of_a_product_on_its_way_waits_behind_it(workshop: Workshop) -> None:
    # Given an order whose product and stock are accepted and not decided
    stocked("B", 5)
    early, neighbour = order(("A", 3)), order(("B", 1))
    workshop.broker.enqueue(for_actor(put_products, product("A")))
    workshop.broker.enqueue(for_actor(adjust_stock, adjustment("A", 3)))
    workshop.broker.enqueue(for_actor(place_orders, early, neighbour))

    # When a worker comes to it that takes orders only
    workshop.start(ORDERS)

    # Then its neighbour is decided, and it waits behind the two
    eventually(lambda: outcomes([early, neighbour]) == [None, "applied"])
    eventually(lambda: workshop.messages_in(SKUS) == 3)
    workshop.eventually_empty(ORDERS)
    assert orders_now([early, neighbour]) == [None, "confirmed"]

    # and once all are taken, it is confirmed
    workshop.start(SKUS)
    eventually(lambda: orders_now([early]) == ["confirmed"])
    assert stock_of("A") == (3, 3)
    workshop.eventually_empty(ORDERS, SKUS)
    assert_books_agree()


def test_so_does_one_whose_stock_is_on_its_way(workshop: Workshop) -> None:
    apply(put_products, product("A"))
    early = order(("A", 3))
    workshop.broker.enqueue(for_actor(adjust_stock, adjustment("A", 3)))
    workshop.broker.enqueue(for_actor(place_orders, early))
    workshop.start(ORDERS)
    eventually(lambda: workshop.messages_in(SKUS) == 2)

    workshop.start(SKUS)

    eventually(lambda: orders_now([early]) == ["confirmed"])


def test_the_second_decision_is_for_good(workshop: Workshop) -> None:
    apply(put_products, product("A"))
    unknown, short = order(("NOT-A-SKU", 1)), order(("A", 1))
    workshop.broker.enqueue(for_actor(place_orders, unknown, short))

    workshop.start(ORDERS, SKUS)

    eventually(lambda: orders_now([unknown, short]) == ["rejected"] * 2)
    assert {"/problems/unknown-sku", "/problems/insufficient-stock"} < set(problem_types())
    workshop.eventually_empty(ORDERS, SKUS)


def test_want_of_stock_of_an_established_product_is_refused_at_once(workshop: Workshop) -> None:
    stocked("A", 1)
    short = order(("A", 2))
    workshop.broker.enqueue(for_actor(place_orders, short))

    workshop.start(ORDERS)

    eventually(lambda: orders_now([short]) == ["rejected"])
    assert workshop.messages_in(SKUS) <= 0


def test_copies_of_its_message_are_one_order(workshop: Workshop) -> None:
    early = order(("A", 3))
    for _ in range(3):
        workshop.broker.enqueue(for_actor(place_orders, early))
    workshop.start(ORDERS)
    eventually(lambda: workshop.messages_in(SKUS) == 3)

    stocked("A", 9)
    workshop.broker.enqueue(for_actor(place_orders, early))
    workshop.start(SKUS)

    eventually(lambda: orders_now([early]) == ["confirmed"])
    workshop.eventually_empty(ORDERS, SKUS)
    assert stock_of("A") == (9, 3)
    assert_books_agree()


def test_while_there_is_no_room_behind_the_order_comes_again(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a queue of changes that is full
    small = workshop.new_broker(queue_length_max=2)
    monkeypatch.setattr("actors.placing.broker", small)
    small.enqueue(for_actor(put_products, product("A")))
    small.enqueue(for_actor(adjust_stock, adjustment("A", 3)))
    with pytest.raises(ConnectionClosed):
        for _ in range(20):
            small.enqueue(for_actor(put_products, product("C")))
    early, neighbour = order(("A", 3)), order(("B", 1))
    stocked("B", 5)
    small.enqueue(for_actor(place_orders, early, neighbour))

    # When a worker comes to an order that has to go there
    workshop.start(ORDERS, broker=small)

    # Then it fails, and its neighbour is decided all the same
    eventually(lambda: rows("SELECT 1 FROM undecided WHERE command_id = %s", early.id))
    assert orders_now([early, neighbour]) == [None, "confirmed"]

    # and it is decided once there is room
    workshop.start(SKUS, broker=small)
    eventually(lambda: orders_now([early]) == ["confirmed"])
    assert dead_letters() == []
    assert_books_agree()


def test_a_failure_that_is_put_back_stays_pending_until_it_is_decided_behind(
    workshop: Workshop,
) -> None:
    # Given an order that failed, and is put back while its product is on its way
    failed = order(("A", 3))
    letters.record(for_actor(place_orders, failed), ValueError("a bug"), "")
    ((letter,),) = rows("SELECT id FROM dead_letters")
    put_back(letter)

    workshop.start(ORDERS)

    eventually(lambda: workshop.messages_in(SKUS) == 1)
    workshop.eventually_empty(ORDERS)
    assert outcomes([failed]) == ["pending"]

    # When product and stock have come
    stocked("A", 3)
    workshop.start(SKUS)

    # Then it is decided anew
    eventually(lambda: orders_now([failed]) == ["confirmed"])
    types = [type_ for _, type_, _, _ in reads.events(failed.id)]
    assert types == ["order.failed", "order.confirmed"]
    assert_books_agree()


def test_one_that_fails_behind_is_on_record_and_goes_there_again(workshop: Workshop) -> None:
    stocked("A", 3)
    cursed = msgspec.structs.replace(order(("A", 3)), customer_id="cursed")
    db.execute("ALTER TABLE orders ADD CONSTRAINT curse CHECK (customer_id <> 'cursed')")
    try:
        workshop.broker.enqueue(for_actor(place_behind, cursed, retries=5))
        workshop.start(SKUS)
        ((queue, actor, *_),) = eventually(dead_letters)
    finally:
        db.execute("ALTER TABLE orders DROP CONSTRAINT curse")
    assert (queue, actor) == (SKUS, place_behind.actor_name)
    assert outcomes([cursed]) == ["failed"]

    ((letter,),) = rows("SELECT id FROM dead_letters")
    put_back(letter)

    eventually(lambda: orders_now([cursed]) == ["confirmed"])
    assert stock_of("A") == (3, 3)
