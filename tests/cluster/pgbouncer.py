"""A private PgBouncer before a private PostgreSQL, as Debian ships it but for where it listens."""

from pathlib import Path
from typing import Any, Final

import psycopg2

from deploy.local import ports
from deploy.local.postgres import Postgres
from deploy.local.processes import Program
from deploy.local.programs import program
from deploy.local.server import NAME, Server, plain_environment

FILE: Final = """
[databases]
* = host=127.0.0.1 port={server}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = scram-sha-256
auth_file = {users}
{options}
"""


class PgBouncer(Server):
    """options: of the section [pgbouncer], beside those that say where things are."""

    name = "pgbouncer"
    title = "PgBouncer"
    ready_seconds_max = 20.0

    def __init__(self, root: Path, primary: Postgres, **options: str) -> None:
        super().__init__(root)
        self._primary = primary
        self._options = options

    def initial_settings(self) -> dict[str, Any]:
        return {"port": ports.free_ports(1)[0]}

    @property
    def url(self) -> str:
        return self.database_url(NAME)

    def database_url(self, database: str) -> str:
        return f"postgresql://{NAME}:{self._primary.password}@127.0.0.1:{self.port}/{database}"

    def programs(self) -> list[Program]:
        return [
            Program(
                name=self.name, argv=[str(program(self.name)), str(self.folder / "pgbouncer.ini")],
                log=self.log, owner=self.root, environment=plain_environment(),
                # As PostgreSQL, it refuses to run as root.
                user=self._primary.system_user,
            )
        ]  # fmt: skip

    def prepare(self) -> None:
        self.folder.mkdir(exist_ok=True)
        users, file = self.folder / "users.txt", self.folder / "pgbouncer.ini"
        users.write_text(f'"{NAME}" "{self._primary.password}"\n')
        options = "\n".join(f"{name} = {value}" for name, value in self._options.items())
        file.write_text(
            FILE.format(server=self._primary.port, port=self.port, users=users, options=options)
        )

    def answers(self) -> bool:
        try:
            psycopg2.connect(self.url, connect_timeout=2).close()
        except psycopg2.OperationalError:
            return False
        return True
