"""What operators have switched: queues that are paused, limits set at run time."""

from datetime import datetime
from typing import NamedTuple

from models.database import execute, fetch, reading

# Paused again, a queue has been paused since the first time.
PAUSE = """
INSERT INTO paused_queues (queue, reason, paused_by, paused_at) VALUES (%s, %s, %s, now())
ON CONFLICT (queue) DO UPDATE SET reason = excluded.reason, paused_by = excluded.paused_by
"""

SET_LIMIT = """
INSERT INTO actor_limits (actor, rate_limit, set_by, set_at) VALUES (%s, %s, %s, now())
ON CONFLICT (actor) DO UPDATE
    SET rate_limit = excluded.rate_limit, set_by = excluded.set_by, set_at = excluded.set_at
"""

# Few rows: what people asked for, and decided when.
FREED = """
SELECT a.target, max(c.decided_at)
FROM audit_log AS a JOIN commands AS c ON c.id = a.command_id
WHERE a.at > now() - interval '1 hour' AND a.action IN ('resume_queue', 'set_rate_limit')
  AND c.status = 'applied'
GROUP BY a.target
"""


class PausedQueue(NamedTuple):
    """A queue that workers take nothing from. paused_by: the name of a key."""

    queue: str
    reason: str
    paused_by: str
    paused_at: datetime


class ActorLimit(NamedTuple):
    """A limit that holds instead of the one in the settings. set_by: the name of a key."""

    actor: str
    rate_limit: str
    set_by: str
    set_at: datetime


def paused() -> list[PausedQueue]:
    """The queues that are paused."""
    with reading():
        rows = fetch("SELECT queue, reason, paused_by, paused_at FROM paused_queues ORDER BY queue")
    return [PausedQueue(*row) for row in rows]


def limits() -> list[ActorLimit]:
    """The limits that are set."""
    with reading():
        rows = fetch("SELECT actor, rate_limit, set_by, set_at FROM actor_limits ORDER BY actor")
    return [ActorLimit(*row) for row in rows]


@reading()
def freed() -> dict[str, datetime]:
    """When queues were last resumed and limits changed, within the hour: by `queue:NAME` and
    `actor:NAME`, as the audit log has them."""
    return dict(fetch(FREED))


def pause(queue: str, reason: str, by: str) -> None:
    """Note a queue as paused."""
    execute(PAUSE, (queue, reason, by))


def resume(queue: str) -> bool:
    """Note a queue as not paused; whether it was."""
    return execute("DELETE FROM paused_queues WHERE queue = %s", (queue,)) == 1


def set_limit(actor: str, rate_limit: str | None, by: str) -> None:
    """Set an actor's limit, or remove it (None)."""
    if rate_limit is None:
        execute("DELETE FROM actor_limits WHERE actor = %s", (actor,))
    else:
        execute(SET_LIMIT, (actor, rate_limit, by))
