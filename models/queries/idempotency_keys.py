"""What an idempotency key was first used for: written by the front door, never waited for."""

from collections.abc import Sequence
from typing import NamedTuple

from models.database import UNFLUSHED, array, fetch, reading

# Not EXISTS, for which PostgreSQL may read all of `commands` at once.
_RECALLED = """
SELECT replace(key_hash::text, '-', ''), replace(fingerprint::text, '-', ''),
       coalesce((SELECT c.status <> 'pending' FROM commands AS c WHERE c.id = command_id), false)
"""

# Unflushed: what keeps a command from taking effect twice is the inbox, by the id that is made from
# the key. What may be forgotten is which body a key stood for.
REMEMBER = f"""
WITH given AS (
    SELECT key_hash, fingerprint, command_id
    FROM unnest(%s::uuid[], %s::uuid[], %s::uuid[]) AS use (key_hash, fingerprint, command_id),
         {UNFLUSHED}
), remembered AS (
    INSERT INTO idempotency_keys (key_hash, fingerprint, command_id, seen_at)
    SELECT key_hash, fingerprint, command_id, now() FROM given ORDER BY key_hash
    ON CONFLICT (key_hash) DO NOTHING
    RETURNING key_hash, fingerprint, command_id
)
{_RECALLED} FROM (
    SELECT key_hash, fingerprint, command_id FROM remembered
    UNION ALL
    SELECT key_hash, fingerprint, command_id FROM idempotency_keys
    WHERE key_hash = ANY (%s::uuid[])
) AS known
"""

RECALL = f"{_RECALLED} FROM idempotency_keys WHERE key_hash = ANY (%s::uuid[])"


class KeyUse(NamedTuple):
    """An idempotency key in use: hash and fingerprint as 32 hex digits, the command's id."""

    key_hash: str
    fingerprint: str
    command_id: str


class KeyRecall(NamedTuple):
    """What a key was first used for, and whether that is decided."""

    fingerprint: str
    decided: bool


def remember(uses: Sequence[KeyUse]) -> list[KeyRecall]:
    """Remember idempotency keys, or recall what they were first used for; in order.

    One statement and one round trip. It must not run inside a transaction, whose commit would not
    be flushed either.
    """
    hashes = array([use.key_hash for use in uses])
    fingerprints = array([use.fingerprint for use in uses])
    ids = array([use.command_id for use in uses])
    with reading():
        found = _by_hash(REMEMBER, hashes, fingerprints, ids, hashes)
        if any(use.key_hash not in found for use in uses):
            # Another front door was first, after this statement had begun: the next one sees it.
            found |= _by_hash(RECALL, hashes)
    return [found[use.key_hash] for use in uses]


def _by_hash(sql: str, *params: str) -> dict[str, KeyRecall]:
    return {row[0]: KeyRecall(*row[1:]) for row in fetch(sql, params)}
