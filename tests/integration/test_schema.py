"""The tables: what the migrations make is what the models say, and PostgreSQL keeps the rules."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from typing import Any
from uuid import uuid4

import peewee
import psycopg2
import pytest
from hypothesis import given
from hypothesis import strategies as st
from playhouse.migrations import Runner
from playhouse.postgres_ext import ArrayField, BinaryJSONField, TSVectorField

from actors.placing import place_orders
from deploy.local.servers import Postgres
from models import database as db
from models import tables
from models.migrate import MIGRATIONS
from models.queries import partitions, reads
from tests.conftest import CHECKOUT, eventually
from tests.integration.workshop import apply, new_id, order, rows, stocked

TYPES = {
    peewee.TextField: "text",
    peewee.BigIntegerField: "bigint",
    peewee.BigAutoField: "bigint",
    peewee.IntegerField: "integer",
    peewee.SmallIntegerField: "smallint",
    peewee.UUIDField: "uuid",
    peewee.BlobField: "bytea",
    peewee.DoubleField: "double precision",
    BinaryJSONField: "jsonb",
    TSVectorField: "tsvector",
    tables.TimestampField: "timestamp with time zone",
}


def type_of(given: peewee.Field) -> str:
    if isinstance(given, ArrayField):
        return TYPES[type(given._ArrayField__field)] + "[]"  # type: ignore[attr-defined]
    return TYPES[type(given)]


def columns_in_postgresql(table: str) -> dict[str, tuple[str, bool]]:
    """(type, may be NULL) by column."""
    return {
        name: (type_, nullable)
        for name, type_, nullable in rows(
            "SELECT attname, format_type(atttypid, NULL), NOT attnotnull FROM pg_attribute "
            "WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped",
            table,
        )
    }


def primary_key_in_postgresql(table: str) -> list[str]:
    return [
        name
        for (name,) in rows(
            "SELECT a.attname FROM pg_index AS i, unnest(i.indkey) WITH ORDINALITY AS k (n, place) "
            "JOIN pg_attribute AS a ON a.attnum = k.n "
            "WHERE i.indrelid = %s::regclass AND i.indisprimary AND a.attrelid = i.indrelid "
            "ORDER BY k.place",
            table,
        )
    ]


@pytest.mark.parametrize("model", tables.TABLES, ids=lambda model: model._meta.table_name)
def test_the_models_say_what_the_migrations_make(connected: None, model: Any) -> None:
    fields = model._meta.columns

    assert columns_in_postgresql(model._meta.table_name) == {
        name: (type_of(each), each.null) for name, each in fields.items()
    }
    key = model._meta.primary_key
    names = (
        [model._meta.fields[name].column_name for name in key.field_names]
        if isinstance(key, peewee.CompositeKey)
        else [key.column_name]
    )
    assert primary_key_in_postgresql(model._meta.table_name) == names


def test_every_table_has_a_model(connected: None) -> None:
    made = rows(
        "SELECT relname FROM pg_class WHERE relkind IN ('r', 'p') AND NOT relispartition "
        "AND relnamespace = 'public'::regnamespace AND relname <> 'schema_migration'"
    )

    assert {name for (name,) in made} == {model._meta.table_name for model in tables.TABLES}


# --- migrations ---


@pytest.fixture
def fresh(postgres: Postgres) -> str:
    """The URL of an empty database."""
    return postgres.create_database(f"fresh_{uuid4().hex[:8]}")


def start_migrating(url: str, *options: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "holdfast", "migrate", *options],
        cwd=CHECKOUT,
        env={**os.environ, "DATABASE_URL": url},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_several_machines_that_migrate_at_once_migrate_once(fresh: str) -> None:
    migrating = [start_migrating(fresh) for _ in range(3)]
    said = [each.communicate(timeout=60)[0] for each in migrating]

    assert [each.returncode for each in migrating] == [0, 0, 0], said
    other = peewee.PostgresqlDatabase(fresh)
    with other:
        applied = other.execute_sql("SELECT name FROM schema_migration").fetchall()
        names = sorted(path.stem for path in MIGRATIONS.glob("[0-9]*.py"))
        assert sorted(name for (name,) in applied) == names


def test_who_waits_for_migrations_goes_on_when_somebody_else_has_made_them(
    postgres: Postgres,
) -> None:
    # Given one who waits for a database that is not even there
    name = f"late_{uuid4().hex[:8]}"
    waiting = start_migrating(postgres.database_url(name), "--wait")
    assert waiting.stdout
    try:
        assert "does not exist" in waiting.stdout.readline()

        # When it is there, it waits on, and changes nothing
        url = postgres.create_database(name)
        assert "Waiting for migrations: 0001_initial" in waiting.stdout.readline()
        other = peewee.PostgresqlDatabase(url)
        with other.connection_context():
            assert other.get_tables() == []

        # When it is migrated, it goes on
        migrating = start_migrating(url)
        said = migrating.communicate(timeout=60)[0], waiting.communicate(timeout=60)[0]
        assert (migrating.returncode, waiting.returncode) == (0, 0), said
    finally:
        waiting.kill()
        waiting.communicate()


def test_what_was_migrated_can_be_taken_back_and_made_again(fresh: str) -> None:
    other = peewee.PostgresqlDatabase(fresh)
    with other.connection_context():
        runner = Runner(other, str(MIGRATIONS))
        names = runner.up()

        for _ in names:
            runner.down()

        assert other.get_tables() == ["schema_migration"]
        assert runner.up() == names
    other.close()


#: As the version before the dashboard records a failure. Parameters: actor, ids of commands.
OLD_LETTER = """
INSERT INTO dead_letters (message_id, queue, actor, attempts, error_class, error, traceback, body,
                          command_ids, failed_at)
VALUES ('m', 'q', %s, 6, 'E', 'a frobnicator', 't', 'b', %s::uuid[], '2026-01-01Z')
"""
A_COMMAND = """
INSERT INTO commands (id, kind, status, placed_at, decided_at)
VALUES (gen_random_uuid(), %s, 'applied', now(), now())
"""


@pytest.fixture
def grown(fresh: str) -> Iterator[peewee.PostgresqlDatabase]:
    """A database of the version before the dashboard."""
    old = peewee.PostgresqlDatabase(fresh)
    with old.connection_context():
        Runner(old, str(MIGRATIONS)).up("0001_initial")
        yield old


def test_failures_of_the_version_before_are_found_like_new_ones(
    grown: peewee.PostgresqlDatabase,
) -> None:
    placed, moved = new_id(), new_id()
    for actor, ids in (("place_orders", placed), ("move_orders", moved), ("", "")):
        grown.execute_sql(OLD_LETTER, (actor, f"{{{ids}}}"))
    grown.execute_sql("UPDATE dead_letters SET requeued_at = now() WHERE actor = 'move_orders'")

    Runner(grown, str(MIGRATIONS)).up()

    assert grown.execute_sql(
        "SELECT state, subjects, first_failed_at = failed_at, words @@ 'frobnicator' "
        "FROM dead_letters ORDER BY id"
    ).fetchall() == [
        ("failed", [f"command:{placed}", f"order:{placed}"], True, True),
        ("retried", [f"command:{moved}"], True, True),
        ("failed", [], True, True),
    ]
    grown.execute_sql(A_COMMAND, ("operate",))


def test_workers_of_the_version_before_can_record_failures(
    grown: peewee.PostgresqlDatabase,
) -> None:
    Runner(grown, str(MIGRATIONS)).up()

    grown.execute_sql(OLD_LETTER, ("place_orders", f"{{{new_id()}}}"))

    found = grown.execute_sql("SELECT state, first_failed_at <= now() FROM dead_letters")
    assert found.fetchall() == [("failed", True)]


@pytest.mark.parametrize(
    "holding",
    ["LOCK dead_letters IN SHARE MODE", "SELECT count(*) FROM stock"],
    ids=["while the failures change", "while an index is built"],
)
def test_commands_are_written_while_a_migration_takes_its_time(
    grown: peewee.PostgresqlDatabase, fresh: str, holding: str
) -> None:
    with closing(psycopg2.connect(fresh)) as other:
        # The migration waits for this one; a snapshot is what the building of an index waits for.
        other.set_session(isolation_level="REPEATABLE READ")
        other.cursor().execute(holding)
        migrating = start_migrating(fresh)
        try:
            eventually(lambda: is_waiting(grown))
            grown.execute_sql("SET lock_timeout = '1s'")
            grown.execute_sql(A_COMMAND, ("place_order",))
            assert migrating.poll() is None
        finally:
            other.rollback()
            said = migrating.communicate(timeout=60)[0]
    assert migrating.returncode == 0, said


def is_waiting(on: peewee.PostgresqlDatabase) -> bool:
    """Whether a migration waits for someone's transaction."""
    found = on.execute_sql(
        "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() "
        "AND application_name LIKE 'holdfast-cli%%' AND wait_event_type = 'Lock'"
    )
    return found.fetchone() is not None


# --- rules that PostgreSQL keeps, whatever the code does ---

NOW = "2026-11-23T12:00Z"


def a_product(sku: str = "A", **members: Any) -> dict[str, Any]:
    return {
        "sku": sku, "name": "Mug", "unit_price": 1, "currency": "EUR", "created_at": NOW,
        "updated_at": NOW, **members,
    }  # fmt: skip


def a_stock(**members: Any) -> dict[str, Any]:
    return {
        "sku": "OK", "location": "main", "on_hand": 5, "allocated": 5, "updated_at": NOW, **members
    }  # fmt: skip


def a_command(**members: Any) -> dict[str, Any]:
    return {
        "id": new_id(), "kind": "place_order", "status": "applied", "target": None,
        "placed_at": NOW, "decided_at": NOW, **members,
    }  # fmt: skip


def an_order(**members: Any) -> dict[str, Any]:
    return {
        "id": new_id(), "placed_at": "now()", "customer_id": "c", "status": "confirmed",
        "currency": "EUR", "total": 0, "version": 1, "updated_at": NOW, "metadata": "{}", **members,
    }  # fmt: skip


def a_line(**members: Any) -> dict[str, Any]:
    return {
        "order_id": new_id(), "placed_at": "now()", "line_no": 1, "sku": "A", "quantity": 1,
        **members,
    }  # fmt: skip


def an_event(**members: Any) -> dict[str, Any]:
    return {
        "order_id": new_id(), "placed_at": "now()", "sequence": 1, "type": "order.confirmed",
        "at": NOW, "data": "{}", **members,
    }  # fmt: skip


def a_movement(**members: Any) -> dict[str, Any]:
    return {
        "at": "now()", "sku": "A", "location": "main", "on_hand_delta": 1, "allocated_delta": 0,
        "reason": "received", "command_id": new_id(), **members,
    }  # fmt: skip


def insert(table: str, row: dict[str, Any]) -> None:
    db.execute(
        f"INSERT INTO {table} ({', '.join(row)}) VALUES ({', '.join(['%s'] * len(row))})",
        list(row.values()),
    )


MAKERS: dict[str, Callable[..., dict[str, Any]]] = {
    "products": a_product,
    "stock": a_stock,
    "commands": a_command,
    "orders": an_order,
    "order_lines": a_line,
    "order_events": an_event,
    "stock_movements": a_movement,
}


@pytest.mark.parametrize("table", MAKERS)
def test_a_good_row_is_taken(database: None, table: str) -> None:
    with db.database.atomic() as transaction:
        insert("products", a_product("OK"))
        insert(table, MAKERS[table]())
        transaction.rollback()


@pytest.mark.parametrize(
    ("table", "wrong"),
    [
        ("products", {"sku": "a b"}),
        ("products", {"sku": ""}),
        ("products", {"sku": "x" * 65}),
        ("products", {"name": ""}),
        ("products", {"name": "x" * 201}),
        ("products", {"unit_price": -1}),
        ("products", {"currency": "eur"}),
        ("products", {"currency": "EURO"}),
        ("stock", {"allocated": 6}),
        ("stock", {"allocated": -1}),
        ("stock", {"on_hand": -1, "allocated": -1}),
        ("stock", {"sku": "no-such-product"}),
        ("commands", {"kind": "drop_table"}),
        ("commands", {"status": "maybe"}),
        ("orders", {"status": "pending"}),
        ("orders", {"status": "rejected"}),
        ("orders", {"rejection": "{}"}),
        ("orders", {"version": 0}),
        ("orders", {"total": -1}),
        ("orders", {"customer_id": ""}),
        ("orders", {"customer_id": "c" * 65}),
        ("order_lines", {"quantity": 0}),
        ("order_lines", {"quantity": 1_000_001}),
        ("order_lines", {"line_no": 0}),
        ("order_lines", {"line_no": 101}),
        ("order_lines", {"unit_price": -1}),
        ("order_events", {"sequence": 0}),
        ("order_events", {"type": "order.vanished"}),
        ("stock_movements", {"reason": "because"}),
    ],
)
def test_a_bad_row_is_refused(database: None, table: str, wrong: dict[str, Any]) -> None:
    with db.database.atomic() as transaction:
        insert("products", a_product("OK"))
        with pytest.raises(peewee.IntegrityError) as caught:
            insert(table, MAKERS[table](**wrong))
        transaction.rollback()
    # A terminal shows what is wrong, and nothing of the row.
    assert "DETAIL" in str(caught.value)
    assert "violates" in (said := db.complaint(caught.value))
    assert "DETAIL" not in said


# --- partitions ---


def test_the_coming_months_have_partitions_and_making_them_again_makes_none(
    database: None,
) -> None:
    assert partitions.ensure(3) == []

    made = {name for (name,) in rows("SELECT relname FROM pg_class WHERE relispartition")}
    today = datetime.now(UTC).date()
    for month in partitions.months_around(today, 3):
        assert {f"{table}_{month:%Y_%m}" for table in partitions.PARTITIONED} <= made


def test_a_month_that_is_missing_is_made(database: None) -> None:
    made = partitions.ensure(1, today=date(2031, 12, 15))

    try:
        assert [name for name in made if name.startswith("orders_")] == [
            "orders_2031_11", "orders_2031_12", "orders_2032_01",
        ]  # fmt: skip
    finally:
        for name in made:
            db.execute(f"DROP TABLE {name}")


@given(st.dates(date(2000, 1, 1), date(2200, 12, 31)), st.integers(1, 40))
def test_months_follow_each_other_without_a_gap_from_last_month_on(today: date, ahead: int) -> None:
    months = partitions.months_around(today, ahead)

    assert len(months) == ahead + 2
    assert months[0] < today.replace(day=1) == months[1]
    for one, following in pairwise(months):
        assert following == (one + timedelta(days=31)).replace(day=1)


@pytest.mark.parametrize("offset", [timedelta(0), timedelta(microseconds=-1)])
def test_an_order_of_the_turn_of_the_month_is_stored_with_its_lines_and_events(
    database: None, offset: timedelta
) -> None:
    stocked("A", 5)
    turn = datetime.now(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    placed = order(("A", 1), at=turn + offset)

    apply(place_orders, placed)

    (found,) = reads.orders_by_id([placed.id])
    assert found is not None
    assert found.order is not None
    assert len(found.order.lines) == 1
    assert len(reads.events(placed.id)) == 1
