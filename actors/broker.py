"""The broker: RabbitMQ as Dramatiq speaks it, with the ways of losing a message closed.

Stock Dramatiq publishes without confirms, acknowledges by number only, keeps delayed messages
of a consumer that is gone, and drops what it can't read or has tried too often. Here:

- queues are quorum queues, publishes are confirmed and mandatory, and a queue that is full
  refuses (the publisher hears of it) rather than dropping;
- a delivery belongs to the consumer that received it, and only that one settles it;
- a message is settled by what is known of it: acknowledged when its work is committed or its
  failure is on record, put back when neither is certain.
"""

import logging
import time
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

from actors import dead_letters
from actors.envelope import EnvelopeEncoder
from actors.limits import Limits
from actors.retries import Retries
from config import Settings, SettingsError, settings

logger = logging.getLogger(__name__)

#: How soon a delayed message that is due is seen.
DELAY_POLL_MS = 100
#: RabbitMQ 4 gives a message up after 20 deliveries unless told otherwise; here only what is on
#: record leaves a queue, and to be put back is no fault of a message.
DELIVERIES_MAX = 1_000_000
#: Delayed messages that a worker holds at once: their confirms, one each, have to fit between two
#: heartbeats, and they themselves into memory.
DELAYED_HELD_MAX = 1_000
#: A fault that comes back at once (the record can't be written) must not spin.
PUT_BACK_PAUSE_S = 1.0


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


def queue_arguments(queue: str, *, length_max: int | None) -> dict[str, Any]:
    """Arguments of a queue. length_max: messages it holds before it refuses more."""
    arguments: dict[str, Any] = {
        "x-queue-type": "quorum",
        "x-delivery-limit": DELIVERIES_MAX,
        "x-dead-letter-exchange": "",
        "x-dead-letter-routing-key": xq_name(queue),
    }
    if length_max is not None:
        arguments |= {"x-max-length": length_max, "x-overflow": "reject-publish"}
    return arguments


def declarations(queue: str, length_max: int) -> dict[str, dict[str, Any]]:
    """The queues behind one queue name: itself, its delayed and its dead messages."""
    return {
        queue: queue_arguments(queue, length_max=length_max),
        # What is on its way back must never be refused.
        dq_name(queue): queue_arguments(queue, length_max=None),
        # No expiry: nothing leaves it but by hand.
        xq_name(queue): {"x-queue-type": "quorum"},
    }


class Broker(RabbitmqBroker):
    """RabbitMQ with confirms, quorum queues and the safe consumer."""

    def __init__(self, given: Settings) -> None:
        super().__init__(
            confirm_delivery=True,
            middleware=[Limits(), Retries()],
        )
        self.parameters = connection_parameters(given)
        self.queue_length_max = given.queue_length_max

    @property
    def consumer_class(self) -> type["Consumer"]:
        return Consumer

    def consume(self, queue_name: str, prefetch: int = 1, timeout: int = 5000) -> "Consumer":
        if queue_name == dq_name(queue_name):
            timeout = min(timeout, DELAY_POLL_MS)
            prefetch = min(prefetch, DELAYED_HELD_MAX)
        return cast(Consumer, super().consume(queue_name, prefetch, timeout))

    def _declare(self, queue: str, name: str) -> Any:
        arguments = declarations(queue, self.queue_length_max)[name]
        return self.channel.queue_declare(queue=name, durable=True, arguments=arguments)

    def _declare_queue(self, queue_name: str) -> Any:
        return self._declare(queue_name, queue_name)

    def _declare_dq_queue(self, queue_name: str) -> Any:
        return self._declare(queue_name, dq_name(queue_name))

    def _declare_xq_queue(self, queue_name: str) -> Any:
        return self._declare(queue_name, xq_name(queue_name))


class Consumer(_RabbitmqConsumer):
    """Settles only what it delivered itself, by what is known of it."""

    def __next__(self) -> Any:
        delivery, body = self._receive()
        if delivery is None:
            return None
        try:
            message = self._decode(body)
        except DecodeError as error:
            self._refuse(delivery.delivery_tag, body, error.__cause__ or error)
            return None
        self.known_tags.add(delivery.delivery_tag)
        proxy: Any = _RabbitmqMessage(delivery.redelivered, delivery.delivery_tag, message)
        proxy.consumer = self
        return proxy

    def _decode(self, body: bytes) -> Message[Any]:
        message = Message.decode(body)
        if message.queue_name != self.queue_name:
            raise DecodeError(f"addressed to {message.queue_name}", body, None)
        return message

    def _receive(self) -> tuple[Any, bytes]:
        try:
            delivery, _properties, body = next(self.iterator)
        except StopIteration:
            # The broker cancelled the consumer. Dramatiq would keep the delayed messages it
            # holds and get them a second time; as a lost connection it forgets them.
            raise ConnectionClosed("the broker cancelled the consumer") from None
        except (
            AssertionError,
            pika.exceptions.AMQPConnectionError,
            pika.exceptions.AMQPChannelError,
        ) as error:
            if getattr(error, "reply_code", None) == 404:
                self.broker.queues_pending.add(q_name(self.queue_name))
            raise ConnectionClosed(error) from None
        return delivery, body

    def requeue(self, messages: Iterable[Any]) -> None:
        """Forget delayed messages: RabbitMQ has them again as soon as this consumer is closed."""
        for _ in messages:
            pass

    def ack(self, message: Any) -> None:
        """Settle a message whose processing is over, or put it back where that is not certain."""
        if message.consumer is not self:
            logger.info("Not settling a message of a consumer that is gone; it comes again.")
        elif getattr(message, "put_back", False):
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
        except Exception:  # whatever is wrong with the database, the message has to stay
            logger.exception("The record of a message can't be written; it goes back.")
            message.put_back = True
        self.ack(message)

    def _refuse(self, tag: int, body: bytes, error: BaseException) -> None:
        """Record what can't be read, then let go of it; keep it while it can't be recorded."""
        logger.error("A message on %s can't be read: %s", self.queue_name, error)
        try:
            dead_letters.record_malformed(self.queue_name, body, error)
        except Exception:  # whatever is wrong with the database, the message has to stay
            logger.exception("Its record can't be written; it stays in the queue.")
            time.sleep(PUT_BACK_PAUSE_S)
            self._put_back(tag)
        else:
            self.channel.basic_ack(tag)

    def _put_back(self, tag: int) -> None:
        self.connection.add_callback_threadsafe(partial(self.channel.basic_nack, tag, requeue=True))


dramatiq.set_encoder(EnvelopeEncoder())
broker = Broker(settings())
dramatiq.set_broker(broker)
