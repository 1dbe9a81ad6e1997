"""Holdfast behind a real PgBouncer: session mode works as it is shipped, the others are refused."""

import shutil
import socket
import tempfile
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec
import psycopg2
import pytest
from psycopg2.extensions import parse_dsn

from actors.placing import place_orders
from config import settings
from deploy.local.servers import Postgres
from models import database as db
from models import poolers
from models.migrate import migrate
from models.session import RELIED_ON, UnfitDatabaseError
from tests.cluster.pgbouncer import PgBouncer
from tests.integration.workshop import apply, order, rows, stocked


@pytest.fixture
def folder() -> Iterator[Path]:
    """Where PostgreSQL's own user may read."""
    path = Path(tempfile.mkdtemp(prefix="holdfast-pgbouncer-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


@pytest.fixture(autouse=True)
def leads_back() -> Iterator[None]:
    poolers._known.clear()
    yield
    db.discard_connection()
    db.configure(settings(), application_name="tests")


def lead_to(url: str) -> None:
    db.discard_connection()
    db.configure(msgspec.structs.replace(settings(), database_url=url))


@pytest.mark.parametrize("ignored", ["", "options, extra_float_digits"])
def test_in_session_mode_all_works_and_every_setting_holds(
    postgres: Postgres, folder: Path, ignored: str
) -> None:
    """Whether or not the pooler passes over parameters that a connection starts with."""
    name = f"pooled_{bool(ignored)}".lower()
    lead_to(postgres.create_database(name))
    db.execute("CREATE SCHEMA shop")
    options = {"pool_mode": "session", "ignore_startup_parameters": ignored}
    with PgBouncer(folder, postgres, **options) as pooler:
        lead_to(f"{pooler.database_url(name)}?options={quote('-c search_path=shop')}")

        assert migrate(1)
        assert migrate(1) == []
        stocked("A", 3)
        apply(place_orders, order(("A", 2)))

        assert rows("SELECT status FROM shop.orders") == [("confirmed",)]
        for setting, value in {
            **RELIED_ON,
            "lock_timeout": "5s",
            "statement_timeout": "15s",
        }.items():
            assert rows("SELECT current_setting(%s)", setting) == [(value,)]
        db.discard_connection()


def test_a_pool_that_is_all_out_is_taken_for_what_it_is(
    postgres: Postgres, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of session mode: a pooler that shared its only connection would serve us soon."""
    monkeypatch.setattr(poolers, "WAIT_S", 0.5)
    with PgBouncer(folder, postgres, pool_mode="session", default_pool_size="1") as pooler:
        lead_to(pooler.url)
        assert rows("SELECT 1") == [(1,)]
        db.discard_connection()


def test_a_shared_pool_that_is_all_busy_is_never_taken_for_another(
    postgres: Postgres, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its only connection is out for longer than our second client waits."""
    monkeypatch.setattr(poolers, "WAIT_S", 0.2)
    threads: list[threading.Thread] = []
    with (
        PgBouncer(folder, postgres, pool_mode="transaction", default_pool_size="1") as pooler,
        closing(psycopg2.connect(pooler.url)) as ours,
        closing(psycopg2.connect(pooler.url)) as busy,
        busy.cursor() as cursor,
    ):
        ask = poolers._pid

        def then_busy(client: Any) -> int:
            pid = ask(client)
            if not threads:
                cursor.execute(poolers.PID)
                args = ("SELECT pg_sleep(1); COMMIT",)
                threads.append(threading.Thread(target=cursor.execute, args=args))
                threads[0].start()
            return pid

        monkeypatch.setattr(poolers, "_pid", then_busy)
        ours.autocommit = True
        assert poolers.shares(ours, parse_dsn(pooler.url))
        threads[0].join()


def test_a_host_that_says_nothing_is_passed_over(postgres: Postgres, folder: Path) -> None:
    """As after a failover, whose address names both."""
    with (
        PgBouncer(folder, postgres, pool_mode="session") as pooler,
        socket.create_server(("127.0.0.1", 0)) as silent,
    ):
        who, where = pooler.url.split("@")
        query = "target_session_attrs=read-write&connect_timeout=2"
        lead_to(f"{who}@127.0.0.1:{silent.getsockname()[1]},{where}?{query}")
        assert rows("SELECT 1") == [(1,)]
        db.discard_connection()


@pytest.mark.parametrize("mode", ["transaction", "statement"])
def test_where_clients_share_server_connections_nothing_runs(
    postgres: Postgres, folder: Path, mode: str
) -> None:
    with PgBouncer(folder, postgres, pool_mode=mode) as pooler:
        lead_to(pooler.url)
        with pytest.raises(UnfitDatabaseError, match=r"DATABASE_URL: .*pool_mode to session"):
            migrate(1)
        # Nobody else's connection was given our settings
        lead_to(postgres.url)
        lasting = rows(
            "SELECT count(*) FROM pg_stat_activity WHERE state LIKE 'idle in transaction%%'"
        )
        assert lasting == [(0,)]
        db.discard_connection()


def test_what_a_pooler_refuses_is_named(
    postgres: Postgres, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with PgBouncer(folder, postgres) as pooler:
        lead_to(pooler.url)
        monkeypatch.setenv("PGOPTIONS", "-c work_mem=8MB")
        with pytest.raises(UnfitDatabaseError, match="refuses the parameter options"):
            rows("SELECT 1")


def test_it_is_told_however_busy_the_pooler_is(postgres: Postgres, folder: Path) -> None:
    with PgBouncer(folder, postgres, pool_mode="transaction") as pooler:
        over = threading.Event()
        others = [threading.Thread(target=_use, args=(pooler.url, over)) for _ in range(8)]
        for other in others:
            other.start()
        try:
            lead_to(pooler.url)
            for _ in range(5):
                poolers._known.clear()
                with pytest.raises(UnfitDatabaseError):
                    rows("SELECT 1")
        finally:
            over.set()
            for other in others:
                other.join()


def _use(url: str, over: threading.Event) -> None:
    """A client whose transactions come one after the other."""
    connection = psycopg2.connect(url)
    while not over.is_set():
        with connection, connection.cursor() as cursor:
            cursor.execute("SELECT pg_sleep(0.002)")
    connection.close()
