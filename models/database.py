"""Connections, transactions and time-outs: one connection per thread, none shared, none pooled.

A pool that connects or pings under its lock lets one dead socket stall every thread, so there
is none: a thread keeps its connection until an error closes it. Nor is there Peewee's own lock.
A thread speaks to the primary, or, where it says so before all else, to a read replica.
"""

import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any, NamedTuple, cast

import peewee
import psycopg2

from config import Settings
from models import session
from models.session import Plan, open_session

Row = tuple[Any, ...]
Params = Sequence[object]


class Statement(NamedTuple):
    """A statement that goes to the server with others, in one message."""

    sql: str
    params: Params = ()


BEGIN = Statement("BEGIN")
COMMIT = Statement("COMMIT")
ROLLBACK = Statement("ROLLBACK")

#: SQLSTATEs of faults that pass by themselves: lock and statement time-outs, shutdown, read-only (a
#: failover), idle or too long in a transaction; and whole classes: connection, rollback (deadlock,
#: serialization), insufficient resources (disk, memory, connections), system error.
TRANSIENT_SQLSTATES = frozenset(
    {"55P03", "57014", "57P01", "57P02", "57P03", "57P05", "25006", "25P03", "25P04"}
)
TRANSIENT_CLASSES = ("08", "40", "53", "58")


#: In a statement's FROM: the commit of its transaction is not flushed, and no standby waited for.
#: For what safety does not rest on; a crash of PostgreSQL may forget the last second of it.
UNFLUSHED = "set_config('synchronous_commit', 'off', true)"

_of_thread = threading.local()


class Database(peewee.PostgresqlDatabase):
    """Peewee's, but threads connect side by side, and some of them to a replica.

    Its lock is held while a thread connects, so with a server that does not answer each would wait
    for the time-outs of all before it. It guards nothing: what it is around is thread-local.
    """

    def __init__(self) -> None:
        super().__init__(None)
        self._lock = nullcontext()
        self.primary: Plan
        self.replicas: dict[str, Plan] = {}

    def _connect(self) -> Any:
        replica_url = getattr(_of_thread, "replica_url", None)
        if replica_url is None:
            return open_session(self.primary._replace(parameters=self.connect_params))
        return open_session(self.replicas[replica_url])


database: Any = Database()


def configure(
    given: Settings,
    *,
    application_name: str = "holdfast",
    statement_timeout_ms: int | None = None,
) -> None:
    """Point the process at its database; the connections themselves open when first used.

    Raises SettingsError where an address asks for what a session can't have.
    """
    plan = partial(
        session.plan,
        given,
        name=f"{application_name}/{os.getpid()}",
        statement_timeout_ms=statement_timeout_ms or given.statement_timeout_ms,
    )
    database.replicas = {url: plan(session.REPLICA, url) for url in given.replica_urls()}
    database.primary = plan(session.PRIMARY, given.database_url)
    database.init(given.database_url, **database.primary.parameters)


def read_from(replica_url: str) -> None:
    """From now on this thread speaks to a replica, with all other settings as they are."""
    _of_thread.replica_url = replica_url


@contextmanager
def transaction() -> Iterator[None]:
    """One transaction on this thread's connection.

    Whatever is raised inside (a kill signal counts too) closes the connection, so that a half-done
    transaction can't leak into the next one; a COMMIT whose reply was lost is ambiguous, and
    the inbox decides it at the redelivery. Inside another it is a part of that one: what is raised
    undoes the part, and the connection is the outer one's, which still needs it.
    """
    outermost = not database.in_transaction()
    try:
        with database.atomic():
            yield
    except BaseException:  # a kill signal counts, too
        if outermost:
            discard_connection()
        raise


class BundledTransaction:
    """See `bundled_transaction`. An error in a message throws away the rest of that message."""

    def __init__(self) -> None:
        self._is_open = False

    def fetch(self, *statements: Statement) -> list[Row]:
        """Run statements; returns the rows of the last."""
        first, self._is_open = not self._is_open, True
        return run_together(BEGIN, *statements) if first else run_together(*statements)

    def commit(self, *statements: Statement, then: Sequence[Statement] = ()) -> list[Row]:
        """Run statements and commit, in one message: the server waits for nobody in between.

        then: run after the commit; returns the rows of the last of them.
        """
        rows = self.fetch(*statements, COMMIT, *then)
        self._is_open = False
        return rows

    def rollback(self) -> None:
        """Undo it all; the next statement begins anew. Where that fails the connection is closed,
        which undoes it, too."""
        if not self._is_open:
            return
        self._is_open = False
        try:
            run_together(ROLLBACK)
        except (peewee.DatabaseError, peewee.InterfaceError, psycopg2.Error):
            discard_connection()

    def abandon(self) -> None:
        """Close the connection, which undoes whatever there is to undo."""
        self._is_open = False
        discard_connection()


@contextmanager
def bundled_transaction() -> Iterator[BundledTransaction]:
    """A transaction in few round trips: BEGIN goes with the first statements, COMMIT with the last.

    For what holds locks that many wait for; everything else has `transaction`. It can't be a part
    of another. What the server refuses is rolled back and leaves a clean connection; so is what is
    not committed at the end. Anything else that is raised (a kill signal counts too) closes the
    connection. A COMMIT whose reply was lost is ambiguous, as in `transaction`.
    """
    bundled = BundledTransaction()
    try:
        yield bundled
    except BaseException as error:
        if server_error(error) is None:
            bundled.abandon()
        raise
    finally:
        bundled.rollback()


@contextmanager
def reading() -> Iterator[None]:
    """Statements outside a transaction; a broken connection is thrown away."""
    try:
        yield
    except (peewee.DatabaseError, peewee.InterfaceError):
        # Inside a transaction after all, it is for that to do: Peewee still needs its state.
        if not database.in_transaction():
            discard_connection()
        raise


def discard_connection() -> None:
    """Close this thread's connection; the next statement opens a new one."""
    if database.is_closed():
        return
    connection = database.connection()
    database.dispose()
    # It may be broken: closing is a courtesy to the server.
    try:
        connection.close()
    except psycopg2.Error:
        return


def fetch(sql: str, params: Params = ()) -> list[Row]:
    """All rows of one statement."""
    return cast(list[Row], database.execute_sql(sql, params).fetchall())


def execute(sql: str, params: Params = ()) -> int:
    """Run one statement; returns how many rows it touched."""
    return cast(int, database.execute_sql(sql, params).rowcount)


def run_together(*statements: Statement) -> list[Row]:
    """Run statements as one message of the simple protocol; returns the rows of the last.

    The first that fails is the last that ran. Outside a transaction, they are one of their own.
    """
    if not statements:
        return []
    text = ";\n".join([statement.sql for statement in statements])
    params = [param for statement in statements for param in statement.params]
    cursor = database.execute_sql(text, params)
    return [] if cursor.description is None else cast(list[Row], cursor.fetchall())


def server_error(error: BaseException) -> psycopg2.Error | None:
    """What PostgreSQL said behind an error, None when it said nothing (the connection broke)."""
    cause = error.__cause__ or error.__context__
    for candidate in (error, getattr(error, "orig", None), cause):
        if isinstance(getattr(candidate, "pgcode", None), str):
            return cast(psycopg2.Error, candidate)
    return None


def complaint(error: BaseException) -> str:
    """What a database error says, without the rows that PostgreSQL quotes in its DETAIL."""
    said = server_error(error)
    return str(error) if said is None else said.diag.message_primary or "no reason"


def sqlstate(error: BaseException) -> str | None:
    """The SQLSTATE behind an error, None when there is none."""
    said = server_error(error)
    return None if said is None else said.pgcode


def is_transient(error: BaseException) -> bool:
    """Whether a database error passes by itself, so that the work is worth trying again."""
    if not isinstance(error, (peewee.DatabaseError, peewee.InterfaceError, psycopg2.Error)):
        return False
    code = sqlstate(error)
    if code is None:
        # libpq gives no SQLSTATE when the server is away or the connection was cut.
        return isinstance(
            error, (peewee.OperationalError, peewee.InterfaceError, psycopg2.OperationalError)
        )
    return code in TRANSIENT_SQLSTATES or code.startswith(TRANSIENT_CLASSES)


def lost_connection(error: BaseException) -> bool:
    """Whether an error says that the connection is gone, so that a fresh one may do better."""
    code = sqlstate(error)
    return is_transient(error) and (code is None or code.startswith(("08", "57P", "53300")))


def array(values: Sequence[str]) -> str:
    """A PostgreSQL array literal of values that need no quoting inside: numbers, uuids, times.

    One text parameter is many times cheaper for the driver than a list of a thousand elements.
    """
    return "{" + ",".join(values) + "}"


_ESCAPES = str.maketrans({"\\": "\\\\", '"': '\\"'})


def text_array(values: Sequence[str | None]) -> str:
    """A PostgreSQL array literal of any text, None for NULL."""
    return (
        "{"
        + ",".join(["NULL" if v is None else '"' + v.translate(_ESCAPES) + '"' for v in values])
        + "}"
    )
