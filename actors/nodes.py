"""RabbitMQ's nodes: how to reach each, and which to try first."""

import random
from collections.abc import Sequence
from typing import Final

import pika
import pika.exceptions
from pika.adapters.utils.connection_workflow import AMQPConnectorException

from config import Settings, SettingsError

#: What pika raises of an attempt: names that are not known, TLS, and time-outs are no AMQPError.
CANNOT_CONNECT: Final = (
    pika.exceptions.AMQPError, AMQPConnectorException, OSError, AssertionError,
)  # fmt: skip


def connection_parameters(given: Settings) -> list[pika.URLParameters]:
    """How to reach RabbitMQ, with a bound on every wait. Several URLs are split by `;`."""
    parameters = []
    for url in given.rabbitmq_url.split(";"):
        try:
            one = pika.URLParameters(url)
        except (TypeError, ValueError):
            raise SettingsError(
                "RABBITMQ_URL: write it as amqp://user:password@host:port/vhost"
            ) from None
        one.heartbeat = given.heartbeat_s
        one.blocked_connection_timeout = given.blocked_timeout_s
        one.socket_timeout = given.connect_timeout_s
        one.stack_timeout = given.connect_timeout_s * 2
        one.connection_attempts = 1
        parameters.append(one)
    return parameters


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
