"""`make run`: from a fresh checkout to a decided order, then keep everything running.

Reads from top to bottom as it happens: settings, servers, migrations, processes, demo, and at the
end everything stopped in the opposite order.
"""

import asyncio
import contextlib
import fcntl
import os
import resource
import secrets
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from actors.terminal import ending
from config import FILE_NAMES, SettingsError, from_files, parse, read_variables
from config.addresses import in_url, reachable
from deploy.local import demo, env_file, metrics, origins, ports, processes, procfile
from deploy.local.console import say, step
from deploy.local.errors import CannotRunError
from deploy.local.origins import Origins
from deploy.local.processes import Program
from deploy.local.server import log_tail
from deploy.local.supervisor import Supervisor, ended
from deploy.local.words import readable, where_next

CHECKOUT = Path(__file__).resolve().parents[2]
READY_SECONDS_MAX = 60.0
OPEN_FILES = 20_000
# What a first run writes into .env, for clients and for the next run.
KEPT = ("API_KEY", "PORT", "DATABASE_URL", "RABBITMQ_URL", "SECRET_KEY")
# The servers' URLs, until it is known where they are.
UNKNOWN_YET = {"DATABASE_URL": "postgresql://", "RABBITMQ_URL": "amqp://"}
# A process that keeps dying before the service is ready won't get better by waiting.
EARLY_DEATHS_MAX = 5
# 20 s are promised. What the processes don't use of it is there for the servers.
STOP_ALL_SECONDS_MAX = 19.0
COMPOSE_SECONDS = 7.0
STOP_SECONDS_MAX = {"web": 4.0, "worker": 5.0, "clock": 1.0}


@dataclass(frozen=True)
class Checkout:
    """Where things lie."""

    root: Path

    @property
    def var(self) -> Path:
        return self.root / "var"

    @property
    def env_file(self) -> Path:
        return self.root / ".env"

    def log(self, name: str) -> Path:
        return self.var / "log" / f"{name}.log"


def main() -> int:
    """Run until stopped; the exit status for the shell."""
    checkout = Checkout(CHECKOUT)
    ending.escape()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    allow_many_files()
    try:
        with only_one(checkout):
            run(checkout)
    except (CannotRunError, SettingsError) as error:
        say(f"\n{error}")
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def allow_many_files() -> None:
    """A connection is an open file, and many systems allow 1024 unless asked."""
    limit, limit_max = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES if limit_max == resource.RLIM_INFINITY else min(OPEN_FILES, limit_max)
    if limit < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, limit_max))


def run(checkout: Checkout) -> None:
    say(f"Holdfast in {checkout.root}")
    if count := processes.end_leftovers(checkout.var):
        say(f"  !  ended {count} processes that an earlier run had left")
    variables = read_variables(os.environ, checkout.env_file)
    settings = with_defaults(variables)
    # All of them now: a process that refuses one later would be started again and again.
    parsed = parse({**UNKNOWN_YET, **settings})
    settings |= {"HOST": parsed.host, "METRICS_HOST": parsed.metrics_host}
    ports.check_own_port(parsed.port, parsed.host)
    with step("servers") as current:
        found = origins.find(settings, checkout.root, checkout.var)
        current.detail = found.in_words()
    for name in found.given:
        origins.check_given(name, found.urls[name])
    for server in found.private.values():
        kept_in = f"var/{server.name}.json"
        ports.check_server_ports(server.title, kept_in, server.ports())
    settings |= found.urls
    kept = {name: settings[name] for name in KEPT if f"{name}_FILE" not in variables}
    added = env_file.add_missing(checkout.env_file, kept)
    if added:
        say(f"  ✓  .env  {', '.join(added)}")
    asyncio.run(Run(checkout, settings, found).until_stopped())


def with_defaults(settings: Mapping[str, str]) -> dict[str, str]:
    """Settings with what a first run chooses: secrets, port, and who may connect.

    What lies in files is read: the processes get the values.
    """
    defaults = {
        "API_KEY": f"hf_{secrets.token_urlsafe(32)}",
        "SECRET_KEY": secrets.token_urlsafe(32),
        "PORT": "8000",
        # On a platform a router stands in front; here nothing else has to reach it.
        "HOST": "127.0.0.1",
        "METRICS_HOST": "127.0.0.1",
    }
    if "CLOUDAMQP_URL" in settings:
        defaults["RABBITMQ_URL"] = settings["CLOUDAMQP_URL"]
    named = {name: text for name, text in settings.items() if name not in FILE_NAMES}
    return {**defaults, **named, **from_files(settings)}


class Run:
    """One run of everything, from the servers' start to the last process's end."""

    def __init__(self, checkout: Checkout, settings: dict[str, str], found: Origins) -> None:
        self.checkout = checkout
        self.settings = settings
        self.origins = found
        self.commands = procfile.read(checkout.root / "Procfile")
        here = f"http://{in_url(reachable(settings['HOST']))}:{settings['PORT']}"
        self.client = demo.Client(here, settings["API_KEY"])
        self.supervisor = Supervisor(report=lambda event: say(f"  !  {event}"))

    async def until_stopped(self) -> None:
        stop = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            # nohup has SIGHUP ignored, and means it.
            if signal.getsignal(number) is not signal.SIG_IGN:
                asyncio.get_running_loop().add_signal_handler(number, stop.set)
        bring_up = asyncio.create_task(self.bring_up())
        stopped = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait({bring_up, stopped}, return_when=asyncio.FIRST_COMPLETED)
            if bring_up.done():
                await bring_up
                await stopped
        finally:
            bring_up.cancel()
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await bring_up
            await self.bring_down()

    async def bring_up(self) -> None:
        if self.origins.compose:
            await asyncio.to_thread(self.origins.compose.start, self.origins.services)
        # All at once: RabbitMQ takes the longest, and the database has work to do meanwhile.
        for server in self.origins.private.values():
            await asyncio.to_thread(server.prepare)
            for program in server.programs():
                self.supervisor.start(program)
        await self.until_ready("DATABASE_URL")
        with step("migrations"):
            await self.finish("release", self.commands["release"])
        with step("development key"):
            await self.finish("keys", "python -m holdfast keys ensure-development")
        await self.until_ready("RABBITMQ_URL")
        # Just before they are listened on: so another run hardly chooses the same.
        self.settings |= metrics.choose(self.settings, lambda text: say(f"  !  {text}"))
        # The front door last, when all that it leads to is there; stopping goes the other way.
        for name in reversed([name for name in self.commands if name != "release"]):
            self.supervisor.start(self.program(name, self.commands[name]))
        with step(", ".join(name for name in self.commands if name != "release")):
            await self.eventually(self.client.is_ready, READY_SECONDS_MAX, "the service")
        with step("demo catalogue") as current:
            added = await asyncio.to_thread(demo.ensure_catalogue, self.client)
            current.detail = f"{added} products added" if added else "is there"
        with step("sample order") as current:
            began = time.monotonic()
            order = await asyncio.to_thread(demo.place_sample_order, self.client)
            took_ms = (time.monotonic() - began) * 1000
            current.detail = f"{demo.in_words(order)}; decided and answered in {took_ms:.0f} ms"
        served = await asyncio.to_thread(metrics.addresses, self.settings)
        say(where_next(self.client, self.checkout.var / "log", order, served))

    async def bring_down(self) -> None:
        with step("stopped"):
            compose = self.origins.compose
            await self.supervisor.stop(STOP_ALL_SECONDS_MAX - (COMPOSE_SECONDS if compose else 0))
            if compose:
                await asyncio.to_thread(compose.stop, self.origins.services)
            await asyncio.to_thread(processes.end_leftovers, self.checkout.var)

    async def until_ready(self, name: str) -> None:
        """Wait for the private server that the setting `name` points to, if there is one."""
        server = self.origins.private.get(name)
        if not server:
            return
        with step(server.title) as current:
            await self.eventually(server.answers, server.ready_seconds_max, server.title)
            await asyncio.to_thread(server.complete)
            current.detail = f"127.0.0.1:{server.port}"

    async def eventually(
        self, condition: Callable[[], bool], seconds_max: float, title: str
    ) -> None:
        """Wait for `condition`, unless a process keeps dying meanwhile."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds_max
        while not await asyncio.to_thread(condition):
            failing = [name for name, n in self.supervisor.deaths.items() if n >= EARLY_DEATHS_MAX]
            if failing or loop.time() > deadline:
                names = failing or [name for name in self.commands if name != "release"]
                tails = "\n".join(self.excerpt(name) for name in names)
                raise CannotRunError(f"{title} did not get ready.\n{tails}")
            await asyncio.sleep(0.1)

    async def finish(self, name: str, command: str) -> None:
        """Run a command that has to succeed before anything goes on."""
        program = self.program(name, command)
        process = processes.start(program)
        try:
            status = await ended(process)
        finally:
            processes.kill_group(process)
        if status:
            raise CannotRunError(f"`{command}` failed.\n{self.excerpt(name)}")

    def program(self, name: str, command: str) -> Program:
        return Program(
            name=name,
            argv=procfile.argv(command),
            log=self.checkout.log(name),
            owner=self.checkout.var,
            cwd=self.checkout.root,
            environment=self.process_environment(),
            stop_seconds_max=STOP_SECONDS_MAX.get(name, 2.0),
        )

    def process_environment(self) -> dict[str, str]:
        # Not resolved: the environment's own python is a link to the machine's.
        programs = Path(sys.executable).parent
        path = f"{programs}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
        inherited = {name: text for name, text in os.environ.items() if name not in FILE_NAMES}
        return {**inherited, **self.settings, "PATH": path, "PYTHONUNBUFFERED": "1"}

    def excerpt(self, name: str) -> str:
        log = self.checkout.log(name)
        lines = map(readable, log_tail(log).splitlines())
        return "\n".join([f"--- {log.relative_to(self.checkout.root)}", *lines])


@contextlib.contextmanager
def only_one(checkout: Checkout) -> Iterator[None]:
    """Hold the checkout: two runs would fight over its servers."""
    checkout.var.mkdir(exist_ok=True)
    with (checkout.var / "run.lock").open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CannotRunError(f"`make run` is already running here{_pid_in(file)}.") from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


def _pid_in(file: TextIO) -> str:
    file.seek(0)
    pid = file.read().strip()
    return f" (process {pid})" if pid else ""


if __name__ == "__main__":
    sys.exit(main())
