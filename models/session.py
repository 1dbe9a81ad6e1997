"""Sessions of PostgreSQL: what ours rely on is set on each, and what can't be set is checked.

A role, a database or a server may have other defaults, and a pooler may drop what a connection asks
for as it starts. So a session gets its settings by a statement, once it is open and checked.
"""

import re
import time
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import peewee
import psycopg2
from psycopg2.extensions import parse_dsn

from config import Settings, SettingsError
from models import poolers
from models.host_clock import host_clock

#: What our statements, and how their results are read, rely on. It is ours alone: an address that
#: asks for something else is refused.
RELIED_ON: Final = {
    # Times and intervals are read in these forms, and months begin by UTC.
    "TimeZone": "UTC",
    "DateStyle": "ISO, MDY",
    "IntervalStyle": "postgres",
    "bytea_output": "hex",
    # Patterns have backslashes, arrays have NULLs.
    "standard_conforming_strings": "on",
    "array_nulls": "on",
    # Who waited for a row sees it as it is then.
    "default_transaction_isolation": "read committed",
    # A policy that would hide rows is an error: they must not be missed in silence.
    "row_security": "off",
}
PRIMARY: Final = "DATABASE_URL"
REPLICA: Final = "DATABASE_REPLICA_URL"
#: What libpq itself asks for, as no later statement can tell psycopg2 of it.
ENCODING: Final = "UTF8"
#: Time-outs nest, so they come from settings of their own.
TIMEOUTS: Final[Mapping[str, str]] = {
    "lock_timeout": "LOCK_TIMEOUT_MS",
    "statement_timeout": "STATEMENT_TIMEOUT_MS",
    "idle_in_transaction_session_timeout": "STATEMENT_TIMEOUT_MS",
}
#: Of 0, libpq waits for ever, and a dead server would keep a thread.
BOUNDS: Final = ("connect_timeout", "tcp_user_timeout", "keepalives")

FACTS: Final = """
SELECT current_setting('server_encoding'), pg_backend_pid(),
       extract(epoch FROM clock_timestamp())
"""

# A commit that is not on disk yet must not let go of its message.
PREPARE: Final = """
SELECT set_config(name, value, false)
FROM unnest(%s::text[], %s::text[]) AS setting (name, value)
UNION ALL
SELECT set_config('synchronous_commit', 'on', false)
WHERE current_setting('synchronous_commit') = 'off'
"""

Parameters = dict[str, Any]


class UnfitDatabaseError(SettingsError, peewee.OperationalError):
    """The database, or what leads to it, can't be used as it is; the message says what to do.

    A fault in the settings, and an outage: it lasts until somebody mends it, and what needs the
    database waits.
    """


class Plan(NamedTuple):
    """How sessions at an address are opened.

    variable: where the address comes from; parameters: libpq's; settings: the sessions'.
    """

    variable: str
    parameters: Parameters
    settings: dict[str, str]


def plan(given: Settings, variable: str, url: str, *, name: str, statement_timeout_ms: int) -> Plan:
    """The plan for a URL, whose own parameters come before ours. Raises SettingsError."""
    address = parse_dsn(url)
    defaults = {
        "connect_timeout": given.connect_timeout_s,
        "tcp_user_timeout": given.tcp_user_timeout_ms,
        "keepalives_idle": 10,
        "keepalives_interval": 5,
        "keepalives_count": 3,
        "application_name": name,
    }
    settings = {
        "lock_timeout": str(given.lock_timeout_ms),
        "statement_timeout": str(statement_timeout_ms),
        "idle_in_transaction_session_timeout": str(statement_timeout_ms),
    }
    for bound in BOUNDS:
        # That they are whole numbers was checked with the settings.
        if int(address.get(bound, "1")) == 0:
            raise SettingsError(f"{variable}: {bound}=0 would wait for ever. Leave it out.")
    encoding = {"client_encoding": address.pop("client_encoding", ENCODING)}
    options = _options(variable, address.pop("options", ""))
    settings |= RELIED_ON | _own(variable, encoding) | _own(variable, options)
    return Plan(variable, {**defaults, **address, "client_encoding": ENCODING}, settings)


def _options(variable: str, text: str) -> dict[str, str]:
    """The settings in `-c name=value -c …`, as libpq has them: a backslash keeps a space."""
    words = iter(
        [re.sub(r"\\(.)", r"\1", word) for word in re.split(r"(?<!\\)\s+", text.strip()) if word]
    )
    found = {}
    for word in words:
        pair = next(words, "") if word == "-c" else re.sub(r"^(--|-c)", "", word)
        name, equals, value = pair.partition("=")
        if not equals or name.startswith("-"):
            raise SettingsError(f"{variable}: write its options as -c name=value")
        found[name.replace("-", "_")] = value
    return found


def _own(variable: str, asked_for: Mapping[str, str]) -> dict[str, str]:
    """What of it is for the address to say. Raises SettingsError that names what is not."""
    own = {}
    relied_on = {name.lower(): value for name, value in RELIED_ON.items()}
    relied_on["client_encoding"] = ENCODING
    for name, value in asked_for.items():
        if name.lower() in TIMEOUTS:
            raise SettingsError(
                f"{variable}: its options set {name}; set {TIMEOUTS[name.lower()]} instead"
            )
        needed = relied_on.get(name.lower())
        if needed is None:
            own[name] = value
        elif value.lower().replace("-", "") != needed.lower():
            raise SettingsError(
                f"{variable}: Holdfast needs {name}={needed}, not {value!r}. Leave it out."
            )
    return own


def open_session(wanted: Plan) -> Any:
    """A connection whose session is as it must be. Raises UnfitDatabaseError, or psycopg2's."""
    connection = _connect(wanted)
    try:
        _check(connection, wanted)
        _prepare(connection, wanted)
    except BaseException:
        connection.close()
        raise
    return connection


def _connect(wanted: Plan) -> Any:
    try:
        connection = psycopg2.connect(**wanted.parameters)
    except psycopg2.OperationalError as error:
        refused = re.search(r"unsupported startup parameter.*: *(\w+)", str(error))
        if refused is None:
            raise
        raise UnfitDatabaseError(
            f"{wanted.variable}: the pooler refuses the parameter {refused[1]}. Leave it out of "
            "the address and of the environment (PGOPTIONS, PGTZ, PGDATESTYLE), or let the pooler "
            f"ignore it: ignore_startup_parameters = {refused[1]}"
        ) from None
    connection.autocommit = True
    return connection


def _check(connection: Any, wanted: Plan) -> None:
    asked_at = time.time()
    with connection.cursor() as cursor:
        cursor.execute(FACTS)
        encoding, pid, at = cursor.fetchone()
    if wanted.variable == PRIMARY:
        host_clock.compare(asked_at, float(at), time.time())
    if encoding != ENCODING:
        raise UnfitDatabaseError(
            f"{wanted.variable}: this database is in {encoding}, which can't store every "
            "character. Create one in UTF8 and move your data to it: "
            "createdb --encoding=UTF8 --locale=C --template=template0 …"
        )
    if pid != connection.info.backend_pid and poolers.shares(connection, wanted.parameters):
        raise UnfitDatabaseError(
            f"{wanted.variable}: the pooler lends a server connection for one transaction at a "
            "time, which loses session settings and locks. Set its pool_mode to session, or "
            "connect to PostgreSQL directly."
        )


def _prepare(connection: Any, wanted: Plan) -> None:
    names, values = list(wanted.settings), list(wanted.settings.values())
    with connection.cursor() as cursor:
        try:
            cursor.execute(PREPARE, (names, values))
        except psycopg2.Error as error:
            # 22, 42, 55P02: no such setting, no such value, not one for a session.
            if not str(error.pgcode or "").startswith(("22", "42", "55P02")):
                raise
            reason = error.diag.message_primary
            raise UnfitDatabaseError(f"{wanted.variable}: {reason}") from None
        cursor.execute("SELECT current_schema()")
        if cursor.fetchone()[0] is None:
            path = wanted.settings.get("search_path", "its default")
            raise UnfitDatabaseError(
                f"{wanted.variable}: no schema in the search_path, {path}, exists that this "
                "role may use. Create it: CREATE SCHEMA … AUTHORIZATION …"
            )
