"""A PUT that comes to be decided after one that was accepted later does not replace it."""

from datetime import datetime, timedelta
from typing import Any

import msgspec

from actors import dead_letters as letters
from actors.commands import Command, PutProduct
from actors.inventory import put_products
from models.database import execute
from tests.conftest import eventually
from tests.integration.workshop import (
    Workshop,
    apply,
    for_actor,
    now,
    outcomes,
    product,
    put_back,
    rows,
)


def priced(unit_price: int, at: datetime, sku: str = "A") -> PutProduct:
    return msgspec.structs.replace(product(sku, unit_price), at=at)


def price_of(sku: str) -> int:
    ((unit_price,),) = rows("SELECT unit_price FROM products WHERE sku = %s", sku)
    return int(unit_price)


def problem_of(command: Command) -> dict[str, Any]:
    ((problem,),) = rows("SELECT problem FROM commands WHERE id = %s", command.id)
    return dict(problem)


def test_an_older_put_is_superseded_and_says_by_what(database: None) -> None:
    began = now()
    older, newer = priced(1, began), priced(2, began + timedelta(microseconds=1))
    apply(put_products, newer)

    apply(put_products, older)

    assert outcomes([older, newer]) == ["rejected", "applied"]
    assert price_of("A") == 2
    problem = problem_of(older)
    assert (problem["type"], problem["superseded_by"]) == ("/problems/superseded", newer.id)


def test_of_one_group_the_last_in_order_stays(database: None) -> None:
    began = now()
    first, second, third = (priced(n, began + timedelta(microseconds=n)) for n in (1, 2, 3))
    other = priced(9, began, "B")
    # In the order in which they were accepted, but for one that comes late.
    apply(put_products, first, third, second, other)

    assert outcomes([first, third, second, other]) == ["applied", "applied", "rejected", "applied"]
    assert problem_of(second)["superseded_by"] == third.id
    assert (price_of("A"), price_of("B")) == (3, 9)


def test_at_the_same_time_the_one_that_came_last_stays(database: None) -> None:
    began = now()
    puts = [priced(n, began) for n in (3, 1, 2)]
    apply(put_products, *puts[:2])
    apply(put_products, puts[2])

    assert outcomes(puts) == ["applied"] * 3
    assert price_of("A") == 2


def test_a_put_that_comes_again_changes_nothing(database: None) -> None:
    first = product("A", 1)
    apply(put_products, first)
    apply(put_products, product("A", 2))

    apply(put_products, first)

    assert outcomes([first]) == ["applied"]
    assert price_of("A") == 2


def test_what_was_put_before_times_were_kept_is_older_than_everything(database: None) -> None:
    apply(put_products, product("A", 1))
    execute("UPDATE products SET accepted_at = NULL, writer = NULL")
    put = priced(2, now() - timedelta(days=3))

    apply(put_products, put)

    assert outcomes([put]) == ["applied"]
    assert price_of("A") == 2


def test_a_clock_that_was_ahead_refuses_nothing_later(database: None) -> None:
    apply(put_products, priced(1, now() + timedelta(hours=12)))
    put = product("A", 2)

    apply(put_products, put)

    assert outcomes([put]) == ["applied"]
    assert price_of("A") == 2


def test_a_put_that_is_put_back_after_a_newer_one_is_superseded(workshop: Workshop) -> None:
    # Given a PUT that failed, and one that came after it
    failed = product("A", 1)
    letters.record(for_actor(put_products, failed), ValueError("a bug"), "")
    newer = product("A", 2)
    apply(put_products, newer)

    # When an operator puts it back
    ((letter,),) = rows("SELECT id FROM dead_letters")
    put_back(letter)
    workshop.start(put_products.queue_name)

    # Then it is decided, and the newer one stays
    eventually(lambda: outcomes([failed]) == ["rejected"])
    assert problem_of(failed)["superseded_by"] == newer.id
    assert price_of("A") == 2
    workshop.eventually_empty(put_products.queue_name)
