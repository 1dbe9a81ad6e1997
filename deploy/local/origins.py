"""Where the servers come from: given by URL, else Docker, else private instances."""

import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import pika
import psycopg2

from deploy.local.compose import Compose, engine_works
from deploy.local.install import ensure_installed
from deploy.local.servers import Postgres, RabbitMQ, Server, ServerError

# Setting to server; a server's name is also its name in docker-compose.yml.
SERVERS: dict[str, type[Server]] = {"DATABASE_URL": Postgres, "RABBITMQ_URL": RabbitMQ}
ANSWER_SECONDS_MAX = 5


@dataclass
class Origins:
    """The URL of each server, and which of them are ours to start."""

    urls: dict[str, str] = field(default_factory=dict)
    given: list[str] = field(default_factory=list)
    private: dict[str, Server] = field(default_factory=dict)
    compose: Compose | None = None
    from_compose: list[str] = field(default_factory=list)

    @property
    def services(self) -> list[str]:
        """What to start of docker-compose.yml."""
        return [SERVERS[name].name for name in self.from_compose]

    def in_words(self) -> str:
        origins = {
            "given by URL": self.given,
            "from docker-compose.yml": self.from_compose,
            "private, below var/": list(self.private),
        }
        return "; ".join(
            f"{' and '.join(SERVERS[name].title for name in names)}: {origin}"
            for origin, names in origins.items()
            if names
        )


def find(
    settings: Mapping[str, str],
    checkout: Path,
    var: Path,
    docker: Callable[[], bool] = engine_works,
) -> Origins:
    """Decide for each server; installs the programs of private ones where that is possible.

    A URL that an earlier run wrote is recognised by what that run left in `var`, and a checkout
    stays with what it has: its orders are there.
    """
    known = known_urls(checkout, var)
    found = Origins()
    for name, kind in SERVERS.items():
        url = settings.get(name)
        origin = known.get(url or "", "given" if url else "")
        if not origin:
            origin = "docker" if docker() else "private"
        if origin == "given":
            found.given.append(name)
            found.urls[name] = url or ""
        elif origin == "docker":
            found.compose = found.compose or Compose(checkout, var)
            found.from_compose.append(name)
            found.urls[name] = found.compose.urls[name]
        else:
            ensure_installed([kind.name])
            found.private[name] = kind(var)
            found.urls[name] = found.private[name].url
    return found


def known_urls(checkout: Path, var: Path) -> dict[str, str]:
    """Origin by URL, of the servers that earlier runs set up."""
    known = {}
    if Compose.exists(var):
        known = dict.fromkeys(Compose(checkout, var).urls.values(), "docker")
    for kind in SERVERS.values():
        if kind.exists(var):
            known[kind(var).url] = "private"
    return known


def check_given(name: str, url: str) -> None:
    """Make sure that a server somebody gave us answers, or say what is wrong with it."""
    probe = {"DATABASE_URL": probe_database, "RABBITMQ_URL": probe_broker}[name]
    origin = "the environment" if os.environ.get(name) else ".env"
    try:
        probe(url)
    except (OSError, ValueError, psycopg2.Error, pika.exceptions.AMQPError) as error:
        reason = str(error).strip() or type(error).__name__
        raise ServerError(
            f"{name} of {origin} ({without_password(url)}) does not work: {reason}\n"
            f"Correct it, or take it out and `make run` brings a {SERVERS[name].title} of its own."
        ) from None


def probe_database(url: str) -> None:
    psycopg2.connect(url, connect_timeout=ANSWER_SECONDS_MAX).close()


def probe_broker(url: str) -> None:
    # It would tell the same, at length, through logging.
    logging.getLogger("pika").setLevel(logging.CRITICAL)
    parameters = pika.URLParameters(url)
    parameters.connection_attempts = 1
    parameters.socket_timeout = parameters.stack_timeout = ANSWER_SECONDS_MAX
    pika.BlockingConnection(parameters).close()


def without_password(url: str) -> str:
    """The URL as it may be shown."""
    password = urlsplit(url).password
    return url.replace(f":{password}@", ":***@") if password else url
