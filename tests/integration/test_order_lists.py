"""Lists of orders: changes in the order they were made, and orders that are not decided yet."""

from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import msgspec
import peewee
import psycopg2
from playhouse.migrations import Runner

from actors import dead_letters
from actors import undecided as record
from actors.moves import move_orders
from actors.placing import place_orders
from config import settings
from deploy.local.servers import Postgres
from models import database as db
from models.migrate import MIGRATIONS
from models.queries import partitions, reads
from models.queries.dead_letters import settle_as_retried
from models.queries.order_filter import OrderFilter, Position, ids_statement
from tests.integration.workshop import apply, for_actor, move, order, rows, stocked
from web.views import order_view

LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)


def listed(wanted: OrderFilter, limit: int = 2) -> Iterator[tuple[str, reads.FoundOrder | None]]:
    """All pages of a list, one after the other."""
    after: Position | None = None
    while True:
        found, after = reads.orders_page(wanted, after, limit)
        yield from found
        if after is None:
            return


def ids(wanted: OrderFilter) -> list[str]:
    return [id_ for id_, _ in listed(wanted)]


# --- changes ---


def test_changes_are_listed_in_the_order_they_were_made(database: None) -> None:
    stocked("A", 9)
    first, second, third = (order(("A", 1)) for _ in range(3))
    for placed in (first, second, third):
        apply(place_orders, placed)
    apply(move_orders, move(first.id, "shipped"))

    changes = OrderFilter(updated_after=LONG_AGO)

    assert ids(changes) == [second.id, third.id, first.id]
    ((since,),) = rows("SELECT updated_at FROM orders WHERE id = %s", third.id)
    assert ids(changes._replace(updated_after=since)) == [third.id, first.id]
    assert ids(changes._replace(status="shipped")) == [first.id]
    assert ids(changes._replace(placed_before=second.at)) == [first.id]
    assert ids(changes._replace(sku="B")) == []


def test_an_order_decided_late_is_among_the_changes_since_then(database: None) -> None:
    # Given a client that knows all up to now
    stocked("A", 9)
    early = order(("A", 1))
    apply(place_orders, early)
    ((seen,),) = rows("SELECT max(updated_at) FROM orders")

    # When an order is decided that was placed long before
    late = order(("A", 1), at=early.at - timedelta(hours=5))
    apply(place_orders, late)

    # Then it is found by its change, and would not be by when it was placed
    since = seen + timedelta(microseconds=1)
    assert ids(OrderFilter(updated_after=since)) == [late.id]
    assert late.id not in ids(OrderFilter(placed_after=early.at))


def test_a_change_that_is_committed_late_is_within_the_overlap(database: None) -> None:
    # Given an order whose transaction began first and ends last
    stocked("A", 9)
    slow, quick = order(("A", 1)), order(("A", 1))
    for placed in (slow, quick):
        apply(place_orders, placed)
    with closing(psycopg2.connect(settings().database_url)) as other:
        cursor = other.cursor()
        cursor.execute("UPDATE orders SET updated_at = now() WHERE id = %s", (slow.id,))
        apply(move_orders, move(quick.id, "shipped"))

        # When a client pulls meanwhile
        ((seen,),) = rows("SELECT updated_at FROM orders WHERE id = %s", quick.id)
        other.commit()

    # Then what it has seen is later than the other change, and the overlap finds that
    assert slow.id not in ids(OrderFilter(updated_after=seen))
    assert slow.id in ids(OrderFilter(updated_after=seen - timedelta(minutes=5)))


def test_an_order_that_changes_while_one_pages_comes_again(database: None) -> None:
    stocked("A", 9)
    first, second, third = (order(("A", 1)) for _ in range(3))
    for placed in (first, second, third):
        apply(place_orders, placed)

    pages = listed(OrderFilter(updated_after=LONG_AGO), limit=2)
    seen = [next(pages)[0], next(pages)[0]]
    apply(move_orders, move(first.id, "shipped"))
    seen += [id_ for id_, _ in pages]

    assert seen == [first.id, second.id, third.id, first.id]


def test_changes_of_one_instant_are_paged_without_a_gap(database: None) -> None:
    stocked("A", 9)
    together = [order(("A", 1)) for _ in range(7)]
    apply(place_orders, *together)

    assert ids(OrderFilter(updated_after=LONG_AGO)) == sorted(each.id for each in together)


def test_the_list_of_changes_reads_an_index(database: None) -> None:
    db.execute("SET enable_seqscan = off")
    try:
        statement = ids_statement(OrderFilter(updated_after=LONG_AGO), None, 50)
        plan = "\n".join(text for (text,) in rows(f"EXPLAIN {statement.text}", *statement.params))
    finally:
        db.execute("RESET enable_seqscan")

    assert "updated_at_idx" in plan or "by_change" in plan
    assert "Incremental Sort" in plan


def test_the_index_of_changes_is_built_where_there_are_orders_and_goes_on_after_a_crash(
    postgres: Postgres,
) -> None:
    # Given months of the version before, and one whose index a crash has left half built
    url = postgres.create_database(f"grown_{uuid4().hex[:8]}")
    grown = peewee.PostgresqlDatabase(url)
    with grown.connection_context():
        runner = Runner(grown, str(MIGRATIONS))
        runner.up("0006_retention")
        for month in ("2026_01", "2026_02"):
            grown.execute_sql(
                f"CREATE TABLE orders_{month} PARTITION OF orders FOR VALUES "
                f"FROM ('{month.replace('_', '-')}-01Z') TO ('{month.replace('_', '-')}-28Z')"
            )
        with closing(psycopg2.connect(url)) as other:
            other.autocommit = True
            other.cursor().execute(
                "CREATE INDEX orders_2026_02_by_change ON orders_2026_02 (updated_at)"
            )

        runner.up()

        found = grown.execute_sql(
            "SELECT c.relname, i.indisvalid FROM pg_index AS i JOIN pg_class AS c "
            "ON c.oid = i.indexrelid WHERE c.relname LIKE '%%_by_change' ORDER BY 1"
        )
        assert found.fetchall() == [
            ("orders_2026_01_by_change", True), ("orders_2026_02_by_change", True),
            ("orders_by_change", True),
        ]  # fmt: skip
    grown.close()


def test_a_new_month_has_the_index_of_changes(database: None) -> None:
    (month, *_) = partitions.ensure(1, today=datetime(2031, 5, 1, tzinfo=UTC).date())
    try:
        indexes = rows("SELECT indexdef FROM pg_indexes WHERE tablename = 'orders_2031_05'")
        assert any(text.endswith("(updated_at)") for (text,) in indexes), month
    finally:
        for table in partitions.PARTITIONED:
            for made in ("2031_04", "2031_05", "2031_06"):
                db.execute(f"DROP TABLE IF EXISTS {table}_{made}")


# --- orders that are not decided ---


def met(*lines: tuple[str, int], customer: str = "Zoë", **members: Any) -> Any:
    """An order that a worker has met and put back."""
    asked = msgspec.structs.replace(order(*lines), customer_id=customer, **members)
    assert record.note(for_actor(place_orders, asked), ZeroDivisionError("a bug"))
    return asked


def test_orders_that_wait_are_listed_as_pending_with_what_is_known(database: None) -> None:
    stocked("A", 9)
    decided = order(("A", 1))
    apply(place_orders, decided)
    waiting = met(("A", 2), ("B", 1), metadata={"note": "✓"})

    for wanted in (
        OrderFilter(status="pending"), OrderFilter(customer_id="Zoë"), OrderFilter(sku="B"),
        OrderFilter(placed_after=waiting.at),
    ):  # fmt: skip
        ((id_, found),) = listed(wanted)
        shown = msgspec.to_builtins(order_view(id_, found), builtin_types=(datetime,))
        assert shown == {
            "id": waiting.id, "status": "pending", "customer_id": "Zoë", "currency": None,
            "total": None, "version": None, "placed_at": waiting.at, "updated_at": None,
            "metadata": {"note": "✓"}, "rejection": None,
            "lines": [
                {"sku": sku, "quantity": quantity, "unit_price": None, "location": None}
                for sku, quantity in (("A", 2), ("B", 1))
            ],
        }  # fmt: skip
    assert ids(OrderFilter()) == [waiting.id, decided.id]
    for other in (
        OrderFilter(status="failed"), OrderFilter(customer_id="Zoe"), OrderFilter(sku="C"),
        OrderFilter(placed_before=decided.at), OrderFilter("pending", updated_after=LONG_AGO),
    ):  # fmt: skip
        assert waiting.id not in ids(other)


def test_an_order_that_is_decided_meanwhile_is_listed_once_and_in_its_place(database: None) -> None:
    stocked("A", 9)
    waiting = [met(("A", 1)) for _ in range(4)]
    first, after = reads.orders_page(OrderFilter(), None, 2)

    apply(place_orders, *waiting[:3])

    rest, last = reads.orders_page(OrderFilter(), after, 2)
    assert [id_ for id_, _ in (*first, *rest)] == [each.id for each in reversed(waiting)]
    assert last is None
    assert ids(OrderFilter("pending")) == [waiting[3].id]
    assert ids(OrderFilter("confirmed")) == [each.id for each in reversed(waiting[:3])]


def test_what_can_not_be_read_of_an_order_is_null(database: None) -> None:
    waiting = met(("A", 1))
    db.execute("UPDATE undecided SET body = %s", ('[{"lines": 7}]',))

    ((id_, found),) = listed(OrderFilter(customer_id="Zoë"))

    view = order_view(id_, found)
    assert (view.id, view.customer_id, view.lines) == (waiting.id, "Zoë", None)


def test_a_failed_order_that_could_not_be_read_is_shown_by_its_id_only(database: None) -> None:
    broken = order(("A", 1))
    message = for_actor(place_orders)
    message.kwargs["commands"] = msgspec.Raw(
        msgspec.json.encode([broken]).replace(b'"quantity":1', b'"quantity":0')
    )
    dead_letters.record(message, ValueError("0"), "")

    (found,) = reads.orders_by_id([broken.id])
    view = order_view(broken.id, found)

    assert (view.id, view.status, view.customer_id, view.lines) == (broken.id, "failed", None, None)
    assert ids(OrderFilter("failed")) == []


def test_a_failed_order_that_is_put_back_is_pending_and_no_change(database: None) -> None:
    failed = order(("A", 1))
    dead_letters.record(for_actor(place_orders, failed), ValueError("a bug"), "")
    changes = OrderFilter(updated_after=LONG_AGO)
    assert ids(changes) == ids(changes._replace(status="failed")) == [failed.id]

    settle_as_retried([letter for (letter,) in rows("SELECT id FROM dead_letters")], failed.id)

    assert ids(OrderFilter("pending")) == [failed.id]
    for status in (None, "pending", "failed"):
        assert ids(changes._replace(status=status)) == []
