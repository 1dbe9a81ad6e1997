"""Attempts at messages, noted before they begin and forgotten when they end: see actors/crashes.py.

Each of these is committed by itself: that is the point of them.
"""

from collections.abc import Sequence

from models.database import execute, fetch, reading, text_array

# xmax is 0 in a row that is new.
BEGIN = """
INSERT INTO attempts AS a (message_id, alone, last_at) VALUES (%s, 0, clock_timestamp())
ON CONFLICT (message_id) DO UPDATE SET last_at = excluded.last_at
RETURNING CASE WHEN a.xmax <> 0 THEN a.alone END
"""
BEGIN_ALONE = """
INSERT INTO attempts AS a (message_id, alone, last_at) VALUES (%s, 1, clock_timestamp())
ON CONFLICT (message_id) DO UPDATE SET alone = a.alone + 1, last_at = excluded.last_at
"""
END = "DELETE FROM attempts WHERE message_id = ANY (%s::text[])"
FORGET = "DELETE FROM attempts WHERE last_at < clock_timestamp() - interval '1 day'"


@reading()
def begin(message_id: str) -> int | None:
    """Note an attempt. None, or how many lone ones never ended, where one is noted already."""
    ((alone,),) = fetch(BEGIN, (message_id,))
    return None if alone is None else int(alone)


@reading()
def begin_alone(message_id: str) -> None:
    """Note an attempt that has its process to itself."""
    execute(BEGIN_ALONE, (message_id,))


@reading()
def end(message_ids: Sequence[str]) -> None:
    """Forget attempts: they ended, in one way or another."""
    execute(END, (text_array(message_ids),))


@reading()
def forget_old() -> int:
    """Forget attempts of messages that never came again; returns how many."""
    return execute(FORGET)
