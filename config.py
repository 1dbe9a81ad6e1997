"""Every setting, parsed once: the environment first, then `.env`; a bad one stops the process.

Imports nothing of ours but rules. Times carry their unit as the last word of their name.
"""

import os
import re
from functools import cache
from ipaddress import IPv4Network, IPv6Network, ip_network
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Literal

import msgspec
import psycopg2
from dotenv import dotenv_values
from psycopg2.extensions import parse_dsn

from models.rules.signing import MessageKey, derive_key, parse_keys

ROOT = Path(__file__).resolve().parent
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


class SettingsError(Exception):
    """A setting is missing or makes no sense; the message says which and what to do."""


def networks(text: str) -> Networks:
    """The networks in a list by commas. Raises ValueError for what is none."""
    return tuple(ip_network(part.strip()) for part in text.split(",") if part.strip())


def database_address(url: str) -> dict[str, str]:
    """The parts of a PostgreSQL URL, as libpq has them. Raises ValueError, without a password."""
    try:
        if url.startswith("postgresql://"):
            address = parse_dsn(url)
            if "," not in address.get("dbname", ""):  # a second URL without its scheme
                return address
    except psycopg2.ProgrammingError:
        pass  # what it quotes may be a part of the password
    raise ValueError("it has to be postgresql://user:password@host:port/name, as libpq reads it")


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
    # How often a worker reports what it did and looks what is paused.
    report_every_s: PositiveSeconds = 2.0
    # How often the clock checks whether the books agree; 0: never.
    reconcile_every_s: Annotated[float, msgspec.Meta(ge=0)] = 3_600.0
    # How long a worker that stops waits for what it has begun.
    shutdown_grace_ms: Positive = 20_000
    # Such as "100/s": at most that many messages of new orders a second, over all workers.
    orders_rate_limit: str | None = None
    # Commands that one transaction takes at most; a longer one holds its stock locks for longer.
    transaction_commands_max: Positive = 1_000

    # --- broker ---
    # Messages a queue holds before it refuses more (the front door then answers 503).
    queue_length_max: Positive = 100_000
    # Shares of that: from the one on new orders are turned away (503), until below the other.
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
        """Raises ValueError for what the types alone don't tell."""
        try:
            networks(self.trusted_proxies)
        except ValueError as error:
            raise ValueError(f"trusted_proxies: {error}") from None
        try:
            self.signing_keys()
        except ValueError as error:
            raise ValueError(f"message_keys: {error}") from None

        self._check_databases()
        self._check_nesting()
        if self.shed_below >= self.shed_above:
            raise ValueError("shed_below: it has to be less than shed_above")
        if self.retention_action == "export" and self.retention_export_dir is None:
            raise ValueError("retention_export_dir: RETENTION_ACTION=export has to know where to")

    def _check_databases(self) -> None:
        try:
            primary = database_address(self.database_url)
        except ValueError as error:
            raise ValueError(f"database_url: {error}") from None
        if "," in primary.get("host", "") and primary.get("target_session_attrs") not in WRITING:
            raise ValueError(
                "database_url: several hosts need ?target_session_attrs=read-write, "
                "or a standby may be taken for the primary"
            )
        try:
            for url in self.replica_urls():
                database_address(url)
        except ValueError as error:
            raise ValueError(f"database_replica_url: {error}") from None

    def replica_urls(self) -> tuple[str, ...]:
        """One for each read replica; a URL may have commas of its own, between hosts."""
        given = self.database_replica_url
        return () if given is None else tuple(re.split(r"\s*,\s*(?=postgresql://)", given.strip()))

    def _check_nesting(self) -> None:
        """Each time-out ends before the one around it, which would end more than it has to."""
        nested = {
            "lock_timeout_ms": self.lock_timeout_ms,
            "statement_timeout_ms": self.statement_timeout_ms,
            "shutdown_grace_ms": self.shutdown_grace_ms,
            "RabbitMQ's consumer time-out": CONSUMER_TIMEOUT_MS,
        }
        for (inner, inner_ms), (outer, outer_ms) in pairwise(nested.items()):
            if inner_ms >= outer_ms:
                raise ValueError(f"{inner}: {inner_ms} has to be less than {outer}, {outer_ms}")

    def signing_keys(self) -> tuple[MessageKey, ...]:
        """The keys of messages; the first one signs."""
        derived = derive_key(self.secret_key)
        return (derived,) if self.message_keys is None else parse_keys(self.message_keys, derived)


def from_files(variables: dict[str, str]) -> dict[str, str]:
    """The settings that lie in files, as secrets of containers do. Raises SettingsError."""
    found = {}
    for name in map(str.upper, Settings.__struct_fields__):
        path = variables.get(f"{name}_FILE")
        if path is None:
            continue
        if name in variables:
            raise SettingsError(f"{name} and {name}_FILE are both set. Only one can count.")
        try:
            found[name] = Path(path).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeError) as error:
            raise SettingsError(f"{name}_FILE can't be read: {error}") from None
    return {name: value for name, value in found.items() if value != ""}


def parse(variables: dict[str, str]) -> Settings:
    """Settings from a mapping of environment variables; `NAME_FILE` names a file with NAME's value.

    Raises SettingsError that names the variable at fault.
    """
    variables = {name: value for name, value in variables.items() if value != ""}
    variables |= from_files(variables)
    if "RABBITMQ_URL" not in variables and "CLOUDAMQP_URL" in variables:
        variables["RABBITMQ_URL"] = variables["CLOUDAMQP_URL"]
    known = {
        field: variables[field.upper()]
        for field in Settings.__struct_fields__
        if field.upper() in variables
    }
    # Some platforms still hand out the scheme's old name, which libpq takes and Peewee does not.
    for name in ("database_url", "database_replica_url"):
        if name in known:
            known[name] = re.sub(r"(^|,\s*)postgres://", r"\1postgresql://", known[name])
    try:
        return msgspec.convert(known, Settings, strict=False)
    except msgspec.ValidationError as error:
        raise SettingsError(
            f"{error}. Set it in the environment or in .env (`make run` writes one); "
            "docs/settings.md lists all settings."
        ) from None


@cache
def settings() -> Settings:
    """The settings of this process, read at the first call."""
    from_file = {k: v for k, v in dotenv_values(ROOT / ".env").items() if v is not None}
    return parse({**from_file, **os.environ})
