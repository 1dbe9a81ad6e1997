"""A private PostgreSQL."""

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

from deploy.local import processes
from deploy.local.install import postgres_binaries
from deploy.local.processes import Program
from deploy.local.server import NAME, Server, ServerError, log_tail, plain_environment

MIB = 1024 * 1024


class Postgres(Server):
    """A private PostgreSQL. `options` are server settings put over the defaults below."""

    name = "postgres"
    title = "PostgreSQL"
    # After a crash it replays up to max_wal_size of log first.
    ready_seconds_max = 60.0

    def __init__(self, root: Path, **options: str) -> None:
        super().__init__(root)
        self.data = self.folder / "data"
        self.options = options
        # PostgreSQL refuses to run as root.
        self.system_user = "postgres" if os.geteuid() == 0 else None

    @property
    def binaries(self) -> Path:
        return postgres_binaries()

    @property
    def url(self) -> str:
        return self.database_url(NAME)

    def database_url(self, database: str) -> str:
        return f"postgresql://{NAME}:{self.password}@127.0.0.1:{self.port}/{database}"

    def programs(self) -> list[Program]:
        options = {**self.defaults(), **self.options}
        flags = [f"--{name}={value}" for name, value in options.items()]
        server = str(self.binaries / "postgres")
        return [self._program("postgres", [server, "-D", self._data_argument(), *flags])]

    def defaults(self) -> dict[str, str]:
        """For a laptop or a small server that it shares with the rest; every commit is durable."""
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        shared_buffers = max(128, min(1024, memory // 4 // MIB))
        return {
            "listen_addresses": "127.0.0.1",
            "port": str(self.port),
            # A socket's path may have 107 bytes, a checkout's path more.
            "unix_socket_directories": "",
            "max_connections": "200",
            "shared_buffers": f"{shared_buffers}MB",
            "wal_buffers": "64MB",
            "max_wal_size": "8GB",
            "checkpoint_timeout": "15min",
            "random_page_cost": "1.1",
            "jit": "off",
            "track_io_timing": "off",
            "timezone": "UTC",
            "log_timezone": "UTC",
            "log_line_prefix": "%m [%p] %q%a ",
        }

    def prepare(self) -> None:
        if (self.data / "PG_VERSION").exists():
            self._remove_stale_lock()
            return
        # An earlier attempt may have been cut short; without PG_VERSION there is nothing to lose.
        shutil.rmtree(self.data, ignore_errors=True)
        self.data.mkdir(parents=True)
        self.data.chmod(0o700)
        self.give_to_server(self.data)
        self.fill()

    def fill(self) -> None:
        """Make a new cluster in the empty folder."""
        with tempfile.NamedTemporaryFile("w") as password:
            password.write(self.password)
            password.flush()
            self.give_to_server(Path(password.name))
            self._initdb(password.name)

    def give_to_server(self, path: Path) -> None:
        """Let the server's own user have it, where it runs as one."""
        if self.system_user:
            account = pwd.getpwnam(self.system_user)
            os.chown(path, account.pw_uid, account.pw_gid)

    def answers(self) -> bool:
        return self._client(
            "pg_isready", "--quiet", "--timeout=2", "--dbname=postgres"
        ).returncode == 0 and (self._psql("SELECT 1", "postgres").returncode == 0)

    def complete(self) -> None:
        """Create our database, once the server answers for the first time."""
        if not self.query(f"SELECT 1 FROM pg_database WHERE datname = '{NAME}'"):
            self.create_database(NAME)

    def kill(self) -> None:
        """Also wait for the backends, who notice by themselves: until then no start succeeds."""
        backends = children(self.pid) if self._running else []
        super().kill()
        processes.wait_until(lambda: not any(map(processes.is_running, backends)), 10.0)

    def create_database(self, name: str) -> str:
        """Create a database and return its URL."""
        self.query(f'CREATE DATABASE "{name}"')
        return self.database_url(name)

    def query(self, sql: str, database: str = "postgres") -> str:
        """Run `sql`; rows come back as unaligned text."""
        done = self._psql(sql, database)
        if done.returncode:
            raise ServerError(done.stderr.strip())
        return done.stdout.strip()

    def _initdb(self, password_file: str) -> None:
        initdb = [str(self.binaries / "initdb"), "-D", self._data_argument(), "--encoding=UTF8"]
        initdb += ["--locale=C", f"--username={NAME}", f"--pwfile={password_file}"]
        initdb += ["--auth=scram-sha-256", "--no-instructions"]
        program = self._program("initdb", initdb)
        if processes.start(program).wait() != 0:
            raise ServerError(f"initdb failed.\n{log_tail(self.log)}")

    def _program(self, name: str, argv: list[str]) -> Program:
        return Program(
            name=name,
            argv=argv,
            log=self.log,
            owner=self.root,
            environment=plain_environment(),
            user=self.system_user,
            # "Fast": roll back and close; SIGTERM would wait for every client to leave.
            stop_signal=signal.SIGINT,
            stop_seconds_max=15.0,
            folder=self.data if self.system_user else None,
        )

    def _data_argument(self) -> str:
        """The folder as PostgreSQL sees it.

        The checkout may lie below a folder that only root may enter (root's home, mktemp -d), and
        the user `postgres` then can't open the data by its path. It can by a descriptor opened
        before the switch, through /proc, which is resolved without walking the path.
        """
        return "/proc/self/fd/9" if self.system_user else str(self.data)

    def _remove_stale_lock(self) -> None:
        """Drop postmaster.pid when its process isn't a server of this folder.

        After a crash of the machine the number may belong to another server of the same user,
        and PostgreSQL would refuse to start.
        """
        lock = self.data / "postmaster.pid"
        if not lock.exists():
            return
        cwd = Path("/proc", lock.read_text().splitlines()[0], "cwd")
        if Path("/proc/self").exists() and not (cwd.exists() and cwd.samefile(self.data)):
            lock.unlink()

    def _psql(self, sql: str, database: str) -> subprocess.CompletedProcess[str]:
        options = ["--no-psqlrc", "--tuples-only", "--no-align", "--set=ON_ERROR_STOP=1"]
        return self._client("psql", *options, f"--dbname={database}", f"--command={sql}")

    def _client(self, name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        where = ["--host=127.0.0.1", f"--port={self.port}", f"--username={NAME}"]
        return subprocess.run(
            [str(self.binaries / name), *where, *arguments],
            env={**plain_environment(), "PGPASSWORD": self.password, "PGCONNECT_TIMEOUT": "5"},
            capture_output=True,
            text=True,
            check=False,
        )


def children(pid: int) -> list[int]:
    """The direct children of a process, where the system tells (Linux)."""
    listed = Path(f"/proc/{pid}/task/{pid}/children")
    return [int(child) for child in listed.read_text().split()] if listed.exists() else []
