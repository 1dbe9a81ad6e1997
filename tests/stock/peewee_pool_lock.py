"""Peewee connects while it holds a lock: one server that does not answer stalls every thread."""

import socket
import time
from concurrent.futures import ThreadPoolExecutor

import peewee
from playhouse.pool import PooledPostgresqlDatabase

from tests.stock.rig import Facts, Rig

THREADS = 4
TIMEOUT_S = 2


def reproduce(rig: Rig) -> Facts:
    # It takes connections and says nothing: a server that hangs, or a network that drops.
    with socket.create_server(("127.0.0.1", 0)) as silent:
        pooled, single = (
            kind("any", host="127.0.0.1", port=silent.getsockname()[1], connect_timeout=TIMEOUT_S)
            for kind in (PooledPostgresqlDatabase, peewee.PostgresqlDatabase)
        )
        return {
            "connect_timeout, seconds": TIMEOUT_S,
            "threads that connect at once": THREADS,
            "with a pool, seconds until each gave up": _waits(pooled),
            "with a connection per thread": _waits(single),
        }


def _waits(database: peewee.PostgresqlDatabase) -> str:
    with ThreadPoolExecutor(THREADS) as threads:
        waited = threads.map(_seconds_to_fail, [(database, time.monotonic())] * THREADS)
        return " ".join(f"{seconds:.0f}" for seconds in sorted(waited))


def _seconds_to_fail(given: tuple[peewee.PostgresqlDatabase, float]) -> float:
    database, began = given
    try:
        database.connect()
    except peewee.OperationalError:
        return time.monotonic() - began
    raise AssertionError("nobody answers there")
