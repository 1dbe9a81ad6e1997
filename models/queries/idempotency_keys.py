"""What an idempotency key was first used for: written by the front door, never waited for."""

from collections.abc import Sequence
from typing import NamedTuple

from models.database import UNFLUSHED, array, fetch, reading

_KNOWN = """
replace(key_hash::text, '-', ''), replace(fingerprint::text, '-', ''),
coalesce((SELECT c.status <> 'pending' FROM commands AS c WHERE c.id = command_id), false)
"""

# Unflushed: what keeps a command from taking effect twice is the inbox, by the id that is made from
# the key. What may be forgotten is which body a key stood for.
REMEMBER = f"""
INSERT INTO idempotency_keys (key_hash, fingerprint, command_id, seen_at)
SELECT key_hash, fingerprint, command_id, now()
FROM unnest(%s::uuid[], %s::uuid[], %s::uuid[]) AS use (key_hash, fingerprint, command_id),
     {UNFLUSHED}
ORDER BY key_hash
ON CONFLICT (key_hash) DO NOTHING
RETURNING {_KNOWN}
"""

RECALL = f"SELECT {_KNOWN} FROM idempotency_keys WHERE key_hash = ANY (%s::uuid[])"


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

    One statement where all are new. It must not run inside a transaction, whose commit would not be
    flushed either.
    """
    hashes = array([use.key_hash for use in uses])
    fingerprints = array([use.fingerprint for use in uses])
    ids = array([use.command_id for use in uses])
    with reading():
        found = _by_hash(REMEMBER, hashes, fingerprints, ids)
        if known := [use.key_hash for use in uses if use.key_hash not in found]:
            # Also those that another front door has just inserted: its commit was waited for.
            found |= _by_hash(RECALL, array(known))
    return [found[use.key_hash] for use in uses]


def _by_hash(sql: str, *params: str) -> dict[str, KeyRecall]:
    return {row[0]: KeyRecall(*row[1:]) for row in fetch(sql, params)}
