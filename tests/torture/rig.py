"""The system under torture: private servers behind proxies, sabotaged processes kept running."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from time import monotonic
from types import TracebackType
from typing import Any, Final, Self

import httpx
import psycopg2
import psycopg2.extensions

from deploy.local import ports, processes
from deploy.local.processes import Program
from deploy.local.servers import Postgres
from tests.generations import private_rabbitmq
from tests.torture.failpoints import FOLDER_VARIABLE, Failpoints
from tests.torture.proxy import Loop, Proxy

CHECKOUT: Final = Path(__file__).resolve().parents[2]
API_KEY: Final = "hf_torture-key-with-every-scope-and-no-limit"
NAME: Final = "torture"
#: Between the parts, each way that can break by itself.
LINKS: Final = ("web-database", "web-broker", "worker-database", "worker-broker")
WORKERS: Final = ("worker-1", "worker-2")
WEB_PROCESSES: Final = 2
RESTART_PAUSE_S: Final = 0.2
READY_S_MAX: Final = 60.0
#: Short, so that what times out does so within a run; they nest as the product's own do.
TIMEOUTS: Final = {
    "HEARTBEAT_S": "2",
    "BLOCKED_TIMEOUT_S": "1",
    "PUBLISH_DEADLINE_S": "2",
    "CONNECT_TIMEOUT_S": "2",
    "LOCK_TIMEOUT_MS": "700",
    "STATEMENT_TIMEOUT_MS": "5000",
    "TCP_USER_TIMEOUT_MS": "3000",
}


class RigError(RuntimeError):
    """The rig itself is broken, which says nothing of the product."""


class Keeper:
    """Keeps one program running, as a platform does: whenever it ends it is started again."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.starts = 0
        self.process: subprocess.Popen[bytes] | None = None
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._keep, name=program.name, daemon=True)
        self._thread.start()

    def send(self, number: signal.Signals) -> None:
        """Send the program's main process a signal."""
        if self.process is not None:
            self.process.send_signal(number)

    def kill(self) -> None:
        """kill -9, the whole group."""
        if self.process is not None:
            processes.kill_group(self.process)

    def stop(self) -> None:
        self._stopping.set()
        if self.process is not None:
            processes.end(self.process, self.program, 20.0)
        self._thread.join()

    def _keep(self) -> None:
        while not self._stopping.is_set():
            self.process = processes.start(self.program)
            self.starts += 1
            self.process.wait()
            processes.kill_group(self.process)
            self._stopping.wait(RESTART_PAUSE_S)


class Rig:
    """Everything that a run needs, below one folder; a context manager."""

    programs: tuple[str, ...] = ("web", *WORKERS)

    def __init__(self, folder: Path, checkout: Path = CHECKOUT) -> None:
        self.folder = folder
        self.failpoints = Failpoints(folder / "failpoints")
        self.port, *proxied = ports.free_ports(1 + len(LINKS))
        self.base_url = f"http://127.0.0.1:{self.port}"
        # Sooner than a lock is given up, which would hide a deadlock.
        self.postgres = Postgres(folder, deadlock_timeout="200ms")
        # How often it counts what is in a queue, ms: that all is drained is seen sooner.
        self.rabbitmq = private_rabbitmq(folder, quorum_tick_interval=500)
        self.database_url = self.postgres.database_url(NAME)
        self.broker_url = self.rabbitmq.vhost_url(NAME)
        self.links: dict[str, Proxy] = {}
        self.keepers: dict[str, Keeper] = {}
        self._checkout = checkout
        self._proxied = dict(zip(LINKS, proxied, strict=True))
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self._start(stack)
            self._stack = stack.pop_all()
        return self

    @contextmanager
    def servers_alone(self) -> Iterator[None]:
        """The servers of a run that is over, and none of the service."""
        with self.postgres, self.rabbitmq:
            yield

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stack.close()

    def _start(self, stack: ExitStack) -> None:
        self._start_servers(stack)
        stack.callback(self._stop_all)
        for name in self.programs:
            self.keepers[name] = Keeper(self._program(name))
        self.until(self.is_ready, READY_S_MAX, "the service is ready")

    def _start_servers(self, stack: ExitStack) -> None:
        # RabbitMQ takes the longest, and the database has work to do meanwhile.
        stack.callback(self.rabbitmq.stop)
        self.rabbitmq.launch()
        stack.enter_context(self.postgres)
        self._set_up_database()
        self.rabbitmq.wait_ready().create_vhost(NAME)
        loop = Loop()
        for link, port in self._proxied.items():
            target = self.postgres if link.endswith("database") else self.rabbitmq
            self.links[link] = Proxy(loop, port, target.port)

    def _set_up_database(self) -> None:
        self.postgres.create_database(NAME)
        for arguments in (("migrate",), ("keys", "ensure-development")):
            self._holdfast(*arguments)

    def _holdfast(self, *arguments: str) -> None:
        done = self._run(*arguments)
        if done.returncode:
            raise RigError(f"holdfast {' '.join(arguments)}: {done.stderr}")

    def _run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        environment = {**self._environment("web"), "DATABASE_URL": self.database_url}
        return subprocess.run(
            [sys.executable, "-m", "holdfast", *arguments], cwd=self._checkout, env=environment,
            capture_output=True, text=True, check=False,
        )  # fmt: skip

    def reconcile(self) -> list[str]:
        """What the service itself finds wrong with its books."""
        done = self._run("reconcile", "--all")
        return [] if done.returncode == 0 else [f"{done.stdout[-1000:]}{done.stderr[-500:]}"]

    def _stop_all(self) -> None:
        with ThreadPoolExecutor() as beside:
            list(beside.map(Keeper.stop, self.keepers.values()))

    def _program(self, name: str) -> Program:
        if name == "web":
            argv = ["-m", "gunicorn", "--config", "web/gunicorn_conf.py",
                    "tests.torture.saboteur:web_app()"]  # fmt: skip
        else:
            argv = ["-m", "tests.torture.saboteur", "--processes", "1", "--threads", "4",
                    "--worker-shutdown-timeout", "5000"]  # fmt: skip
        return Program(
            name=name, argv=[sys.executable, *argv], log=self.log(name), owner=self.folder,
            cwd=self._checkout, environment=self._environment(name.partition("-")[0]),
        )  # fmt: skip

    def _environment(self, role: str) -> dict[str, str]:
        to_database = str(self._proxied[f"{role}-database"])
        to_broker = str(self._proxied[f"{role}-broker"])
        return {
            "PATH": os.environ["PATH"],
            "PYTHONUNBUFFERED": "1",
            "DATABASE_URL": self.database_url.replace(str(self.postgres.port), to_database),
            "RABBITMQ_URL": self.broker_url.replace(str(self.rabbitmq.port), to_broker),
            "SECRET_KEY": "a-secret-for-torture-that-is-long-enough",
            "API_KEY": API_KEY,
            "HOST": "127.0.0.1",
            "PORT": str(self.port),
            "WEB_CONCURRENCY": str(WEB_PROCESSES),
            "WEB_METRICS_PORT": "0",
            "WORKER_METRICS_PORT": "0",
            "CLOCK_METRICS_PORT": "0",
            "REPORT_EVERY_S": "0.5",
            # So that a few seconds of a flood fill it.
            "QUEUE_LENGTH_MAX": "60",
            FOLDER_VARIABLE: str(self.failpoints.folder),
            **TIMEOUTS,
        }

    def log(self, name: str) -> Path:
        return self.folder / "log" / f"{name}.log"

    def client(self, timeout_s: float = 10.0) -> httpx.Client:
        """Somebody with every right."""
        headers = {"Authorization": f"Bearer {API_KEY}"}
        return httpx.Client(base_url=self.base_url, headers=headers, timeout=timeout_s)

    def is_ready(self) -> bool:
        """Whether the front door says that it takes orders."""
        try:
            return httpx.get(f"{self.base_url}/readyz", timeout=3).status_code == 200
        except httpx.TransportError:
            return False

    def until(self, condition: Callable[[], Any], within_s: float, what: str) -> None:
        """Wait for a condition; raises RigError when it has not come true in time."""
        if not processes.wait_until(condition, within_s):
            raise RigError(f"not within {within_s:g} s: {what}")

    def connect(self) -> psycopg2.extensions.connection:
        """The rig's own way to the database, past the proxies; every statement by itself."""
        connection = psycopg2.connect(self.database_url, connect_timeout=3)
        connection.autocommit = True
        return connection

    def sql(self, statement: str, *params: object) -> list[tuple[Any, ...]]:
        """Rows of one statement."""
        connection = self.connect()
        try:
            with connection.cursor() as cursor:
                cursor.execute(statement, params)
                return cursor.fetchall() if cursor.description else []
        finally:
            connection.close()

    def backlog_at_rest(self, within_s: float) -> dict[str, int]:
        """As backlog, of a service that has nothing to do: RabbitMQ counts now and then only."""
        processes.wait_until(lambda: not self.backlog(), within_s)
        return self.backlog()

    def backlog(self) -> dict[str, int]:
        """Messages by queue, ready and unacknowledged together; only queues that have any."""
        listed = self.rabbitmq.ctl(
            "list_queues", "-p", NAME, "--no-table-headers", "name", "messages"
        )
        rows = (line.split() for line in listed.splitlines())
        counts = {row[0]: int(row[1]) for row in rows if len(row) == 2 and row[1].isdecimal()}
        return {name: count for name, count in counts.items() if count}


@contextmanager
def locked_stock(rig: Rig) -> Iterator[None]:
    """The stock of all SKUs, locked by somebody else: of one alone, orders may find nothing left,
    and who is refused locks nothing."""
    connection = psycopg2.connect(rig.database_url)
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT FROM stock ORDER BY sku, location FOR UPDATE")
        yield
    finally:
        connection.close()


class Stopwatch:
    """Seconds since it was made."""

    def __init__(self) -> None:
        self._began = monotonic()

    @property
    def s(self) -> float:
        return monotonic() - self._began
