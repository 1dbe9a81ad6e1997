"""The script that makes compose's replica, against a primary with compose's own pg_hba.conf."""

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg2
import pytest

from deploy.local import ports, processes
from deploy.local.install import postgres_binaries
from deploy.local.processes import Program
from deploy.local.server import plain_environment
from deploy.local.servers import Postgres
from tests.conftest import CHECKOUT, eventually


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """Where PostgreSQL's own user may read."""
    path = Path(tempfile.mkdtemp(prefix="holdfast-replica-"))
    path.chmod(0o755)
    for name in ("replica", "pg_hba.conf"):
        shutil.copy(CHECKOUT / "deploy" / "compose" / name, path)
    yield path
    shutil.rmtree(path)


@pytest.fixture(scope="module")
def primary(folder: Path) -> Iterator[Postgres]:
    with Postgres(folder, hba_file=str(folder / "pg_hba.conf"), shared_buffers="16MB") as server:
        server.query("CREATE TABLE seen (number int)", "holdfast")
        yield server


class Replica:
    """What the container runs."""

    def __init__(self, folder: Path, primary: Postgres) -> None:
        self.port = ports.free_ports(1)[0]
        self.volume = folder / "volume"
        self.volume.mkdir()
        password = folder / "password"
        password.write_text(f"{primary.password}\n")
        if primary.system_user:
            shutil.chown(self.volume, primary.system_user)
        options = [
            "--max_connections=200", f"--hba_file={folder / 'pg_hba.conf'}",
            "--unix_socket_directories=", f"--port={self.port}",
        ]  # fmt: skip
        self._program = Program(
            name="replica", argv=["/bin/sh", str(folder / "replica"), *options],
            log=folder / "log" / "replica.log", owner=folder, user=primary.system_user,
            stop_signal=signal.SIGINT,
            environment={
                **plain_environment(),
                "PATH": f"{postgres_binaries()}:{os.environ['PATH']}",
                "PRIMARY": "127.0.0.1", "PRIMARY_PORT": str(primary.port),
                "PASSWORD_FILE": str(password), "PGDATA": str(self.volume / "replica"),
            },
        )  # fmt: skip
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._process = processes.start(self._program)

    def stop(self) -> None:
        if self._process is not None:
            processes.end(self._process, self._program)

    def seen(self) -> list[int]:
        """The rows there; none while it does not answer."""
        url = f"postgresql://holdfast@127.0.0.1:{self.port}/holdfast"
        try:
            connection = psycopg2.connect(url)
        except psycopg2.OperationalError:
            return []
        try:
            with connection.cursor() as cursor:
                cursor.execute("SELECT number FROM seen WHERE pg_is_in_recovery() ORDER BY number")
                return [number for (number,) in cursor.fetchall()]
        finally:
            connection.close()


@pytest.fixture
def replica(folder: Path, primary: Postgres) -> Iterator[Replica]:
    made = Replica(folder, primary)
    yield made
    made.stop()


def test_a_replica_copies_follows_goes_on_and_can_be_made_anew(
    primary: Postgres, replica: Replica
) -> None:
    def write(number: int) -> None:
        primary.query(f"INSERT INTO seen VALUES ({number})", "holdfast")

    # At first it copies, then it follows
    write(1)
    replica.start()
    eventually(lambda: replica.seen() == [1], within_s=60)
    write(2)
    eventually(lambda: replica.seen() == [1, 2])

    # Started again it goes on where it was, with what the primary kept for it
    replica.stop()
    write(3)
    primary.query("SELECT pg_switch_wal()")
    primary.query("CHECKPOINT")
    copy = (replica.volume / "replica" / "PG_VERSION").stat().st_ino
    replica.start()
    eventually(lambda: replica.seen() == [1, 2, 3])
    assert (replica.volume / "replica" / "PG_VERSION").stat().st_ino == copy

    # Without its volume, or with half a copy, it begins anew; its old place is not in the way
    replica.stop()
    eventually(lambda: primary.query("SELECT active FROM pg_replication_slots") == "f")
    (replica.volume / "replica").rename(replica.volume / "replica.part")
    replica.start()
    eventually(lambda: replica.seen() == [1, 2, 3], within_s=60)
    assert not (replica.volume / "replica.part").exists()
    eventually(lambda: primary.query("SELECT active FROM pg_replication_slots") == "t")
