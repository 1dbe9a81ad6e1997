"""PostgreSQL goes, is read-only, full, slow, or locked."""

import contextlib
import os
import signal
from typing import Any

import psycopg2

from tests.torture.faults.scene import (
    NotFiredError,
    Scene,
    fault,
)
from tests.torture.proxy import Mode
from tests.torture.rig import (
    Rig,
    locked_stock,
)


@fault("postgres-restart")
def postgres_restart(scene: Scene) -> str:
    scene.rig.postgres.restart()
    return ""


@fault("postgres-kill")
def postgres_kill(scene: Scene) -> str:
    scene.rig.postgres.kill()
    scene.rig.postgres.start()
    return ""


@fault("postgres-immediate-stop")
def postgres_immediate_stop(scene: Scene) -> str:
    os.kill(scene.rig.postgres.pid, signal.SIGQUIT)
    scene.wait(0.5)
    scene.rig.postgres.restart()
    return ""


@fault("postgres-read-only")
def postgres_read_only(scene: Scene) -> str:
    """As after a failover, to a standby that is not promoted yet."""
    _set_read_only(scene.rig, "on")
    try:
        # Transactions that had begun may still end.
        scene.wait(0.5)
        before = _commands(scene.rig)
        scene.wait(2.0)
        if _commands(scene.rig) != before:
            raise NotFiredError("commands are still decided")
    finally:
        _set_read_only(scene.rig, "off")
    return ""


def _commands(rig: Rig) -> int:
    return int(rig.sql("SELECT count(*) FROM commands")[0][0])


def _set_read_only(rig: Rig, value: str) -> None:
    rig.sql(f"ALTER SYSTEM SET default_transaction_read_only = {value}")
    rig.sql("SELECT pg_reload_conf()")


@fault("postgres-no-connections")
def postgres_no_connections(scene: Scene) -> str:
    """Somebody else has taken every connection that there is, and ours were closed."""
    taken: list[Any] = []
    monitor = scene.rig.connect()
    try:
        with contextlib.suppress(psycopg2.OperationalError):
            while True:
                taken.append(scene.rig.connect())
        with monitor.cursor() as cursor:
            cursor.execute(
                "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
                " WHERE application_name LIKE 'holdfast%'"
            )
            ((closed,),) = cursor.fetchall()
        with contextlib.suppress(psycopg2.OperationalError):
            while True:
                taken.append(scene.rig.connect())
        scene.wait(2.0)
    finally:
        for connection in (*taken, monitor):
            connection.close()
    if not closed:
        raise NotFiredError("no connection of ours was there")
    return f"{len(taken)} taken, {closed} closed"


@fault("postgres-locked-row")
def postgres_locked_row(scene: Scene) -> str:
    """The stock that everybody wants is locked for longer than anybody waits."""
    waits = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
    with locked_stock(scene.rig):
        scene.fires(lambda: scene.rig.sql(waits) != [(0,)], "somebody waits for it")
        scene.wait(2.0)
    return ""


@fault("postgres-slow")
def postgres_slow(scene: Scene) -> str:
    links = [scene.rig.links[name] for name in ("web-database", "worker-database")]
    for link in links:
        link.set(Mode.SLOW)
    scene.wait(2.5)
    if sum([link.heal() for link in links]) == 0:
        raise NotFiredError("nothing went over the slow links")
    return ""
