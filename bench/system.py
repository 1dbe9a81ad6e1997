"""A contender in operation: its processes over the bench's servers, started and stopped."""

import os
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from bench.contenders import API_KEY, SECRET_KEY, Contender
from bench.machine import CHECKOUT, VAR
from bench.servers import Servers, connected
from deploy.local import processes, procfile
from deploy.local.errors import CannotRunError
from deploy.local.processes import Program
from deploy.local.server import log_tail

READY_SECONDS_MAX = 60.0
STOP_SECONDS_MAX = 20.0


class StartError(CannotRunError):
    """A contender did not come up; the message ends with its logs."""


class Site:
    """Where a contender lives: its database, its virtual host, the programs it runs on.

    checkout: whose code it runs.
    """

    def __init__(
        self,
        contender: Contender,
        servers: Servers,
        programs: Path,
        *,
        database: str,
        checkout: Path = CHECKOUT,
    ) -> None:
        self.contender = contender
        self.servers = servers
        self.programs = programs
        self.checkout = checkout
        self.database_url = servers.postgres.create_database(database)
        self.rabbitmq_url = servers.rabbitmq.create_vhost(database)

    def build(self) -> Self:
        """The contender's tables and 1,000 products."""
        for command in self.contender.prepare:
            self.finish(command)
        with connected(self.database_url) as database, database.cursor() as cursor:
            if self.contender.schema:
                cursor.execute(self.contender.schema)
            cursor.execute(self.contender.catalogue)
        self.reset()
        return self

    def reset(self) -> None:
        """No orders, all stock back on hand, nothing left for autovacuum or a checkpoint to do."""
        with connected(self.database_url) as database, database.cursor() as cursor:
            cursor.execute(self.contender.empty)
            cursor.execute(self.contender.receive)
            cursor.execute("VACUUM (FULL, ANALYZE) stock")
            cursor.execute("VACUUM (ANALYZE) products")
        self.servers.checkpoint()

    def finish(self, command: str) -> None:
        """Run a command to its end; raises StartError where it fails."""
        program = self.program("prepare", command, self.environment({}))
        process = processes.start(program)
        try:
            status = process.wait(120)
        finally:
            processes.kill_group(process)
        if status:
            raise StartError(f"`{command}` failed.\n{log_tail(program.log)}")

    def environment(self, extra: Mapping[str, str]) -> dict[str, str]:
        return {
            "PATH": f"{self.programs}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
            "LANG": "C.UTF-8",
            "PYTHONUNBUFFERED": "1",
            "DATABASE_URL": self.database_url,
            "RABBITMQ_URL": self.rabbitmq_url,
            "SECRET_KEY": SECRET_KEY,
            "API_KEY": API_KEY,
            "HOST": "127.0.0.1",
            **extra,
        }

    def program(self, name: str, command: str, environment: Mapping[str, str]) -> Program:
        return Program(
            name=name,
            argv=procfile.argv(command),
            log=VAR / "log" / f"{self.contender.name}-{name}.log",
            owner=VAR,
            cwd=self.checkout,
            environment=environment,
            stop_seconds_max=STOP_SECONDS_MAX,
        )


class System:
    """The processes of a contender, from `with` to its end."""

    def __init__(self, site: Site, environment: Mapping[str, str]) -> None:
        self.site = site
        self.port = _free_port()
        self._environment = site.environment({"PORT": str(self.port), **environment})
        self._running: dict[str, tuple[Program, subprocess.Popen[bytes]]] = {}

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def components(self) -> dict[str, list[int]]:
        """Root processes by component, the servers included."""
        own = {name: [process.pid] for name, (_, process) in self._running.items()}
        return own | self.site.servers.components()

    def __enter__(self) -> Self:
        try:
            for name, command in self.site.contender.commands.items():
                program = self.site.program(name, command, self._environment)
                self._running[name] = program, processes.start(program)
            self._wait_ready()
        except BaseException:  # Ctrl-C, too, must leave no process behind
            self.stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """The front door first, then what it leads to."""
        while self._running:
            _, (program, process) = self._running.popitem()
            processes.end(process, program)

    def _wait_ready(self) -> None:
        deadline = time.monotonic() + READY_SECONDS_MAX
        while not self._is_ready():
            dead = [n for n, (_, process) in self._running.items() if process.poll() is not None]
            if dead or time.monotonic() > deadline:
                tails = [log_tail(self._running[name][0].log) for name in dead or self._running]
                raise StartError(f"{self.site.contender.title} did not start.\n" + "\n".join(tails))
            time.sleep(0.1)

    def _is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.address}/readyz", timeout=2) as response:  # nosec B310
                return bool(response.status == 200)
        except (urllib.error.URLError, OSError):
            return False


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])
