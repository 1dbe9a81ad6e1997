"""The broker: RabbitMQ as Dramatiq speaks it, with the ways of losing a message closed.

Stock Dramatiq publishes without confirms, acknowledges by number only, keeps delayed messages
of a consumer that is gone, and drops what it can't read or has tried too often. Here:

- queues are quorum queues, publishes are confirmed and mandatory, and a queue that is full
  refuses (the publisher hears of it) rather than dropping;
- a delivery belongs to the consumer that received it, and only that one settles it;
- a message is settled by what is known of it: acknowledged when its work is committed or its
  failure is on record, put back when neither is certain.
"""

import hashlib
import logging
import time
from collections import deque
from collections.abc import Iterable
from functools import partial
from typing import Any, cast

import dramatiq
import pika
import pika.exceptions
from dramatiq.brokers.rabbitmq import RabbitmqBroker, _RabbitmqConsumer, _RabbitmqMessage
from dramatiq.common import dq_name, q_name, xq_name
from dramatiq.errors import ConnectionClosed, DecodeError
from dramatiq.message import Message
from dramatiq.middleware import Middleware

from actors import dead_letters
from actors.access import Patience, RightMissing, is_refused
from actors.attachment import Attachment
from actors.commands import LANES
from actors.controls import Pausing, controls
from actors.crashes import Crashes
from actors.envelope import EnvelopeEncoder, first_cause
from actors.full_queues import MovesOn, Publishing
from actors.heartbeat import Heartbeat
from actors.limits import Limits
from actors.log_context import LogContext, about
from actors.mismatch import QueueMismatch, end_process, explain, is_mismatch
from actors.nodes import connect, connection_parameters
from actors.put_backs import put_backs
from actors.retries import Retries
from actors.stats import Stats, Stopwatch
from config import Settings, settings
from models.rules.signing import Signer

logger = logging.getLogger(__name__)

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
#: How soon a queue that is resumed is seen to be.
HOLD_POLL_S = 0.25
#: A fault that comes back at once (the record can't be written) must not spin.
PUT_BACK_PAUSE_S = 1.0


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
    def consumer_class(self) -> type["Consumer"]:
        return Consumer

    @property
    def channel(self) -> Any:
        return Publishing(super().channel, self.publish_deadline_s, self._forget_channel)

    @channel.deleter
    def channel(self) -> None:
        self._forget_channel()

    def _forget_channel(self) -> None:
        cast(Any, RabbitmqBroker).channel.fdel(self)

    def consume(self, queue_name: str, prefetch: int = 1, timeout: int = 5000) -> "Consumer":
        if queue_name == dq_name(queue_name):
            timeout = min(timeout, DELAY_POLL_MS)
            prefetch = min(prefetch, DELAYED_HELD_MAX)
        self.declare_queue(queue_name)
        self.patience.wait(q_name(queue_name))
        try:
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


class Consumer(_RabbitmqConsumer):
    """Settles only what it delivered itself, by what is known of it.

    Paused it takes nothing; held (see actors/controls.py), it keeps what it had asked for.
    """

    def __init__(self, broker: Broker, queue_name: str, prefetch: int, timeout: int) -> None:
        # Not Dramatiq's own: that connects by itself, and not to any of the nodes.
        self.broker, self.queue_name, self.logger = broker, queue_name, logger
        self.known_tags: set[int] = set()
        self._idle_s = timeout / 1000
        self._prefetch = prefetch
        self._consuming = False
        try:
            self.connection = connect(broker.parameters)
            broker.ensure_on(self.connection, q_name(queue_name))
            self._open()
        except (pika.exceptions.AMQPConnectionError, pika.exceptions.AMQPChannelError) as error:
            raise ConnectionClosed(error) from None
        except (QueueMismatch, RightMissing):
            self.connection.close()
            raise
        # Whether it has consumed since it was made, or since the last pause.
        self.attached = False
        self._attachment = Attachment()
        # The messages of known_tags, for actors/holdings.py.
        self.held: dict[int, Message[Any]] = {}
        # Those of them that came while the queue is held.
        self._parked: deque[Any] = deque()

    def __next__(self) -> Any:
        if self._parked and not self._is_held():
            return self._parked.popleft()
        delivery, properties, body = self._receive()
        if delivery is None:
            return None
        try:
            message = self._decode(body)
        except DecodeError as error:
            self._refuse(delivery.delivery_tag, body, first_cause(error), _deliveries(properties))
            return None
        self.known_tags.add(delivery.delivery_tag)
        self.held[delivery.delivery_tag] = message
        proxy: Any = _RabbitmqMessage(delivery.redelivered, delivery.delivery_tag, message)
        proxy.consumer = self
        if delivery.redelivered:
            proxy.deliveries = _deliveries(properties)
        if self._is_held():
            self._parked.append(proxy)
            return None
        return proxy

    def _is_held(self) -> bool:
        """Of a paused queue what is here goes back at once, by way of Pausing."""
        held_s = controls.held_for_s(self.queue_name)
        return held_s > 0 and not controls.is_paused(self.queue_name)

    def _decode(self, body: bytes) -> Message[Any]:
        message = Message.decode(body)
        if message.queue_name != self.queue_name:
            raise DecodeError(f"addressed to {message.queue_name}", body, None)
        return message

    def _receive(self) -> tuple[Any, Any, bytes]:
        try:
            if controls.is_paused(self.queue_name):
                self._hold()
                return None, None, b""
            held_s = controls.held_for_s(self.queue_name)
            # After a pause it consumes first: a held queue has its consumer.
            if self._consuming and held_s and not self._await(held_s):
                return None, None, b""
            self._consuming = True
            delivery, properties, body = next(self.iterator)
            if not self.attached:
                self.attached = True
                self.broker.patience.granted(q_name(self.queue_name))
            if self._attachment.is_stale(delivered=delivery is not None, held=self.held):
                self._begin_anew()
        except StopIteration:
            # The broker cancelled the consumer. Dramatiq would keep the delayed messages it
            # holds and get them a second time; as a lost connection it forgets them.
            raise ConnectionClosed("the broker cancelled the consumer") from None
        except (
            AssertionError,
            pika.exceptions.AMQPConnectionError,
            pika.exceptions.AMQPChannelError,
        ) as error:
            if is_refused(error):
                raise self.broker.patience.refused(q_name(self.queue_name), error, "read") from None
            if getattr(error, "reply_code", None) == 404:
                self.broker.queues_pending.add(q_name(self.queue_name))
            raise ConnectionClosed(error) from None
        return delivery, properties, body

    def _hold(self) -> None:
        """Consume nothing for a moment; acks and heartbeats go on.

        What was fetched ahead goes back. A fresh consumer begins where the pause ends.
        """
        if self._consuming:
            self.channel.cancel()
            self._consume()
            self.attached = False
        self._await(HOLD_POLL_S)

    def _begin_anew(self) -> None:
        """Go on with a fresh channel; what RabbitMQ handed to the old one goes back."""
        old = self.channel
        self._open()
        old.close()

    def _open(self) -> None:
        channel = self.connection.channel()
        channel.basic_qos(prefetch_count=self._prefetch)
        self.channel = channel
        self._consume()

    def _consume(self) -> None:
        """It begins when it is first asked for a message."""
        self.iterator = self.channel.consume(self.queue_name, inactivity_timeout=self._idle_s)
        self._consuming = False

    def _await(self, limit_s: float) -> bool:
        """Acks and heartbeats go on, for a moment; whether a message came meanwhile."""
        self.connection.process_data_events(time_limit=min(self._idle_s, limit_s))
        if not self.channel.is_open:
            raise ConnectionClosed("the channel of a paused queue is gone")
        return bool(self.channel.get_waiting_message_count())

    def requeue(self, messages: Iterable[Any]) -> None:
        """Forget delayed messages: RabbitMQ has them again as soon as this consumer is closed."""
        for _ in messages:
            pass

    def ack(self, message: Any) -> None:
        """Settle a message whose processing is over, or put it back where that is not certain."""
        if message.consumer is not self:
            logger.info("Not settling a message of a consumer that is gone; it comes again.")
            return
        try:
            self._settle(message)
        finally:
            # Last, for with none held a consumer may begin anew, and tags with it.
            self.held.pop(message._tag, None)

    def _settle(self, message: Any) -> None:
        if getattr(message, "put_back", False):
            if not getattr(message, "at_once", False):
                time.sleep(PUT_BACK_PAUSE_S)
            if message._tag in self.known_tags:
                self.known_tags.remove(message._tag)
                self._put_back(message._tag)
        else:
            super().ack(message)

    def nack(self, message: Any) -> None:
        """Settle a failed message: with its record in PostgreSQL, the queue can let go of it."""
        if message.consumer is not self:
            return
        try:
            if not getattr(message, "recorded", False):
                # Dramatiq itself refuses only what no actor of this process is for.
                dead_letters.record(message, message._exception, "")
        except Exception as error:  # whatever is wrong with the database, the message has to stay
            logger.exception(
                "The record of a message can't be written; it goes back.", extra=about(message)
            )
            message.put_back = True
            put_backs.note(message, error)
        self.ack(message)

    def _refuse(self, tag: int, body: bytes, error: BaseException, deliveries: int) -> None:
        """Record what can't be read, then let go of it; keep it while it can't be recorded."""
        logger.error("A message on %s can't be read: %s", self.queue_name, error)
        # It has no id that can be believed.
        name = f"unread-{hashlib.sha256(body).hexdigest()[:16]}"
        try:
            dead_letters.record_malformed(self.queue_name, body, error)
        except Exception as failure:  # whatever is wrong with the database, the message has to stay
            logger.exception("Its record can't be written; it stays in the queue.")
            put_backs.note_one(name, self.queue_name, "", failure, count=deliveries)
            time.sleep(PUT_BACK_PAUSE_S)
            self._put_back(tag)
        else:
            put_backs.forget(name)
            self.channel.basic_ack(tag)

    def _put_back(self, tag: int) -> None:
        self.connection.add_callback_threadsafe(partial(self.channel.basic_nack, tag, requeue=True))


def _deliveries(properties: Any) -> int:
    """How often RabbitMQ delivered a message before: every worker's put-backs, limits included."""
    return int((properties.headers or {}).get("x-delivery-count", 0))


dramatiq.set_encoder(EnvelopeEncoder(Signer(settings().signing_keys())))
broker = Broker(settings())
dramatiq.set_broker(broker)
