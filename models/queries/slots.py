"""Slots: how many transactions of new orders run at once, over all processes.

Advisory locks that a transaction holds until it ends, however it ends: a process that dies lets go
of its slot with its connection, and of one that hangs PostgreSQL ends the transaction after the
statement time-out. Until then the others go on with the other slots.
"""

from random import randrange
from time import monotonic
from typing import Final

import peewee

from models.database import BundledTransaction, Statement, sqlstate
from models.queries.locks import SLOTS

#: No longer for one slot, whose holder may hang: the next one may be free.
WAIT_FOR_ONE_MS: Final = 250
LOCK_NOT_AVAILABLE: Final = "55P03"

#: A free slot, where there is one: LIMIT ends it at the first lock that it gets. Every session
#: begins with another one. Parameters: how many slots there are, SLOTS, and how many again.
TRY: Final = """
SELECT FROM generate_series(1, %s) AS slot (number)
WHERE pg_try_advisory_xact_lock(
    hashtext(current_schema()), %s + mod(pg_backend_pid() + slot.number, %s)
)
LIMIT 1
"""

LIMIT_WAIT: Final = "SELECT set_config('lock_timeout', %s, true)"
LOCK: Final = "SELECT pg_advisory_xact_lock(hashtext(current_schema()), %s)"


def params_to_try(slots: int) -> tuple[int, int, int]:
    """The parameters of TRY."""
    return slots, SLOTS, slots


def wait(work: BundledTransaction, slots: int, lock_timeout_ms: int) -> None:
    """Wait until the transaction has one of so many slots, in the server and in turn.

    The transaction holds nothing yet: what waits here stops nobody. Raises peewee.OperationalError
    where none gets free within the lock time-out.
    """
    slot, until = randrange(slots), monotonic() + lock_timeout_ms / 1000
    while True:
        try:
            work.fetch(
                Statement(LIMIT_WAIT, (str(min(WAIT_FOR_ONE_MS, lock_timeout_ms)),)),
                Statement(LOCK, (SLOTS + slot,)),
                Statement(LIMIT_WAIT, (str(lock_timeout_ms),)),
            )
        except peewee.OperationalError as error:
            if sqlstate(error) != LOCK_NOT_AVAILABLE or monotonic() >= until:
                raise
            work.rollback()
            slot = (slot + 1) % slots
        else:
            return
