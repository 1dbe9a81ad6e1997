"""Every setting, parsed once: the environment first, then `.env`; a bad one stops the process.

Imports nothing of ours. Times carry their unit as the last word of their name.
"""

import os
from functools import cache
from pathlib import Path
from typing import Annotated

import msgspec
from dotenv import dotenv_values

ROOT = Path(__file__).resolve().parent

Positive = Annotated[int, msgspec.Meta(ge=1)]
PositiveSeconds = Annotated[float, msgspec.Meta(gt=0)]


class SettingsError(Exception):
    """A setting is missing or makes no sense; the message says which and what to do."""


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """The settings of one process. The field `database_url` is the variable `DATABASE_URL`."""

    database_url: str
    rabbitmq_url: str
    # Signs the ids that the front door gives out: the same value in every web process.
    secret_key: Annotated[str, msgspec.Meta(min_length=32)]

    host: str = "0.0.0.0"  # noqa: S104 - behind a platform's router; `make run` says 127.0.0.1
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

    # --- actors ---
    # Such as "100/s": at most that many messages of new orders a second, over all workers.
    orders_rate_limit: str | None = None
    # Commands that one transaction takes at most; a longer one holds its stock locks for longer.
    transaction_commands_max: Positive = 1_000

    # --- broker ---
    # Messages a queue holds before it refuses more (the front door then answers 503).
    queue_length_max: Positive = 100_000
    heartbeat_s: Positive = 20
    blocked_timeout_s: PositiveSeconds = 10.0

    # A thread that waits for the interpreter gets it after this long; Python's own 5 ms, several
    # times on an order's way, are most of the time that an order takes at half load.
    switch_interval_s: PositiveSeconds = 0.0005

    # --- database: lock < statement < shutdown grace < the broker's consumer time-out (30 min) ---
    connect_timeout_s: Positive = 3
    lock_timeout_ms: Positive = 5_000
    statement_timeout_ms: Positive = 15_000
    # A peer that stopped answering is given up after this long.
    tcp_user_timeout_ms: Positive = 10_000
    partitions_ahead: Positive = 3


def parse(variables: dict[str, str]) -> Settings:
    """Settings from a mapping of environment variables.

    Raises SettingsError that names the variable at fault.
    """
    variables = {name: value for name, value in variables.items() if value != ""}
    if "RABBITMQ_URL" not in variables and "CLOUDAMQP_URL" in variables:
        variables["RABBITMQ_URL"] = variables["CLOUDAMQP_URL"]
    known = {
        field: variables[field.upper()]
        for field in Settings.__struct_fields__
        if field.upper() in variables
    }
    # Some platforms still hand out the scheme's old name, which libpq takes and Peewee does not.
    url = known.get("database_url")
    if url and url.startswith("postgres://"):
        known["database_url"] = "postgresql://" + url.removeprefix("postgres://")
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
