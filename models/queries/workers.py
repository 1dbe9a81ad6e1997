"""Worker processes: what each last said of itself."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from models.database import Row, execute, fetch, reading
from models.queries.inbox import json_text

REPORT = """
INSERT INTO workers (id, host, pid, version, started_at, seen_at, threads, threads_busy,
                     memory_bytes, holds)
VALUES (%s, %s, %s, %s, %s, now(), %s, %s, %s, %s::jsonb)
ON CONFLICT (id) DO UPDATE
SET seen_at = excluded.seen_at, threads = excluded.threads, threads_busy = excluded.threads_busy,
    memory_bytes = excluded.memory_bytes, holds = excluded.holds
"""

SELECT = """
SELECT id, host, pid, version, started_at, threads, threads_busy, memory_bytes, holds, seen_at
FROM workers
"""
EVERY = SELECT + "ORDER BY started_at, id"
LIVE = SELECT + "WHERE seen_at > now() - %s * interval '1 s' ORDER BY started_at, id"


@dataclass(frozen=True, slots=True)
class WorkerReport:
    """A worker process. holds, by queue (times in milliseconds since 1970):

    {"unacked": n, "oldest_ms": …|null, "delayed_held": n, "next_eta_ms": …|null, "delayed": [the
    soonest 20: {"message_id", "actor", "eta_ms", "retries", "reason": see actors/holdings.py,
    "error", "commands": how many}], "put_back": [the longest 20 together: {"message_id", "queue",
    "actor", "count", "first_ms", "last_ms", "error"}]}
    """

    id: str
    host: str
    pid: int
    version: str
    started_at: datetime
    threads: int
    threads_busy: int
    memory_bytes: int
    holds: dict[str, dict[str, Any]]


@dataclass(frozen=True, slots=True)
class WorkerRow(WorkerReport):
    """seen_at: when it last reported, by the database's clock."""

    seen_at: datetime


def report(worker: WorkerReport) -> None:
    """Write down what a worker says of itself."""
    execute(
        REPORT,
        (
            worker.id, worker.host, worker.pid, worker.version, worker.started_at, worker.threads,
            worker.threads_busy, worker.memory_bytes, json_text(worker.holds),
        ),
    )  # fmt: skip


@reading()
def live(within_s: float = 15.0) -> list[WorkerRow]:
    """The workers that have reported lately, oldest first."""
    return [_row(row) for row in fetch(LIVE, (within_s,))]


@reading()
def every() -> list[WorkerRow]:
    """All workers, those that died included for a day, oldest first."""
    return [_row(row) for row in fetch(EVERY)]


def remove(worker_id: str) -> None:
    """Remove a worker that has stopped."""
    execute("DELETE FROM workers WHERE id = %s", (worker_id,))


def forget_unseen() -> int:
    """Remove workers that died without a word a day ago; returns how many."""
    return execute("DELETE FROM workers WHERE seen_at < now() - interval '1 day'")


def _row(row: Row) -> WorkerRow:
    return WorkerRow(*row)
