"""One PostgreSQL and one RabbitMQ for all contenders, durable, private to the bench."""

import contextlib
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg2
from psycopg2.extensions import connection

from deploy.local.servers import Postgres, RabbitMQ


@dataclass(frozen=True)
class Servers:
    """The two, running."""

    postgres: Postgres
    rabbitmq: RabbitMQ

    def checkpoint(self) -> None:
        """Every run starts with nothing left to write of the one before."""
        self.postgres.query("CHECKPOINT")

    def components(self) -> dict[str, list[int]]:
        return {"RabbitMQ": [self.rabbitmq.pid], "PostgreSQL": [self.postgres.pid]}

    def versions(self) -> dict[str, str]:
        version = self.postgres.query("SHOW server_version")
        return {"postgresql": version.split()[0], "rabbitmq": self._rabbitmq_version()}

    def settings(self) -> dict[str, str]:
        """What of PostgreSQL's settings a reader has to know."""
        names = ("fsync", "synchronous_commit", "full_page_writes", "shared_buffers",
                 "max_wal_size")  # fmt: skip
        return {name: self.postgres.query(f"SHOW {name}") for name in names}

    def _rabbitmq_version(self) -> str:
        found = re.search(r"\d+\.\d+\.\d+", self.rabbitmq.ctl("version"))
        return found[0] if found else "unknown"


@contextlib.contextmanager
def running(var: Path) -> Iterator[Servers]:
    """Both servers, new below `var`, stopped and removed at the end."""
    remove(var)
    try:
        with Postgres(var) as postgres, RabbitMQ(var) as rabbitmq:
            yield Servers(postgres, rabbitmq)
    finally:
        remove(var)


def remove(var: Path) -> None:
    """What a run leaves would be in the way of the next: gigabytes, and queues of other makes."""
    for server in (Postgres, RabbitMQ):
        shutil.rmtree(var / server.name, ignore_errors=True)
        (var / f"{server.name}.json").unlink(missing_ok=True)


@contextlib.contextmanager
def connected(url: str) -> Iterator[connection]:
    """A connection that commits every statement by itself."""
    opened = psycopg2.connect(url)
    opened.autocommit = True
    try:
        yield opened
    finally:
        opened.close()
