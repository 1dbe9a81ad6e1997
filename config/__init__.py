"""Every setting, parsed once: the environment first, then `.env`; a bad one stops the process.

Imports nothing of ours but rules. Times carry their unit as the last word of their name.
"""

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from ipaddress import IPv4Network, IPv6Network, ip_network
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Final, Literal

import msgspec
import psycopg2
from psycopg2.extensions import parse_dsn

from config import env_file
from config.addresses import plain_host
from config.errors import SettingsError
from config.libpq import check_names, check_values
from config.urls import check_url
from config.values import convert, plain, refusal
from models.rules.signing import MessageKey, derive_key, parse_keys

__all__ = [
    "CONSUMER_TIMEOUT_MS", "FILE_NAMES", "ROOT", "VERSION", "Networks", "Settings",
    "SettingsError", "database_address", "from_files", "networks", "parse", "read_variables",
    "settings",
]  # fmt: skip

ROOT = Path(__file__).resolve().parents[1]
#: As in pyproject.toml, which an image does not have.
VERSION = "0.1.0"

#: RabbitMQ's own; who holds a message for longer gets it a second time.
CONSUMER_TIMEOUT_MS = 30 * 60_000

Positive = Annotated[int, msgspec.Meta(ge=1)]
PortOrOff = Annotated[int, msgspec.Meta(ge=0, le=65535)]
PositiveSeconds = Annotated[float, msgspec.Meta(gt=0)]
Share = Annotated[float, msgspec.Meta(gt=0, le=1)]

Networks = tuple[IPv4Network | IPv6Network, ...]

#: Of several servers, libpq then takes the one that writes.
WRITING = ("read-write", "primary")
#: Never shown, not even in part.
SECRET: Final = frozenset(
    {"database_url", "database_replica_url", "rabbitmq_url", "rabbitmq_management_url",
     "rate_limit_storage_url", "secret_key", "message_keys", "api_key"}
)  # fmt: skip
BROKER_SCHEMES: Final = ("amqp", "amqps")
REDIS: Final = ("redis", "rediss", "redis+unix", "redis+sentinel", "redis+cluster")
STORAGE_SCHEMES: Final = ("async+memory", *(f"async+{scheme}" for scheme in REDIS))
#: How often a client may ask, as the library `limits` reads it: once or more, in a window with an
#: end. Its own parser also takes 0, and takes a tenth of a command's start to load.
LIMIT: Final = re.compile(
    r"[1-9]\d{0,8}\s*(/|\s+per\s+)\s*(([1-9]\d{0,2}\s*)?(second|minute|hour|day)|month|year)s?",
    re.IGNORECASE | re.ASCII,
)


def networks(text: str) -> Networks:
    """The networks in a list by commas. Raises ValueError for what is none."""
    return tuple(_network(part.strip()) for part in text.split(",") if part.strip())


def _network(text: str) -> IPv4Network | IPv6Network:
    """An IPv4 network written as IPv6 is one of IPv4, as its addresses are."""
    network = ip_network(text)
    mapped = getattr(network.network_address, "ipv4_mapped", None)
    if mapped is None or network.prefixlen < 96:
        return network
    return IPv4Network((mapped, network.prefixlen - 96))


def database_address(url: str) -> dict[str, str]:
    """The parts of a PostgreSQL URL, as libpq has them. Raises ValueError, without a password."""
    form = "postgresql://user:password@host:port/name, as libpq reads it"
    check_url(url, ("postgresql",), form)
    check_names(url)
    try:
        address = parse_dsn(url)
    except psycopg2.ProgrammingError:  # what it quotes may be a part of the password
        raise ValueError(f"it must be {form}") from None
    if "," in address.get("dbname", ""):  # a second URL without its scheme
        raise ValueError(f"it must be {form}")
    check_values(address)
    return address


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """The settings of one process. The field `database_url` is the variable `DATABASE_URL`."""

    database_url: str
    rabbitmq_url: str
    # Signs the ids that the front door gives out, and messages where MESSAGE_KEYS has no keys of
    # their own: the same value in every process.
    secret_key: Annotated[str, msgspec.Meta(min_length=32)]
    # `id:secret` pairs by commas: the first signs messages, all verify them. `0` alone: the key
    # that is derived from the secret above.
    message_keys: str | None = None

    host: str = "0.0.0.0"  # noqa: S104 - behind a router; `make run`: 127.0.0.1  # nosec B104
    port: Annotated[int, msgspec.Meta(ge=1, le=65535)] = 8000
    web_concurrency: Positive = 1
    # A development key that `holdfast keys ensure-development` registers.
    api_key: str | None = None

    # --- front door ---
    # Where client rate limits are counted: memory counts per web process, a Redis URL over all.
    rate_limit_storage_url: str = "async+memory://"
    publish_deadline_s: PositiveSeconds = 5.0
    # Callers that may wait for a publish at once; the next is told to come back (503).
    publish_waiting_max: Positive = 20_000
    # How long a revoked API key may still be taken, and how long one is not looked up again.
    api_key_cache_s: PositiveSeconds = 5.0
    read_threads: Positive = 4
    connections_max: Positive = 4_000
    header_timeout_s: PositiveSeconds = 15.0
    body_timeout_s: PositiveSeconds = 30.0

    # --- dashboard ---
    # A word for every page's badge, such as production.
    environment: Annotated[str, msgspec.Meta(min_length=1, max_length=32)] = "development"
    session_hours: PositiveSeconds = 12.0
    # Networks of the routers in front, by commas: what they say of their clients is believed.
    trusted_proxies: str = "127.0.0.0/8,::1/128"
    # Attempts to sign in, per client address.
    sign_in_rate_limit: str = "10/minute"
    # Fewer units than this available count as low stock.
    low_stock_below: Positive = 10

    # --- metrics and logs; a metrics port of 0 is none ---
    metrics_host: str = "0.0.0.0"  # noqa: S104 - as host  # nosec B104
    web_metrics_port: PortOrOff = 9464
    worker_metrics_port: PortOrOff = 9191
    clock_metrics_port: PortOrOff = 9465
    # auto: for people on a terminal, JSON everywhere else.
    log_format: Literal["auto", "json", "console"] = "auto"
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    # OpenTelemetry spans; needs the extra `tracing` and OTEL_EXPORTER_OTLP_ENDPOINT.
    tracing: bool = False

    # --- actors ---
    worker_processes: Positive = 1
    worker_threads: Positive = 8
    # How often a worker reports what it did and looks what is paused.
    report_every_s: PositiveSeconds = 2.0
    # How often the clock checks whether the books agree; 0: never.
    reconcile_every_s: Annotated[float, msgspec.Meta(ge=0)] = 3_600.0
    # How long a worker that stops waits for what it has begun.
    shutdown_grace_ms: Positive = 20_000
    # Such as "100/s": at most that many messages of new orders a second, over all workers.
    orders_rate_limit: str | None = None
    # Commands that one transaction takes at most; with more of them it takes longer.
    transaction_commands_max: Positive = 1_000
    # Transactions of new orders that run at once, over all processes; the others wait and fill.
    transactions_at_once: Positive = 8

    # --- broker ---
    # Messages a queue holds before it refuses more (the front door then answers 503).
    queue_length_max: Positive = 100_000
    # Where RabbitMQ's management API is, as http://user:password@host:15672: the clock asks it
    # whether a policy takes messages out of our queues. None: nobody asks.
    rabbitmq_management_url: str | None = None
    # Bytes of one message at most; RabbitMQ's own max_message_size has to be as much.
    message_bytes_max: Annotated[int, msgspec.Meta(ge=65_536, le=1_048_576)] = 1_048_576
    # Shares of QUEUE_LENGTH_MAX: from the one on new orders are turned away (503), until below the
    # other.
    shed_above: Share = 0.8
    shed_below: Share = 0.6
    heartbeat_s: Positive = 10
    blocked_timeout_s: PositiveSeconds = 10.0

    # A thread that waits for the interpreter gets it after this long; Python's own 5 ms, several
    # times on an order's way, are most of the time that an order takes at half load.
    switch_interval_s: PositiveSeconds = 0.0005

    # --- database: lock < statement < shutdown grace < the broker's consumer time-out ---
    connect_timeout_s: Positive = 3
    lock_timeout_ms: Positive = 5_000
    statement_timeout_ms: Positive = 15_000
    # A peer that stopped answering is given up after this long.
    tcp_user_timeout_ms: Positive = 10_000
    partitions_ahead: Positive = 3
    # Read replicas, URLs by commas: lists, searches and most of the dashboard are read there.
    database_replica_url: str | None = None
    # One that is further behind than this is not used; so long does a list wait for one at most.
    replica_lag_max_s: Annotated[float, msgspec.Meta(gt=0, le=5)] = 1.0

    # --- retention ---
    # Whole months that are kept beside this one; None: all of them, for ever.
    retention_months: Positive | None = None
    # What becomes of a month after that: its tables stay beside the others, or go, or go after they
    # were written to files.
    retention_action: Literal["detach", "drop", "export"] = "detach"
    # Where those files go: a disk that lasts.
    retention_export_dir: str | None = None

    def __post_init__(self) -> None:
        """Raises SettingsError for what the types alone don't tell."""
        try:
            networks(self.trusted_proxies)
        except ValueError:
            reason = "it must be networks separated by commas, such as 10.0.0.0/8,2001:db8::/32"
            raise refusal("TRUSTED_PROXIES", self.trusted_proxies, reason) from None
        with _naming("MESSAGE_KEYS"):
            self.signing_keys()
        self._check_databases()
        self._check_other_urls()
        self._check_limits()
        self._check_nesting()
        if self.shed_below >= self.shed_above:
            reason = f"it must be less than SHED_ABOVE, {self.shed_above}"
            raise refusal("SHED_BELOW", self.shed_below, reason)
        if self.retention_action == "export" and self.retention_export_dir is None:
            raise SettingsError(
                "RETENTION_EXPORT_DIR is missing: RETENTION_ACTION=export needs a folder."
            )

    def _check_databases(self) -> None:
        with _naming("DATABASE_URL"):
            primary = database_address(self.database_url)
            _check_files(primary)
        if "," in primary.get("host", "") and primary.get("target_session_attrs") not in WRITING:
            raise SettingsError(
                "DATABASE_URL: several hosts need ?target_session_attrs=read-write, "
                "or a standby may be taken for the primary"
            )
        with _naming("DATABASE_REPLICA_URL"):
            for url in self.replica_urls():
                _check_files(database_address(url))

    def _check_other_urls(self) -> None:
        with _naming("RABBITMQ_URL"):
            for url in self.rabbitmq_url.split(";"):
                check_url(url, BROKER_SCHEMES, "amqp://user:password@host:port/vhost")
        if self.rabbitmq_management_url is not None:
            with _naming("RABBITMQ_MANAGEMENT_URL"):
                form = "http://user:password@host:15672, or https"
                check_url(self.rabbitmq_management_url, ("http", "https"), form)
        with _naming("RATE_LIMIT_STORAGE_URL"):
            form = "async+memory:// or async+redis://:password@host:port/number"
            check_url(self.rate_limit_storage_url, STORAGE_SCHEMES, form)

    def _check_limits(self) -> None:
        if not LIMIT.fullmatch(self.sign_in_rate_limit):
            reason = "it must be written like 10/minute or 100/hour"
            raise refusal("SIGN_IN_RATE_LIMIT", self.sign_in_rate_limit, reason)
        if self.orders_rate_limit and not re.fullmatch(r"[1-9]\d*/[smh]", self.orders_rate_limit):
            reason = "it must be written like 100/s, 500/m or 9/h"
            raise refusal("ORDERS_RATE_LIMIT", self.orders_rate_limit, reason)

    def replica_urls(self) -> tuple[str, ...]:
        """One for each read replica; a URL may have commas of its own, between hosts."""
        given = self.database_replica_url
        return () if given is None else tuple(re.split(r"\s*,\s*(?=postgresql://)", given.strip()))

    def _check_nesting(self) -> None:
        """Each time-out ends before the one around it, which would end more than it has to."""
        nested = {
            "LOCK_TIMEOUT_MS": self.lock_timeout_ms,
            "STATEMENT_TIMEOUT_MS": self.statement_timeout_ms,
            "SHUTDOWN_GRACE_MS": self.shutdown_grace_ms,
            "RabbitMQ's consumer time-out": CONSUMER_TIMEOUT_MS,
        }
        for (inner, inner_ms), (outer, outer_ms) in pairwise(nested.items()):
            if inner_ms >= outer_ms:
                raise refusal(inner, inner_ms, f"it must be less than {outer}, {outer_ms}")

    def signing_keys(self) -> tuple[MessageKey, ...]:
        """The keys of messages; the first one signs."""
        derived = derive_key(self.secret_key)
        return (derived,) if self.message_keys is None else parse_keys(self.message_keys, derived)


def _check_files(address: Mapping[str, str]) -> None:
    """libpq would say at each attempt that a file is not there, and not which setting has it."""
    for name in ("sslrootcert", "sslcert", "sslkey", "sslcrl"):
        path = address.get(name)
        if path and path != "system" and not os.access(path, os.R_OK):
            raise ValueError(f"the file that its {name} names can't be read")


@contextmanager
def _naming(name: str) -> Iterator[None]:
    """What is wrong with a setting that is not shown, by its name."""
    try:
        yield
    except ValueError as error:
        raise SettingsError(f"{name}: {error}.") from None


FIELDS: Final = {field.upper(): field for field in Settings.__struct_fields__}
#: What a platform sets instead of RABBITMQ_URL.
CLOUDAMQP: Final = "CLOUDAMQP_URL"
FILE_NAMES: Final = frozenset(f"{name}_FILE" for name in FIELDS)
OURS: Final = frozenset({*FIELDS, *FILE_NAMES, CLOUDAMQP})


def read_variables(environment: Mapping[str, str], file: Path) -> dict[str, str]:
    """What is set, by the environment or else by `.env`; ours without white space around them.

    A variable that is empty is not set. Raises SettingsError.
    """
    merged = {
        name: value
        for source in (env_file.read(file), environment)
        for name, value in source.items()
        if value.strip()
    }
    return {name: plain(name, text) if name in OURS else text for name, text in merged.items()}


def from_files(variables: Mapping[str, str]) -> dict[str, str]:
    """The settings that lie in files, as secrets of containers do. Raises SettingsError."""
    found = {}
    for name in FIELDS:
        path = variables.get(f"{name}_FILE")
        if path is None:
            continue
        if name in variables:
            raise SettingsError(f"{name} and {name}_FILE are both set. Set only one.")
        try:
            found[name] = plain(f"{name}_FILE", Path(path).read_text(encoding="utf-8"))
        except (OSError, UnicodeError) as error:
            raise SettingsError(f"{name}_FILE can't be read: {error}") from None
    return {name: value for name, value in found.items() if value}


def _host(name: str, text: str) -> str:
    try:
        return plain_host(text)
    except ValueError as error:
        raise refusal(name, text, str(error)) from None


def parse(variables: Mapping[str, str]) -> Settings:
    """Settings from a mapping of environment variables; `NAME_FILE` names a file with NAME's value.

    Raises SettingsError that names the variable at fault.
    """
    texts = {name: plain(name, variables[name]) for name in OURS if name in variables}
    texts = {name: text for name, text in texts.items() if text}
    values = texts | from_files(texts)
    if CLOUDAMQP in values:
        values.setdefault("RABBITMQ_URL", values[CLOUDAMQP])
    # Some platforms still hand out the scheme's old name, which libpq takes and Peewee does not.
    for name in ("DATABASE_URL", "DATABASE_REPLICA_URL"):
        if name in values:
            values[name] = re.sub(r"(^|,\s*)postgres://", r"\1postgresql://", values[name])
    try:
        for name in values.keys() & {"HOST", "METRICS_HOST"}:
            values[name] = _host(name, values[name])
        known = {FIELDS[name]: text for name, text in values.items() if name in FIELDS}
        return Settings(**convert(Settings, known, SECRET))
    except SettingsError as error:
        raise SettingsError(
            f"{error}{_origins(str(error), texts)} Set it in the environment or in .env "
            "(`make run` writes one); docs/settings.md lists all settings."
        ) from None


def _origins(message: str, texts: Mapping[str, str]) -> str:
    """Which other variables had the values of those that a message names."""
    others = [(name, f"{name}_FILE") for name in FIELDS]
    return "".join(
        f" {name} comes from {other}."
        for name, other in (*others, ("RABBITMQ_URL", CLOUDAMQP))
        if re.search(rf"\b{name}\b", message) and name not in texts and other in texts
    )


@cache
def settings() -> Settings:
    """The settings of this process, read at the first call."""
    return parse(read_variables(os.environ, ROOT / ".env"))
