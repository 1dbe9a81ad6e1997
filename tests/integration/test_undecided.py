"""Orders that were accepted and can not be decided: listed with the reason while they are not."""

from typing import Any

import msgspec
import pytest
from dramatiq.broker import MessageProxy

from actors import dead_letters
from actors import undecided as record
from actors.moves import move_orders
from actors.placing import place_orders
from models import database as db
from models.queries import dead_letters as queries
from models.queries import undecided
from tests.conftest import eventually
from tests.integration.test_failures import with_bug
from tests.integration.workshop import (
    Workshop,
    apply,
    for_actor,
    move,
    new_id,
    order,
    orders_now,
    rows,
    stocked,
)

#: No encoding but UTF-8 has all of it, and no text of PostgreSQL the last two.
CUSTOMER = 'Zoë "✓" \\ \x00\udc80'


def placed_by(customer: str, *lines: tuple[str, int]) -> Any:
    return msgspec.structs.replace(order(*lines), customer_id=customer)


def test_an_order_whose_attempts_fail_is_listed_until_it_is_decided(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    stocked("A", 5)
    stocked("B", 0)
    # Given an order whose first attempts fail
    attempts = with_bug(monkeypatch, times=3)
    failing, other = placed_by("Zoë", ("A", 2), ("B", 1)), placed_by("Ada", ("A", 1))
    workshop.broker.enqueue(for_actor(place_orders, failing))
    workshop.start(place_orders.queue_name)

    # Then it is listed, with what it is and what stops it
    (listed,) = eventually(lambda: undecided.page(customer_id="Zoë", limit=10))
    assert (listed.command_id, listed.kind, listed.queue) == (
        failing.id, "place_order", place_orders.queue_name,
    )  # fmt: skip
    assert (listed.customer_id, listed.skus, listed.target) == ("Zoë", ["A", "B"], None)
    assert listed.accepted_at == failing.at
    assert (listed.error_class, listed.error) == ("ZeroDivisionError", "a bug")
    assert undecided.page(customer_id="Ada", limit=10) == []
    body = undecided.bodies([failing.id])[failing.id]
    assert msgspec.json.decode(body, type=type(failing)) == failing

    # and once it is decided, no more; one that never failed never was
    eventually(lambda: orders_now([failing]) == ["rejected"])
    workshop.broker.enqueue(for_actor(place_orders, other))
    eventually(lambda: orders_now([other]) == ["confirmed"])
    assert undecided.page(limit=10) == []
    assert rows("SELECT command_id::text, attempts FROM undecided") == [(failing.id, 3)]
    assert len(attempts) >= 4
    # The clock removes it.
    assert undecided.forget_old() == 1
    assert rows("SELECT FROM undecided") == []


@pytest.mark.parametrize("encoding", ["SQL_ASCII", "LATIN1", "UTF8"])
def test_the_record_needs_no_encoding_of_what_failed(database: None, encoding: str) -> None:
    failing = placed_by(CUSTOMER, ("A", 2))
    message = for_actor(place_orders)
    message.kwargs["commands"] = msgspec.Raw(
        msgspec.json.encode([msgspec.structs.replace(failing, customer_id="?")]).replace(
            b'"?"', b'"Zo\\u00eb \\"\\u2713\\" \\\\ \\u0000\\udc80"'
        )
    )
    db.database.connection().set_client_encoding(encoding)

    assert record.note(message, UnicodeEncodeError("ascii", CUSTOMER, 2, 3, "no ë here"))

    (listed,) = undecided.page(customer_id=CUSTOMER, limit=10)
    assert (listed.command_id, listed.customer_id) == (failing.id, CUSTOMER)
    assert "no ë here" in listed.error
    assert undecided.bodies([failing.id])[failing.id].isascii()


def test_a_record_that_is_refused_for_what_is_in_it_is_made_without_it(database: None) -> None:
    failing = placed_by("Zoë", ("A", 2))
    db.execute("ALTER TABLE undecided ADD CONSTRAINT curse CHECK (customer_id IS NULL)")
    try:
        assert record.note(for_actor(place_orders, failing), ValueError("a bug"))
    finally:
        db.execute("ALTER TABLE undecided DROP CONSTRAINT curse")

    (listed,) = undecided.page(command_ids=[failing.id], limit=10)
    assert (listed.customer_id, listed.skus, listed.error) == (None, [], "a bug")
    assert undecided.bodies([failing.id]) == {}


def test_what_no_record_can_be_made_of_is_no_error(database: None) -> None:
    db.execute("ALTER TABLE undecided ADD CONSTRAINT curse CHECK (attempts < 0)")
    try:
        assert not record.note(for_actor(place_orders, order(("A", 1))), ValueError("a bug"))
    finally:
        db.execute("ALTER TABLE undecided DROP CONSTRAINT curse")
    # Nor is what has no id, or is no command at all.
    assert record.note(for_actor(place_orders, {"id": 5}, [], "x"), ValueError("a bug"))


def test_a_record_shows_one_line_of_an_error_and_no_secret(database: None) -> None:
    error = ValueError("no such host in postgresql://shop:hunter2hunter@db/x\nCONTEXT: a function")

    record.note(for_actor(place_orders, order(("A", 1))), error)

    (listed,) = undecided.page(limit=10)
    assert listed.error == "no such host in postgresql://shop:[redacted]@db/x"


def test_a_move_that_waits_for_its_order_is_not_what_attempts_fail_at(database: None) -> None:
    # Given a move that met faults before it came to wait
    early = move(new_id(), "shipped")
    record.note(for_actor(move_orders, early), ValueError("the database is short of memory"))
    assert len(undecided.page(limit=10)) == 1

    apply(move_orders, early)

    assert undecided.page(limit=10) == []
    assert undecided.figures() == {}


def test_pages_and_figures(database: None) -> None:
    placed = [placed_by(f"c-{n}", ("A", 1)) for n in range(5)]
    record.note(for_actor(place_orders, *placed), ValueError("a bug"))
    db.execute(
        "UPDATE undecided SET first_at = now() - interval '2 minutes' WHERE command_id = %s",
        (placed[0].id,),
    )

    first = undecided.page(limit=2)
    rest = undecided.page(after=(first[-1].accepted_at, first[-1].command_id), limit=10)

    assert [each.command_id for each in first + rest] == [each.id for each in reversed(placed)]
    figures = undecided.figures(overdue_s=60)["place_orders"]
    assert (figures.commands, figures.overdue) == (5, 1)
    assert figures.oldest_s >= 120


def test_an_order_that_was_put_back_is_not_overdue_for_what_it_went_through_before(
    database: None,
) -> None:
    # Given a failure on record after attempts of many minutes
    failed = placed_by("Zoë", ("A", 1))
    message: Any = MessageProxy(for_actor(place_orders, failed))
    record.note(message, ValueError("a bug"))
    db.execute("UPDATE undecided SET attempts = 9, first_at = now() - interval '9 minutes'")
    dead_letters.record(message, ValueError("a bug"), "")
    assert undecided.figures() == {}

    # When an operator puts it back
    ((letter,),) = rows("SELECT id FROM dead_letters")
    with db.transaction():
        queries.settle_as_retried([letter], new_id())

    # Then its attempts begin anew
    figures = undecided.figures()["place_orders"]
    assert (figures.commands, figures.overdue) == (1, 0)
    assert figures.oldest_s < 60
    (listed,) = undecided.page(limit=10)
    assert (listed.attempts, listed.error_class) == (0, undecided.WAITS)
    assert listed.customer_id == "Zoë"
