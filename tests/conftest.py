"""Real servers for the tests: a PostgreSQL and a RabbitMQ of their own, and the real processes.

The servers' addresses are settled when this file is read, so that modules of ours may be imported
anywhere; the servers start when a test first asks for one.
"""

import atexit
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import psycopg2
import pytest

from deploy.local import ports, processes
from deploy.local.processes import Program
from deploy.local.servers import Postgres, RabbitMQ

CHECKOUT = Path(__file__).resolve().parent.parent
ROOT = Path(tempfile.mkdtemp(prefix="holdfast-test-"))
atexit.register(shutil.rmtree, ROOT, ignore_errors=True)

_postgres = Postgres(ROOT)
_rabbitmq = RabbitMQ(ROOT)
API_KEY = "hf_test-key-with-every-scope-and-no-limit"

#: Tests that run actors and queries in this process; the processes of `system` have their own.
os.environ.update(
    DATABASE_URL=_postgres.url,
    RABBITMQ_URL=_rabbitmq.url,
    SECRET_KEY="a-secret-for-tests-that-is-long-enough",
    API_KEY=API_KEY,
    HOST="127.0.0.1",
)


def eventually(condition: Callable[[], Any], *, within_s: float = 20.0, what: str = "") -> Any:
    """What a condition returns once it is true; fails when it has not become so in time."""
    deadline = time.monotonic() + within_s
    pause = threading.Event()
    while True:
        result = condition()
        if result:
            return result
        if time.monotonic() > deadline:
            pytest.fail(f"not within {within_s} s: {what or condition}")
        pause.wait(0.05)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    with _postgres:
        yield _postgres


@pytest.fixture(scope="session")
def rabbitmq() -> Iterator[RabbitMQ]:
    with _rabbitmq:
        yield _rabbitmq


@pytest.fixture(scope="session")
def migrated(postgres: Postgres) -> None:
    """The in-process database, brought up to date."""
    from config import settings
    from models.database import configure
    from models.migrate import migrate

    configure(settings(), application_name="tests")
    migrate(settings().partitions_ahead)


@pytest.fixture
def database(migrated: None) -> Iterator[None]:
    """The in-process database, empty, and this thread's connection closed at the end."""
    from models import database as db
    from models.tables import TABLES

    names = ", ".join(table._meta.table_name for table in TABLES)
    db.execute(f"TRUNCATE {names}")
    yield
    db.discard_connection()


class System:
    """The real processes on their own database and virtual host.

    base_url: of the front door; `client()` speaks to it with the key that may do everything.
    """

    def __init__(self, postgres: Postgres, rabbitmq: RabbitMQ, name: str, **settings: str) -> None:
        self.port = ports.free_ports(1)[0]
        self.base_url = f"http://127.0.0.1:{self.port}"
        self.environment = {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "PYTHONUNBUFFERED": "1",
            "DATABASE_URL": postgres.create_database(name),
            "RABBITMQ_URL": rabbitmq.create_vhost(name),
            "SECRET_KEY": os.environ["SECRET_KEY"],
            "API_KEY": API_KEY,
            "HOST": "127.0.0.1",
            "PORT": str(self.port),
            **settings,
        }
        self._name = name
        self._running: dict[str, Any] = {}

    def run(self, *arguments: str) -> str:
        """Run a command of `holdfast`; returns what it prints."""
        return subprocess.run(
            [sys.executable, "-m", "holdfast", *arguments],
            cwd=CHECKOUT, env=self.environment, check=True, capture_output=True, text=True,
        ).stdout  # fmt: skip

    def start(self, *which: str) -> None:
        """Start processes by name; all of them without."""
        commands = {
            "web": ["gunicorn", "--config", "web/gunicorn_conf.py", "web.main:app"],
            "worker": ["dramatiq", "actors.main", "--processes", "1", "--threads", "8"],
        }
        for name in which or commands:
            program = Program(
                name=f"{self._name}-{name}",
                argv=[str(Path(sys.executable).parent / commands[name][0]), *commands[name][1:]],
                log=self.log(name),
                owner=ROOT,
                cwd=CHECKOUT,
                environment=self.environment,
            )
            self._running[name] = (program, processes.start(program))
        if not which or "web" in which:
            eventually(self._ready, what=f"web ready; see {self.log('web')}")

    def stop(self, *which: str) -> None:
        """Stop processes as a platform does: SIGTERM, then patience."""
        for name in which or list(self._running):
            program, process = self._running.pop(name)
            processes.end(process, program)

    def kill(self, name: str) -> None:
        """kill -9, the whole process group."""
        processes.kill_group(self._running.pop(name)[1])

    def log(self, name: str) -> Path:
        return ROOT / "log" / f"{self._name}-{name}.log"

    def client(self, key: str = API_KEY) -> httpx.Client:
        return httpx.Client(
            base_url=self.base_url, headers={"Authorization": f"Bearer {key}"}, timeout=40
        )

    def sql(self, statement: str, *params: object) -> list[tuple[Any, ...]]:
        """Rows of a statement on the system's database."""
        connection = psycopg2.connect(self.environment["DATABASE_URL"])
        try:
            with connection, connection.cursor() as cursor:
                cursor.execute(statement, params)
                return cursor.fetchall() if cursor.description else []
        finally:
            connection.close()

    def _ready(self) -> bool:
        try:
            return httpx.get(f"{self.base_url}/readyz", timeout=5).status_code == 200
        except httpx.TransportError:
            return False


@pytest.fixture(scope="session")
def system(postgres: Postgres, rabbitmq: RabbitMQ) -> Iterator[System]:
    """The whole system, shared by the tests of a session: use SKUs of your own."""
    running = System(postgres, rabbitmq, "e2e")
    running.run("migrate")
    running.run("keys", "ensure-development")
    running.start()
    yield running
    running.stop()


@pytest.fixture
def client(system: System) -> Iterator[httpx.Client]:
    with system.client() as client:
        yield client
