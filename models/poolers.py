"""Poolers between us and PostgreSQL: whether one lends a server connection for a transaction only.

Such a pooler gives each transaction whichever server connection is free. What was set or locked in
a session is then another client's, so nobody may rely on it.
"""

import os
import select
import socket
import threading
from collections.abc import Mapping
from contextlib import closing
from time import monotonic
from typing import Any, Final

import psycopg2
from psycopg2.extensions import POLL_OK, POLL_READ

#: A pooler without a free server connection makes a client wait; one that shares them soon has one.
WAIT_S: Final = 2.0
#: Other clients take connections meanwhile: look again.
ROUNDS: Final = 5
PID: Final = "SELECT pg_backend_pid()"
#: The server ends a transaction that keeps its connection from everybody else.
HOLD: Final = f"BEGIN; SET LOCAL idle_in_transaction_session_timeout = {{}}; {PID}"

#: By address: it is asked once per process.
_known: dict[tuple[tuple[str, str], ...], bool] = {}
_asking: Final = threading.Lock()


def shares(connection: Any, parameters: Mapping[str, Any]) -> bool:
    """Whether the pooler of a connection shares server connections between transactions.

    connection: in autocommit; parameters: those it was opened with. Raises psycopg2's errors.
    """
    key = tuple(sorted((name, str(value)) for name, value in parameters.items()))
    with _asking:
        if key not in _known:
            _known[key] = _shares(connection, parameters)
        return _known[key]


def _shares(connection: Any, parameters: Mapping[str, Any]) -> bool:
    """Two clients are enough to tell: with a transaction open, the other one holds a server
    connection, and ours was served by it before, or is by another after."""
    with closing(_another(connection, parameters)) as second, connection.cursor() as ours:
        other = second.cursor()
        try:
            return any(_moves(ours, other) for _ in range(ROUNDS))
        except TimeoutError:
            return False
        except psycopg2.OperationalError as error:
            # PgBouncer's words: it lends one for a statement, and allows no transactions.
            if "statement pooling mode" in str(error):
                return True
            raise


def _moves(ours: Any, other: Any) -> bool:
    """Raises TimeoutError: ours keeps a server connection to itself, and all others are out."""
    before = _pid(ours)
    other.execute(HOLD.format(round(WAIT_S * 1000)))
    held = _answer(other)
    if held == before:
        return True
    # If the other still waits since all are busy, ours waits as well, and behind it.
    after = _pid(ours)
    held = held or _answer(other)
    if held is None:
        raise TimeoutError
    if held == before or after != before:
        return True
    other.execute("COMMIT")
    if not _ready(other.connection, WAIT_S):
        raise psycopg2.OperationalError("the pooler does not answer in time")
    return False


def _pid(ours: Any) -> int:
    ours.execute(PID)
    return int(ours.fetchone()[0])


def _answer(other: Any) -> int | None:
    """The number that was asked for, None while there is no answer."""
    return int(other.fetchone()[0]) if _ready(other.connection, WAIT_S) else None


def _another(connection: Any, parameters: Mapping[str, Any]) -> Any:
    """A second client of the same pooler, which waits for nothing longer than it is told to."""
    place = {**parameters, **_place(connection)}
    # The place is known, and some servers would be asked for this by a statement.
    place.pop("target_session_attrs", None)
    other = psycopg2.connect(**place, async_=True)
    if not _ready(other, float(parameters.get("connect_timeout", WAIT_S))):
        other.close()
        raise psycopg2.OperationalError("the pooler does not answer in time")
    return other


def _place(connection: Any) -> dict[str, Any]:
    """Where a connection ended up, of all the hosts that its parameters may name."""
    with socket.socket(fileno=os.dup(connection.fileno())) as peer:
        is_local = peer.family == socket.AF_UNIX
        address = None if is_local else peer.getpeername()[0]
    return {"host": connection.info.host, "hostaddr": address, "port": connection.info.port}


def _ready(connection: Any, seconds: float) -> bool:
    """Whether what a connection does is over within so many seconds."""
    deadline = monotonic() + seconds
    while (state := connection.poll()) != POLL_OK:
        waiting = select.poll()
        waiting.register(connection, select.POLLIN if state == POLL_READ else select.POLLOUT)
        if not waiting.poll(max(deadline - monotonic(), 0) * 1000):
            return False
    return True
