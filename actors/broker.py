"""The broker: RabbitMQ as Dramatiq speaks it, with the ways of losing a message closed.

Stock Dramatiq publishes without confirms, acknowledges by number only, keeps delayed messages
of a consumer that is gone, and drops what it can't read or has tried too often. Here:

- queues are quorum queues, publishes are confirmed and mandatory, and a queue that is full
  refuses (the publisher hears of it) rather than dropping;
- a delivery belongs to the consumer that received it, and only that one settles it;
- a message is settled by what is known of it: acknowledged when its work is committed or its
  failure is on record, put back when neither is certain.
"""

from typing import Any, cast

import dramatiq
import pika
import pika.exceptions
from dramatiq.brokers.rabbitmq import RabbitmqBroker
from dramatiq.common import dq_name, q_name, xq_name
from dramatiq.middleware import Middleware

from actors.access import Patience, is_refused
from actors.commands import LANES, ROUTES, PlaceOrder
from actors.consumer import Consumer
from actors.controls import Pausing
from actors.crashes import Crashes
from actors.envelope import EnvelopeEncoder
from actors.full_queues import MovesOn, Publishing
from actors.heartbeat import Heartbeat
from actors.lane import Lane
from actors.limits import Limits
from actors.log_context import LogContext
from actors.mismatch import QueueMismatch, end_process, explain, is_mismatch
from actors.nodes import connect, connection_parameters
from actors.retries import Retries
from actors.stats import Stats, Stopwatch
from config import Settings, settings
from models.rules.signing import Signer

#: How soon a delayed message that is due is seen.
DELAY_POLL_MS = 100
#: RabbitMQ 4 gives a message up after 20 deliveries unless told otherwise; here only what is on
#: record leaves a queue, and to be put back is no fault of a message.
DELIVERIES_MAX = 1_000_000
#: A full queue refuses, and the publisher hears of it.
OVERFLOW = "reject-publish"
#: Delayed messages that a worker holds at once: their confirms, one each, have to fit between two
#: heartbeats, and they themselves into memory.
DELAYED_HELD_MAX = 500
#: Messages of new orders that a worker fetches ahead: a transaction takes them along, whatever the
#: number of threads.
ORDERS_PREFETCH = 64


def queue_arguments(queue: str, *, length_max: int | None, ordered: bool = False) -> dict[str, Any]:
    """Arguments of a queue. length_max: messages it holds before it refuses more; ordered: whether
    RabbitMQ delivers to one of its consumers only, until that is gone."""
    arguments: dict[str, Any] = {
        "x-queue-type": "quorum",
        "x-delivery-limit": DELIVERIES_MAX,
        "x-dead-letter-exchange": "",
        "x-dead-letter-routing-key": xq_name(queue),
    }
    if length_max is not None:
        arguments |= {"x-max-length": length_max, "x-overflow": OVERFLOW}
    if ordered:
        arguments["x-single-active-consumer"] = True
    return arguments


def declarations(queue: str, length_max: int) -> dict[str, dict[str, Any]]:
    """The queues behind one queue name: itself, its delayed and its dead messages."""
    return {
        queue: queue_arguments(queue, length_max=length_max, ordered=queue in LANES),
        # What is on its way back must never be refused.
        dq_name(queue): queue_arguments(queue, length_max=None),
        # No expiry: nothing leaves it but by hand.
        xq_name(queue): {"x-queue-type": "quorum"},
    }


def _middleware(given: Settings) -> list[Middleware]:
    """In order: before-hooks run from the first to the last, after-hooks the other way.

    What is around an actor's call is further inside the earlier it comes.
    """
    stats, crashes = Stats(), Crashes()
    return [
        LogContext(), stats, Heartbeat(given, stats, crashes.settle), MovesOn(), Pausing(), crashes,
        Limits(), Retries(), Stopwatch(),
    ]  # fmt: skip


class Broker(RabbitmqBroker):
    """RabbitMQ with confirms, quorum queues and the safe consumer."""

    def __init__(self, given: Settings) -> None:
        super().__init__(confirm_delivery=True, middleware=_middleware(given))
        self.parameters = connection_parameters(given)
        self.queue_length_max = given.queue_length_max
        self.publish_deadline_s = given.publish_deadline_s
        self.patience = Patience()

    @property
    def connection(self) -> Any:
        """As Dramatiq's, the thread's own, but to any of the nodes."""
        if getattr(self.state, "connection", None) is None:
            self.state.connection = connect(self.parameters)
            self.connections.add(self.state.connection)
        return self.state.connection

    @connection.deleter
    def connection(self) -> None:
        cast(Any, RabbitmqBroker).connection.fdel(self)

    @property
    def consumer_class(self) -> type[Consumer]:
        return Consumer

    @property
    def channel(self) -> Any:
        return Publishing(super().channel, self.publish_deadline_s, self._forget_channel)

    @channel.deleter
    def channel(self) -> None:
        self._forget_channel()

    def _forget_channel(self) -> None:
        cast(Any, RabbitmqBroker).channel.fdel(self)

    def consume(self, queue_name: str, prefetch: int = 1, timeout: int = 5000) -> Consumer:
        if queue_name == dq_name(queue_name):
            timeout = min(timeout, DELAY_POLL_MS)
            prefetch = min(prefetch, DELAYED_HELD_MAX)
        elif queue_name == ROUTES[PlaceOrder].queue:
            prefetch = max(prefetch, ORDERS_PREFETCH)
        self.declare_queue(queue_name)
        self.patience.wait(q_name(queue_name))
        try:
            if queue_name in LANES:
                return Lane(self, queue_name, timeout)
            return Consumer(self, queue_name, prefetch, timeout)
        except QueueMismatch as error:
            # Only workers consume.
            end_process(error)

    def ensure_on(self, connection: pika.BlockingConnection, queue: str) -> None:
        """Make the queues behind a name, unless they are known to be there.

        On a consumer's own connection: this thread's would be opened for it and never used again.
        Raises QueueMismatch, RightMissing.
        """
        if queue in self.queues_pending:
            channel = connection.channel()
            for name in declarations(queue, self.queue_length_max):
                self._declare_on(channel, queue, name)
            self.queues_pending.discard(queue)
            channel.close()

    def _declare(self, queue: str, name: str) -> Any:
        try:
            return self._declare_on(self.channel, queue, name)
        except QueueMismatch:
            del self.channel
            raise

    def _declare_on(self, channel: Any, queue: str, name: str) -> Any:
        """Raises QueueMismatch where it exists with other arguments, RightMissing."""
        arguments = declarations(queue, self.queue_length_max)[name]
        try:
            return channel.queue_declare(queue=name, durable=True, arguments=arguments)
        except pika.exceptions.ChannelClosedByBroker as error:
            if is_mismatch(error):
                raise QueueMismatch(explain(error)) from error
            if is_refused(error):
                raise self.patience.refused(queue, error, "configure or read") from error
            raise

    def _declare_queue(self, queue_name: str) -> Any:
        return self._declare(queue_name, queue_name)

    def _declare_dq_queue(self, queue_name: str) -> Any:
        return self._declare(queue_name, dq_name(queue_name))

    def _declare_xq_queue(self, queue_name: str) -> Any:
        return self._declare(queue_name, xq_name(queue_name))


dramatiq.set_encoder(EnvelopeEncoder(Signer(settings().signing_keys())))
broker = Broker(settings())
dramatiq.set_broker(broker)
