"""A private PostgreSQL that follows another: a streaming replica, or what a failover goes to."""

import os
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from deploy.local import ports, processes
from deploy.local.postgres import Postgres, children
from deploy.local.server import NAME, ServerError, log_tail


class Standby(Postgres):
    """A copy of a running server, which then streams its log.

    through: the port of a proxy before the primary. The other options are server settings.
    """

    def __init__(
        self, root: Path, primary: Postgres, through: int | None = None, **options: str
    ) -> None:
        self._primary = primary
        self._through = through or primary.port
        super().__init__(root, **options)

    def initial_settings(self) -> dict[str, Any]:
        return {"port": ports.free_ports(1)[0], "password": self._primary.password}

    def fill(self) -> None:
        """Copy the primary into the empty folder."""
        copy = self._program("basebackup", [
            str(self.binaries / "pg_basebackup"), "--write-recovery-conf", "--checkpoint=fast",
            "--wal-method=stream", f"--pgdata={self._data_argument()}", "--host=127.0.0.1",
            f"--port={self._through}", f"--username={NAME}", "--no-password",
        ])  # fmt: skip
        secret = {**copy.environment, "PGPASSWORD": self.password}
        if processes.start(replace(copy, environment=secret)).wait() != 0:
            raise ServerError(f"pg_basebackup failed.\n{log_tail(self.log)}")

    def promote(self) -> None:
        """Make it a primary; returns when it writes."""
        self.query("SELECT pg_promote()")

    def pause(self) -> None:
        """Apply nothing of the log any more, though it goes on coming in."""
        self.query("SELECT pg_wal_replay_pause()")

    def resume(self) -> None:
        self.query("SELECT pg_wal_replay_resume()")


@contextmanager
def frozen(server: Postgres) -> Iterator[None]:
    """Every process of a server stands still, with all its connections open."""
    # The server first, so that it makes no more of them meanwhile.
    _send([server.pid], signal.SIGSTOP)
    pids = children(server.pid)
    _send(pids, signal.SIGSTOP)
    try:
        yield
    finally:
        _send([*pids, server.pid], signal.SIGCONT)


def _send(pids: Sequence[int], number: signal.Signals) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)
