"""What the private servers have in common: settings kept in a file, programs, start and stop."""

import json
import os
import secrets
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from deploy.local import ports, processes
from deploy.local.errors import CannotRunError
from deploy.local.processes import Program

# On the server itself: the user, the database and the virtual host.
NAME = "holdfast"


class ServerError(CannotRunError):
    """A server didn't do what was asked; the message ends with the tail of its log."""


class Server:
    """A server whose files all lie below `root`."""

    name: str
    title: str
    ready_seconds_max: float

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()
        self.folder = self.root / self.name
        self.log = self.root / "log" / f"{self.name}.log"
        self._running: list[tuple[Program, subprocess.Popen[bytes]]] = []
        self.settings = self._load()

    @property
    def port(self) -> int:
        return int(self.settings["port"])

    @property
    def password(self) -> str:
        return str(self.settings["password"])

    @property
    def url(self) -> str:
        raise NotImplementedError

    @property
    def pid(self) -> int:
        """The main process: the one whose death is the server's."""
        return self._running[-1][1].pid

    def programs(self) -> list[Program]:
        """What to run, in the order of starting; the last is the server itself."""
        raise NotImplementedError

    def prepare(self) -> None:
        """Make the folder ready for a start; does nothing the second time."""
        raise NotImplementedError

    def answers(self) -> bool:
        """Whether a client would be served now."""
        raise NotImplementedError

    def complete(self) -> None:
        """What a new server still lacks when it answers; does nothing the second time."""

    def ports(self) -> list[int]:
        """Every port that the server will listen on."""
        return [int(value) for name, value in self.settings.items() if name.endswith("port")]

    @classmethod
    def exists(cls, root: Path) -> bool:
        """Whether a server was ever set up below `root`."""
        return (root / f"{cls.name}.json").exists()

    def initial_settings(self) -> dict[str, Any]:
        return {"port": ports.free_ports(1)[0], "password": secrets.token_hex(16)}

    def start(self) -> Self:
        return self.launch().wait_ready()

    def launch(self) -> Self:
        """Start it and do not wait: others may meanwhile."""
        self.prepare()
        for program in self.programs():
            self._running.append((program, processes.start(program)))
        return self

    def stop(self) -> None:
        while self._running:
            program, process = self._running.pop()
            processes.end(process, program)

    def kill(self) -> None:
        """As the kernel or an impatient operator would: `kill -9`, no good-bye."""
        while self._running:
            processes.kill_group(self._running.pop()[1])

    def restart(self) -> Self:
        self.stop()
        return self.start()

    def wait_ready(self) -> Self:
        def settled() -> bool:
            return self.answers() or not self._alive()

        if not processes.wait_until(settled, self.ready_seconds_max) or not self._alive():
            self.kill()
            raise ServerError(f"{self.title} did not start.\n{log_tail(self.log)}")
        self.complete()
        return self

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def _alive(self) -> bool:
        return bool(self._running) and all(p.poll() is None for _, p in self._running)

    def _load(self) -> dict[str, Any]:
        path = self.root / f"{self.name}.json"
        if not path.exists():
            self.root.mkdir(parents=True, exist_ok=True)
            write_private(path, json.dumps(self.initial_settings(), indent=2))
        settings: dict[str, Any] = json.loads(path.read_text())
        return settings


def plain_environment() -> dict[str, str]:
    """Enough to run a server, and nothing of the caller's PG* or RABBITMQ_* variables."""
    path = os.environ.get("PATH", "/usr/local/bin:/usr/bin:/bin")
    return {"PATH": path, "LANG": "C.UTF-8", "LC_ALL": "C.UTF-8"}


def write_private(path: Path, text: str, mode: int = 0o600) -> None:
    """Write a file that holds a secret: never readable by others, not even for a moment."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)


def log_tail(log: Path, lines: int = 15) -> str:
    if not log.exists():
        return ""
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])
