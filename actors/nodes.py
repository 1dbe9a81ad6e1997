"""RabbitMQ's nodes: how to reach each, and which to try first."""

import random
import re
from collections.abc import Sequence
from typing import Final
from urllib.parse import parse_qsl

import pika
import pika.exceptions
from pika.adapters.utils.connection_workflow import AMQPConnectorException

from config import Settings, SettingsError

#: What pika raises of an attempt: names that are not known, TLS, and time-outs are no AMQPError.
CANNOT_CONNECT: Final = (
    pika.exceptions.AMQPError, AMQPConnectorException, OSError, AssertionError,
)  # fmt: skip


#: Parameters of a URL that are refused, with the reason: each attempt is one, and has its bound.
REFUSED: Final = {
    "connection_attempts": "Holdfast tries again by itself",
    "retry_delay": "Holdfast tries again by itself",
}
KNOWN: Final = (
    "blocked_connection_timeout", "channel_max", "client_properties", "frame_max", "heartbeat",
    "locale", "socket_timeout", "ssl_options", "stack_timeout", "tcp_options",
)  # fmt: skip


def connection_parameters(given: Settings) -> list[pika.URLParameters]:
    """How to reach RabbitMQ, with a bound on every wait. Several URLs are split by `;`.

    Raises SettingsError.
    """
    return [_parameters(url, given) for url in given.rabbitmq_url.split(";")]


def _parameters(url: str, given: Settings) -> pika.URLParameters:
    bounds = {
        "heartbeat": given.heartbeat_s,
        "blocked_connection_timeout": given.blocked_timeout_s,
        "socket_timeout": given.connect_timeout_s,
        "stack_timeout": given.connect_timeout_s * 2,
    }
    own = _own_parameters(url)
    for name in bounds.keys() & own.keys():
        if not re.fullmatch(r"0*[1-9]\d*|\d+\.\d*[1-9]\d*", own[name]):
            # Of 0, pika waits for ever.
            raise SettingsError(f"RABBITMQ_URL: {name} must be a number of seconds greater than 0")
    node = _read(url)
    node.connection_attempts = 1
    for name in bounds.keys() - own.keys():
        setattr(node, name, bounds[name])
    return node


def _own_parameters(url: str) -> dict[str, str]:
    """What stands after the question mark. Raises SettingsError that says what can't be had."""
    own = dict(parse_qsl(url.partition("?")[2], keep_blank_values=True))
    for name in own:
        if name in REFUSED:
            raise SettingsError(f"RABBITMQ_URL: leave {name} out: {REFUSED[name]}.")
        if name not in KNOWN:
            raise SettingsError(
                f"RABBITMQ_URL: unknown parameter {name!r}; allowed: {', '.join(KNOWN)}"
            )
    return own


def _read(url: str) -> pika.URLParameters:
    try:
        return pika.URLParameters(url)
    except OSError as error:  # TLS: a file that is not there, or is no certificate
        raise SettingsError(
            "RABBITMQ_URL: can't use a file that its ssl_options name: "
            f"{error.strerror or error}. See docs/deploy/rabbitmq.md."
        ) from None
    except (SyntaxError, TypeError, ValueError, AttributeError):
        raise SettingsError(
            "RABBITMQ_URL: it must be amqp://user:password@host:port/vhost; docs/deploy/"
            "rabbitmq.md lists its parameters."
        ) from None


def in_any_order(nodes: Sequence[pika.URLParameters]) -> list[pika.URLParameters]:
    """The nodes of a cluster in the order in which one attempt to connect tries them.

    So connections spread over them, and one that hangs does not keep the others waiting each time.
    """
    return random.sample(nodes, len(nodes))


def connect(nodes: Sequence[pika.URLParameters]) -> pika.BlockingConnection:
    """A connection to one of the nodes. Raises AMQPConnectionError, and nothing else.

    One by one: given all, pika ends at the first whose name is not known.
    """
    failed: Exception | None = None
    for node in in_any_order(nodes):
        try:
            return pika.BlockingConnection(node)
        except CANNOT_CONNECT as error:
            failed = error
    raise pika.exceptions.AMQPConnectionError(repr(failed)) from failed
