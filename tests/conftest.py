"""Real servers for the tests: a PostgreSQL and a RabbitMQ of their own, and the real processes.

The servers' addresses are settled when this file is read, so that modules of ours may be imported
anywhere; the servers start when a test first asks for one.
"""

import atexit
import os
import shutil
import signal
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
from hypothesis import HealthCheck
from hypothesis import settings as effort

from deploy.local import ports, processes
from deploy.local.processes import Program
from deploy.local.servers import Postgres, RabbitMQ
from models.rules.signing import Signer, derive_key
from tests.generations import private_rabbitmq

# An example may take as long as it takes: Hypothesis gives up on one of 200 ms.
effort.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
effort.load_profile("any machine")

CHECKOUT = Path(__file__).resolve().parent.parent
ROOT = Path(tempfile.mkdtemp(prefix="holdfast-test-"))
atexit.register(shutil.rmtree, ROOT, ignore_errors=True)
#: Of the processes of a `System`: one that is killed leaves its files.
TEMPORARY = ROOT / "tmp"
TEMPORARY.mkdir()

# Started in the background, this process ignores Ctrl-C, and so would all that it starts.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Ports are chosen seconds before they are listened on: each of the processes that share the tests,
# with all that it starts, chooses from some of its own.
_count = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
_share = len(ports.PORTS) // _count
# One that is started in the place of another, which died, has the next number.
_number = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % _count
_first = ports.PORTS[_share * _number]
os.environ[ports.PORTS_VARIABLE] = f"{_first}-{_first + _share - 1}"

# What it holds is worth nothing after a crash of the machine.
_postgres = Postgres(ROOT, fsync="off", full_page_writes="off")
_rabbitmq = private_rabbitmq(ROOT)
#: A database with all tables and the key that may do everything, for others to be copied from.
PREPARED = "prepared"
API_KEY = "hf_test-key-with-every-scope-and-no-limit"

#: Tests that run actors and queries in this process; the processes of `system` have their own.
os.environ.update(
    DATABASE_URL=_postgres.url,
    RABBITMQ_URL=_rabbitmq.url,
    SECRET_KEY="a-secret-for-tests-that-is-long-enough",
    API_KEY=API_KEY,
    HOST="127.0.0.1",
    METRICS_HOST="127.0.0.1",
    WEB_METRICS_PORT="0",
    WORKER_METRICS_PORT="0",
    CLOCK_METRICS_PORT="0",
)
#: Signs as every process of the tests does.
signer = Signer([derive_key(os.environ["SECRET_KEY"])])


#: Test files that share a system which takes long to start; any other file stands for itself.
SHARED = {
    # The browser's tests would be the last to end if they shared one.
    "test_comfort": "looks",
    "test_docs": "looks",
    "test_every_look": "looks",
    "test_every_width": "looks",
    "test_pages": "looks",
    "browser": "browser",
    "test_dashboard_pages": "desk",
    "test_dashboard_audit": "desk",
    "test_dashboard_exports": "desk",
    "test_dashboard_search": "desk",
    "test_dashboard_lists_exported": "desk",
    "test_dashboard_verdict": "desk",
    "test_every_page": "desk",
}


#: Groups in this order, then all others: what takes longest comes first, or one process would do it
#: last while the others have nothing. A process that has one or two tests left takes its next group
#: already, which nobody else can do then: so a short one goes with each half of the torture.
FIRST = (
    "torture of RabbitMQ", "torture all others", "browser", "looks", "test_smoke", "test_readme",
    "test_many_failures", "test_health", "test_make_run", "test_make_run_kills",
    "test_fuzz_intake", "test_outages", "test_transient_faults", "desk",
    "test_rabbitmq_cluster", "test_postgres_failover",
)  # fmt: skip


@pytest.hookimpl(tryfirst=True)  # pytest-xdist reads the marks in a hook of its own
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Several processes share the tests, a file (or what shares a system) at a time, unless the
    test itself says with what it goes."""
    for item in items:
        if item.get_closest_marker("xdist_group") is None:
            names = item.path.stem, item.path.parent.name
            group = next((SHARED[name] for name in names if name in SHARED), item.path.stem)
            item.add_marker(pytest.mark.xdist_group(group))
    items.sort(key=_place)


def _place(item: pytest.Item) -> int:
    (group,) = next(item.iter_markers("xdist_group")).args
    return FIRST.index(group) if group in FIRST else len(FIRST)


def eventually(condition: Callable[[], Any], *, within_s: float = 60.0, what: str = "") -> Any:
    """What a condition returns once it is true; fails if it doesn't become true in time.

    The bound costs nothing while all is well: leave it generous, a machine may be slow.
    """
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
    yield _rabbitmq.start()
    _rabbitmq.kill()


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

    def __init__(
        self,
        postgres: Postgres,
        rabbitmq: RabbitMQ,
        name: str,
        *,
        worker: str = "--processes 1 --threads 8",
        **settings: str,
    ) -> None:
        """worker: its options; settings: beside those that every system has."""
        self.port, *metrics = ports.free_ports(4)
        self.base_url = f"http://127.0.0.1:{self.port}"
        self.metrics_ports = dict(zip(("web", "worker", "clock"), metrics, strict=True))
        self.environment = {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "PYTHONUNBUFFERED": "1",
            "TMPDIR": str(TEMPORARY),
            "DATABASE_URL": postgres.create_database(name),
            "RABBITMQ_URL": rabbitmq.create_vhost(name),
            "SECRET_KEY": os.environ["SECRET_KEY"],
            "API_KEY": API_KEY,
            "HOST": "127.0.0.1",
            "PORT": str(self.port),
            "METRICS_HOST": "127.0.0.1",
            "WEB_METRICS_PORT": str(self.metrics_ports["web"]),
            "WORKER_METRICS_PORT": str(self.metrics_ports["worker"]),
            "CLOCK_METRICS_PORT": str(self.metrics_ports["clock"]),
            **settings,
        }
        self._name = name
        self._postgres = postgres
        self._worker = worker.split()
        self._running: dict[str, Any] = {}

    def run(self, *arguments: str) -> str:
        """Run a command of `holdfast`; returns what it prints."""
        return subprocess.run(
            [sys.executable, "-m", "holdfast", *arguments],
            cwd=CHECKOUT, env=self.environment, check=True, capture_output=True, text=True,
        ).stdout  # fmt: skip

    def prepare(self) -> None:
        """Make its tables, and the key that may do everything: a copy of what was made once."""
        if not self._postgres.query(f"SELECT 1 FROM pg_database WHERE datname = '{PREPARED}'"):
            own = self.environment["DATABASE_URL"]
            self.environment["DATABASE_URL"] = self._postgres.create_database(PREPARED)
            self.run("migrate")
            self.run("keys", "ensure-development")
            self.environment["DATABASE_URL"] = own
        self._postgres.query(f'DROP DATABASE "{self._name}" WITH (FORCE)')
        self._postgres.query(f'CREATE DATABASE "{self._name}" TEMPLATE "{PREPARED}"')

    def start(self, *which: str, ready: bool = True) -> None:
        """Start processes by name; without, all that orders need. ready: wait for the web to be."""
        commands = {
            "web": ["python", "-m", "web"],
            "worker": ["python", "-m", "actors", *self._worker],
            "worker-2": ["python", "-m", "actors", *self._worker],
            "clock": ["python", "-m", "holdfast", "clock"],
        }
        for name in which or ("web", "worker"):
            program = Program(
                name=f"{self._name}-{name}",
                argv=[str(Path(sys.executable).parent / commands[name][0]), *commands[name][1:]],
                log=self.log(name),
                owner=ROOT,
                cwd=CHECKOUT,
                environment=self.environment,
                # No process is killed because the machine is slow.
                stop_seconds_max=60,
            )
            self._running[name] = (program, processes.start(program))
        if ready and (not which or "web" in which):
            eventually(self.is_ready, what=f"web ready; see {self.log('web')}")

    def stop(self, *which: str) -> None:
        """Stop processes as a platform does: SIGTERM, then patience."""
        for name in which or list(self._running):
            program, process = self._running.pop(name)
            processes.end(process, program)

    def discard(self) -> None:
        """End all of it at once: for the end of a test, since to stop in order takes seconds."""
        for name in list(self._running):
            self.kill(name)

    def exit_code(self, name: str) -> int | None:
        """Of a process that was started; None while it runs."""
        code: int | None = self._running[name][1].poll()
        return code

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

    def is_ready(self) -> bool:
        """Whether the front door says that it takes orders."""
        try:
            return httpx.get(f"{self.base_url}/readyz", timeout=5).status_code == 200
        except httpx.TransportError:
            return False


@pytest.fixture(scope="session")
def system(postgres: Postgres, rabbitmq: RabbitMQ) -> Iterator[System]:
    """The whole system, shared by the tests of a session: use SKUs of your own."""
    # Tests wait for what workers report, and until a key is looked up again.
    running = System(postgres, rabbitmq, "e2e", REPORT_EVERY_S="0.5", API_KEY_CACHE_S="1")
    running.prepare()
    running.start()
    yield running
    running.discard()


@pytest.fixture
def client(system: System) -> Iterator[httpx.Client]:
    with system.client() as client:
        yield client
