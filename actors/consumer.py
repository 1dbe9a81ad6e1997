"""A consumer of one queue: what it delivers, and how that is settled."""

import hashlib
import logging
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import pika.exceptions
from dramatiq.brokers.rabbitmq import _RabbitmqConsumer, _RabbitmqMessage
from dramatiq.common import q_name
from dramatiq.errors import ConnectionClosed, DecodeError
from dramatiq.message import Message

from actors import dead_letters, waiting_moves
from actors.access import RightMissing, is_refused
from actors.attachment import Attachment
from actors.controls import controls
from actors.envelope import first_cause
from actors.log_context import about
from actors.mismatch import QueueMismatch
from actors.nodes import connect
from actors.put_backs import put_backs

logger = logging.getLogger(__name__)

#: How soon a queue that is resumed is seen to be.
HOLD_POLL_S = 0.25
#: A fault that comes back at once (the record can't be written) must not spin.
PUT_BACK_PAUSE_S = 1.0


class Delivered(_RabbitmqMessage):
    """A message as a worker's thread has it, with what is to become of it after this attempt.

    Nothing set: it is over, and can be acknowledged. put_back: it was not decided and comes again;
    at_once: without a pause. recorded: its failure is on record. deliveries: how often RabbitMQ
    delivered it before. ticket: how it is decided with others (actors/group_commit.py). The rest is
    for messages of a lane only, which `in_order` tells: see actors/lane.py.
    """

    in_order = False
    put_back = False
    at_once = False
    recorded = False
    ticket: Any = None
    # It is to be tried again in its place, after so long.
    retry_after_s: float | None = None
    # It is to be decided by these messages in its place.
    singles: Sequence[Message[Any]] = ()
    # Another process may do better.
    passes_turn = False

    def __init__(
        self, consumer: Any, tag: int, message: Message[Any], *, redelivered: bool, deliveries: int
    ) -> None:
        super().__init__(redelivered, tag, message)
        self.consumer = consumer
        self.deliveries = deliveries


class Consumer(_RabbitmqConsumer):
    """Settles only what it delivered itself, by what is known of it.

    Paused it takes nothing; held (see actors/controls.py), it keeps what it had asked for.
    """

    def __init__(self, broker: Any, queue_name: str, prefetch: int, timeout: int) -> None:
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
        # The messages of known_tags, for actors/holdings.py and actors/placing.py.
        self.held: dict[int, Any] = {}
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
            self._refuse(
                delivery.delivery_tag, body, first_cause(error), delivery_count(properties)
            )
            return None
        self.known_tags.add(delivery.delivery_tag)
        proxy = Delivered(
            self, delivery.delivery_tag, message, redelivered=delivery.redelivered,
            deliveries=delivery_count(properties),
        )  # fmt: skip
        self.held[delivery.delivery_tag] = proxy
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
        with self._faults():
            if controls.is_paused(self.queue_name):
                self._hold()
                return None, None, b""
            held_s = controls.held_for_s(self.queue_name)
            # After a pause it consumes first: a held queue has its consumer.
            if self._consuming and held_s and not self._await(held_s):
                return None, None, b""
            self._consuming = True
            try:
                delivery, properties, body = next(self.iterator)
            except StopIteration:
                # The broker cancelled the consumer. Dramatiq would keep the delayed messages it
                # holds and get them a second time; as a lost connection it forgets them.
                raise ConnectionClosed("the broker cancelled the consumer") from None
            self._attach()
            if self._attachment.is_stale(delivered=delivery is not None, held=self.held):
                self._begin_anew()
        return delivery, properties, body

    def _attach(self) -> None:
        if not self.attached:
            self.attached = True
            self.broker.patience.granted(q_name(self.queue_name))

    @contextmanager
    def _faults(self) -> Iterator[None]:
        """What pika raises, as Dramatiq knows it."""
        try:
            yield
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
        if message.put_back:
            if not message.at_once:
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
            if not message.recorded:
                # Dramatiq itself refuses only what no actor of this process is for.
                waiting_moves.record_failure(message, message._exception, "")
        except Exception as error:  # whatever is wrong with the database, the message has to stay
            logger.exception(
                "The record of a message can't be written; it goes back.", extra=about(message)
            )
            message.put_back = True
            put_backs.note(message, error)
        self.ack(message)

    def _refuse(self, tag: int, body: bytes, error: BaseException, deliveries: int) -> None:
        """Record what can't be read, then let go of it; keep it while it can't be recorded."""
        if self._is_on_record(body, error, deliveries):
            self.channel.basic_ack(tag)
        else:
            time.sleep(PUT_BACK_PAUSE_S)
            self._put_back(tag)

    def _is_on_record(self, body: bytes, error: BaseException, deliveries: int) -> bool:
        """Record what can't be read; returns whether that could be written."""
        logger.error("A message on %s can't be read: %s", self.queue_name, error)
        # It has no id that can be believed.
        name = f"unread-{hashlib.sha256(body).hexdigest()[:16]}"
        try:
            dead_letters.record_malformed(self.queue_name, body, error)
        except Exception as failure:  # whatever is wrong with the database, the message has to stay
            logger.exception("Its record can't be written; it stays in the queue.")
            put_backs.note_one(name, self.queue_name, "", failure, count=deliveries)
            return False
        put_backs.forget(name)
        return True

    def _put_back(self, tag: int) -> None:
        self.connection.add_callback_threadsafe(partial(self.channel.basic_nack, tag, requeue=True))


def delivery_count(properties: Any) -> int:
    """How often RabbitMQ delivered a message before: every worker's put-backs, limits included."""
    return int((properties.headers or {}).get("x-delivery-count", 0))
