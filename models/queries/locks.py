"""Advisory locks that one process of a schema holds: another Holdfast in the same database, in a
schema of its own, has locks of its own."""

from typing import Final

from models.database import fetch

#: Held for as long as a session lasts: by what migrates, by the clock that works, and by what
#: takes months away.
MIGRATION: Final = 1
CLOCK: Final = 2
RETENTION: Final = 3
#: Held for a transaction: a step of what an operator asked for in bulk.
STEPS: Final = 4
#: Held for a transaction of new orders, this one or one of those above (models/queries/slots.py).
SLOTS: Final = 1_000


def try_lock(lock: int) -> bool:
    """Whether this session has, or just got, a lock."""
    return _try("pg_try_advisory_lock", lock)


def try_lock_in_transaction(lock: int) -> bool:
    """Whether this transaction has, or just got, a lock."""
    return _try("pg_try_advisory_xact_lock", lock)


def _try(function: str, lock: int) -> bool:
    ((locked,),) = fetch(f"SELECT {function}(hashtext(current_schema()), %s)", (lock,))
    return bool(locked)
