"""Counters with an expiry, for the actors' rate limiters. Times to live are in milliseconds.

All workers change the same row, for each message: it must not be held while a commit is flushed.
After a crash of PostgreSQL a few more messages than the limit may run, once.
"""

from collections.abc import Sequence

from models.database import UNFLUSHED, execute, fetch, reading, text_array, transaction

ADD = f"""
INSERT INTO rate_limits AS r (key, value, expires_at)
SELECT %s, %s, clock_timestamp() + %s * interval '1 ms' FROM {UNFLUSHED}
ON CONFLICT (key) DO UPDATE SET value = excluded.value, expires_at = excluded.expires_at
    WHERE r.expires_at <= clock_timestamp()
"""
INCREASE = f"""
UPDATE rate_limits
SET value = value + %s, expires_at = clock_timestamp() + %s * interval '1 ms'
FROM {UNFLUSHED}
WHERE key = %s AND value + %s <= %s AND expires_at > clock_timestamp()
"""
DECREASE = f"""
UPDATE rate_limits
SET value = value - %s, expires_at = clock_timestamp() + %s * interval '1 ms'
FROM {UNFLUSHED}
WHERE key = %s AND value - %s >= %s AND expires_at > clock_timestamp()
"""
SUM = """
SELECT coalesce(sum(value), 0) FROM rate_limits
WHERE key = ANY (%s::text[]) AND expires_at > clock_timestamp()
"""
TAKE_TURN = f"SELECT pg_advisory_xact_lock(hashtext(%s)) FROM {UNFLUSHED}"
ADD_OR_INCREASE = """
INSERT INTO rate_limits AS r (key, value, expires_at)
VALUES (%s, %s, clock_timestamp() + %s * interval '1 ms')
ON CONFLICT (key) DO UPDATE SET
    value = CASE WHEN r.expires_at > clock_timestamp() THEN r.value ELSE 0 END + excluded.value,
    expires_at = excluded.expires_at
"""
TAKE = f"""
DELETE FROM rate_limits USING {UNFLUSHED} WHERE key = %s AND expires_at > clock_timestamp()
"""


@reading()
def add(key: str, value: int, ttl_ms: int) -> bool:
    """Set a counter unless it is there; whether it was set."""
    return execute(ADD, (key, value, ttl_ms)) == 1


@reading()
def increase(key: str, amount: int, maximum: int, ttl_ms: int) -> bool:
    """Raise a counter if it stays within maximum; whether it did."""
    return execute(INCREASE, (amount, ttl_ms, key, amount, maximum)) == 1


@reading()
def decrease(key: str, amount: int, minimum: int, ttl_ms: int) -> bool:
    """Lower a counter if it stays at minimum or above; whether it did."""
    return execute(DECREASE, (amount, ttl_ms, key, amount, minimum)) == 1


def increase_below_sum(
    key: str, keys: Sequence[str], amount: int, maximum: int, ttl_ms: int
) -> bool:
    """Raise a counter if the sum of `keys` stays within maximum; whether it did."""
    with transaction():
        # Those who share a limiter take turns; its name is the key up to the time stamp.
        execute(TAKE_TURN, (key.rpartition("@")[0],))
        ((total,),) = fetch(SUM, (text_array(keys),))
        if total + amount > maximum:
            return False
        execute(ADD_OR_INCREASE, (key, amount, ttl_ms))
    return True


@reading()
def take(key: str) -> bool:
    """Remove a counter that has not expired; whether it was there."""
    return execute(TAKE, (key,)) == 1


def forget_expired() -> int:
    """Remove counters that expired a while ago; returns how many."""
    return execute("DELETE FROM rate_limits WHERE expires_at < now() - interval '1 hour'")
