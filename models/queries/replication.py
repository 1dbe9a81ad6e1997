"""How far the primary's log is, and how far a replica has applied it: positions in bytes.

What somebody saw on the primary was in its log before; so a replica that has applied the log up to
a position shows all that anybody was told before the primary had it. Clocks play no part.
"""

from typing import NamedTuple

import peewee

from models.database import discard_connection, fetch, reading

POSITION = """
SELECT CASE WHEN NOT pg_is_in_recovery() THEN (pg_current_wal_flush_lsn() - '0/0')::bigint END
"""

REPLAYED = """
SELECT CASE WHEN pg_is_in_recovery() THEN (pg_last_wal_replay_lsn() - '0/0')::bigint END
"""

#: The same of a primary and all that was ever copied from it.
SYSTEM = "SELECT system_identifier FROM pg_control_system()"


class Standing(NamedTuple):
    """Where a server is. replayed: None where it is no standby (any more)."""

    system: int
    replayed: int | None


def position() -> int:
    """The primary's, of which every decision that it shows is a part.

    Raises peewee.OperationalError where the server is a standby.
    """
    at = _at(POSITION)
    if at is None:
        raise peewee.OperationalError("DATABASE_URL leads to a standby")
    return at


def replayed() -> int | None:
    """A replica's; None where the server is no standby (any more)."""
    return _at(REPLAYED)


def _at(statement: str) -> int | None:
    """A position, None from a server of the other kind: its address may lead elsewhere by now."""
    with reading():
        ((at,),) = fetch(statement)
    if at is None:
        discard_connection()
        return None
    return int(at)


@reading()
def system() -> int:
    """Which system a server is of."""
    ((identifier,),) = fetch(SYSTEM)
    return int(identifier)


def standing() -> Standing:
    """A replica's."""
    return Standing(system(), replayed())
