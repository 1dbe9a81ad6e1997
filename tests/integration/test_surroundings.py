"""What a database, a role or an address sets by itself: taken, put right, or refused by name."""

import time
from collections.abc import Iterator
from datetime import datetime, timedelta, tzinfo
from typing import Self
from urllib.parse import quote

import msgspec
import psycopg2
import pytest

from actors.inventory import adjust_stock, put_products
from actors.placing import place_orders
from config import SettingsError, settings
from deploy.local.servers import Postgres
from models import database as db
from models.migrate import migrate
from models.queries import partitions
from models.session import RELIED_ON, UnfitDatabaseError
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
    product,
    rows,
    stocked,
)


@pytest.fixture
def elsewhere(postgres: Postgres) -> Iterator[None]:
    """A test may lead this process to a database of its own; it leads back."""
    db.discard_connection()
    yield
    db.discard_connection()
    db.configure(settings(), application_name="tests")


def lead_to(url: str, **changed: object) -> None:
    db.discard_connection()
    db.configure(msgspec.structs.replace(settings(), database_url=url, **changed))


def with_options(url: str, options: str) -> str:
    return f"{url}?options={quote(options)}"


def shown(*names: str) -> list[str]:
    return [rows("SELECT current_setting(%s)", name)[0][0] for name in names]


def test_all_that_is_made_is_in_the_schema_that_the_address_names(
    postgres: Postgres, elsewhere: None
) -> None:
    url = postgres.create_database("of_a_shop")
    lead_to(url)
    db.execute("CREATE SCHEMA shop; CREATE SCHEMA other")

    # Given two schemas of one database, each with its own tables and months
    for schema in ("shop", "other"):
        lead_to(with_options(url, f"-c search_path={schema}"))
        assert migrate(1)
        assert migrate(1) == []
        stocked("A", 3)
        placed = order(("A", 2))
        apply(place_orders, placed)
        assert orders_now([placed]) == ["confirmed"]
        assert len(partitions.every()) == len(partitions.PARTITIONED) * 3

    # Then nothing is anywhere else
    assert rows("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'") == [(0,)]
    ((mine,), (yours,)) = rows(
        "SELECT count(*) FROM pg_tables WHERE schemaname IN ('shop', 'other') GROUP BY schemaname"
    )
    assert mine == yours > 30


def test_a_schema_that_is_not_there_is_refused(postgres: Postgres, elsewhere: None) -> None:
    lead_to(with_options(postgres.url, "-c search_path=nowhere"))

    with pytest.raises(UnfitDatabaseError, match="search_path, nowhere"):
        migrate(1)


def test_an_address_may_say_what_is_its_own(postgres: Postgres, elsewhere: None) -> None:
    own = "connect_timeout=7&application_name=shop&keepalives_idle=31&sslmode=prefer"
    lead_to(f"{postgres.url}?{own}&options=-c%20work_mem%3D8MB")

    assert shown("application_name", "work_mem") == ["shop", "8MB"]
    parameters = db.database.connection().info.dsn_parameters
    assert (parameters["connect_timeout"], parameters["keepalives_idle"]) == ("7", "31")
    # What it does not say is as ever
    assert parameters["tcp_user_timeout"] == str(settings().tcp_user_timeout_ms)
    assert shown("statement_timeout") == [f"{settings().statement_timeout_ms // 1000}s"]


@pytest.mark.parametrize(
    ("query", "named"),
    [
        ("options=-c%20statement_timeout%3D0", "STATEMENT_TIMEOUT_MS"),
        ("options=-c%20lock_timeout%3D1s", "LOCK_TIMEOUT_MS"),
        ("options=--timezone%3DCET", "timezone=UTC"),
        ("options=-cstandard_conforming_strings%3Doff", "standard_conforming_strings=on"),
        ("options=-e", "-c name=value"),
        ("client_encoding=LATIN1", "client_encoding=UTF8"),
        ("options=-c%20client_encoding%3DLATIN1", "client_encoding=UTF8"),
        ("client_encoding=LATIN1&options=-c%20client_encoding%3DUTF8", "client_encoding=UTF8"),
        ("connect_timeout=0", "connect_timeout=0 would wait for ever"),
        ("connect_timeout=-1", "connect_timeout must be a whole number, 0 or more"),
        ("tcp_user_timeout=soon", "tcp_user_timeout must be a whole number"),
        ("keepalives=00", "keepalives=0 would wait for ever"),
    ],
)
def test_an_address_may_not_say_what_we_rely_on(elsewhere: None, query: str, named: str) -> None:
    for variable in ("database_url", "database_replica_url"):
        url = f"postgresql://nobody@127.0.0.1:1/nothing?{query}"
        with pytest.raises(SettingsError, match=named) as refused:
            db.configure(msgspec.structs.replace(settings(), **{variable: url}))
        assert variable.upper() in str(refused.value)


def test_a_setting_that_postgresql_does_not_have_is_refused(
    postgres: Postgres, elsewhere: None
) -> None:
    lead_to(with_options(postgres.url, "-c no_such_thing=1"))

    with pytest.raises(UnfitDatabaseError, match=r'DATABASE_URL: .*"no_such_thing"'):
        rows("SELECT 1")


@pytest.mark.parametrize("encoding", ["SQL_ASCII", "LATIN1"])
def test_a_database_that_can_not_hold_every_character_is_refused(
    postgres: Postgres, elsewhere: None, encoding: str
) -> None:
    name = f"in_{encoding.lower()}"
    postgres.query(f"CREATE DATABASE {name} ENCODING '{encoding}' LOCALE 'C' TEMPLATE template0")
    lead_to(postgres.database_url(name))

    with pytest.raises(UnfitDatabaseError, match=f"{encoding}.*--encoding=UTF8.*template0"):
        migrate(1)


def test_what_a_role_and_a_database_set_is_put_right(postgres: Postgres, elsewhere: None) -> None:
    """A role in LATIN1, with backslashes in strings, another time zone and quick commits."""
    url = postgres.create_database("with_defaults")
    off = {
        "client_encoding": "LATIN1",
        "standard_conforming_strings": "off",
        "timezone": "Asia/Kathmandu",
        "datestyle": "SQL, DMY",
        "intervalstyle": "iso_8601",
        "bytea_output": "escape",
        "default_transaction_isolation": "serializable",
        "array_nulls": "off",
        "synchronous_commit": "off",
    }
    postgres.query(
        "CREATE ROLE odd LOGIN PASSWORD 'odd'; ALTER DATABASE with_defaults OWNER TO odd"
    )
    for name, value in off.items():
        postgres.query(f"ALTER ROLE odd IN DATABASE with_defaults SET {name} = '{value}'")
    address = psycopg2.extensions.parse_dsn(url)
    lead_to(f"postgresql://odd:odd@127.0.0.1:{address['port']}/with_defaults")

    assert shown(*RELIED_ON) == list(RELIED_ON.values())
    assert shown("client_encoding", "synchronous_commit") == ["UTF8", "on"]
    migrate(1)
    stocked("A", 3)
    placed = order(("A", 1), customer_id="Zoë 漢字")
    apply(place_orders, placed)
    assert rows("SELECT status, customer_id FROM orders") == [("confirmed", "Zoë 漢字")]
    assert all(each.starts_at for each in partitions.every())


@pytest.fixture
def without_this_month(database: None) -> Iterator[str]:
    """The month whose partitions are not there; at the end they are again."""
    ((month,),) = rows("SELECT to_char(now() AT TIME ZONE 'UTC', 'YYYY_MM')")
    names = [f"{table}_{month}" for table in partitions.PARTITIONED]
    db.execute("DROP TABLE " + ", ".join(names))
    yield month
    partitions.ensure(1)


def test_a_month_that_is_missing_is_made_on_the_spot(
    workshop: Workshop, without_this_month: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("actors.retries.RETRIES_MAX", 0)
    # Given orders, a product's stock and no partition for any of their rows
    placed = [order(("A", 1)) for _ in range(4)]
    apply(put_products, product("A"))
    workshop.broker.enqueue(for_actor(adjust_stock, adjustment("A", 3)))
    workshop.start(adjust_stock.queue_name)
    eventually(lambda: rows("SELECT on_hand FROM stock WHERE sku = 'A'") == [(3,)])
    db.execute(f"DROP TABLE orders_{without_this_month}")

    for each in placed:
        workshop.broker.enqueue(for_actor(place_orders, each))
    workshop.start(place_orders.queue_name)

    # Then all are decided, and nothing was given up
    eventually(lambda: None not in orders_now(placed))
    assert sorted(filter(None, orders_now(placed))) == ["confirmed"] * 3 + ["rejected"]
    assert dead_letters() == []
    assert_books_agree()


def test_an_order_waits_for_a_month_that_can_not_be_made(
    workshop: Workshop, without_this_month: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("actors.retries.RETRIES_MAX", 0)
    in_the_way = f"orders_{without_this_month}"
    db.execute(f"CREATE TABLE {in_the_way} ()")
    stocked("A", 0)
    placed = order(("A", 1))
    workshop.broker.enqueue(for_actor(place_orders, placed))
    workshop.start(place_orders.queue_name)

    # It waits in the delay queue, out of the way of others, and is never given up
    ((error,),) = eventually(lambda: rows("SELECT error FROM undecided"))
    assert error.startswith("its month has no partition, and can't have one: ")
    eventually(lambda: workshop.messages_in(place_orders.queue_name) == 0)
    assert (orders_now([placed]), dead_letters()) == ([None], [])

    db.execute(f"DROP TABLE {in_the_way}")
    eventually(lambda: orders_now([placed]) == ["rejected"])
    assert dead_letters() == []


class Ahead(datetime):
    """The clock of a host that is 150 days ahead."""

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> Self:
        return cls.fromtimestamp(time.time(), tz) + timedelta(days=150)


def test_months_are_made_by_the_clock_of_the_database(
    database: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    ((this_month,),) = rows("SELECT to_char(now() AT TIME ZONE 'UTC', 'YYYY_MM')")
    db.execute(f"DROP TABLE orders_{this_month}")
    monkeypatch.setattr(partitions, "datetime", Ahead)

    assert partitions.ensure(0) == [f"orders_{this_month}"]
