"""What RabbitMQ dropped: taken from the `.XQ` queues onto the record, so that it is not lost.

Ours never leave a queue but decided or on record. A policy of whoever runs RabbitMQ can take them
out all the same (`message-ttl`, `max-length`, `delivery-limit`, …); it puts them into `.XQ`, which
the same policy may empty. So a consumer waits there and takes each at once.
"""

import logging
import threading
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from time import monotonic
from typing import Any, Final

import pika.exceptions
from dramatiq.broker import MessageProxy
from dramatiq.common import xq_name
from dramatiq.errors import DecodeError
from dramatiq.message import Message

from actors import access, commands, dead_letters, waiting_moves
from actors.broker import declarations
from actors.envelope import first_cause
from actors.nodes import connect, connection_parameters
from actors.undecided import error_line
from config import Settings
from models.database import discard_connection, is_transient, reading
from models.queries import inbox

logger = logging.getLogger(__name__)

#: What is with a consumer is out of reach of a policy; a message is a megabyte at most.
PREFETCH: Final = 100
LOOK_EVERY_S: Final = 0.5
TRY_AGAIN_S: Final = 5.0
REASONS: Final = {
    "expired": "it was in the queue longer than the policy's message-ttl",
    "maxlen": "the queue was longer than the policy's max-length or max-length-bytes",
    "delivery_limit": "it was delivered more often than the policy's delivery-limit",
    "rejected": "a consumer other than Holdfast rejected it",
}
LOST: Final = (pika.exceptions.AMQPError, OSError, AssertionError)


class Dropped(Exception):
    """RabbitMQ took a message out of its queue."""


class Collector(threading.Thread):
    """Records what is in the `.XQ` queues until it is stopped. dropped: by queue and reason."""

    def __init__(self, settings: Settings, queues: Sequence[str]) -> None:
        super().__init__(name="collector", daemon=True)
        self.dropped: Counter[tuple[str, str]] = Counter()
        self._parameters = connection_parameters(settings)
        self._length_max = settings.queue_length_max
        self._queues = queues
        self._stop_wanted = threading.Event()
        self._pending: deque[tuple[str, Any, Any, bytes]] = deque()

    def run(self) -> None:
        while not self._stop_wanted.is_set():
            try:
                self._collect()
            except LOST as error:
                if access.is_refused(error):
                    logger.warning("%s", access.explain(error, "read"))
                logger.debug("The queues of dropped messages can't be read now: %r", error)
            except Exception:  # whatever it is, the thread must not die
                logger.exception("The queues of dropped messages can't be read now.")
            finally:
                discard_connection()
            self._stop_wanted.wait(TRY_AGAIN_S)

    def stop(self) -> None:
        self._stop_wanted.set()
        self.join(TRY_AGAIN_S)

    def held(self) -> Mapping[str, int]:
        """How many it holds that can't be recorded now, by queue: no queue shows them."""
        return Counter(queue for queue, *_ in list(self._pending))

    def _collect(self) -> None:
        """Returns when told to stop, or when RabbitMQ closed the channel.

        What can't be recorded is kept here: back in its queue, the policy would take it again.
        """
        self._pending.clear()
        connection = connect(self._parameters)
        try:
            channel = self._consume(connection)
            again_at = 0.0
            while channel.is_open and not self._stop_wanted.is_set():
                connection.process_data_events(time_limit=LOOK_EVERY_S)
                if monotonic() >= again_at and not self._settle(connection, channel):
                    again_at = monotonic() + TRY_AGAIN_S
        finally:
            if connection.is_open:
                connection.close()

    def _consume(self, connection: Any) -> Any:
        channel = connection.channel()
        channel.basic_qos(prefetch_count=PREFETCH)
        channel.add_on_cancel_callback(lambda _: channel.close())
        for queue in self._queues:
            name = xq_name(queue)
            arguments = declarations(queue, self._length_max)[name]
            channel.queue_declare(name, durable=True, arguments=arguments)
            channel.basic_consume(
                name,
                lambda _, delivery, properties, body, queue=queue: self._pending.append(
                    (queue, delivery, properties, body)
                ),
            )
        return channel

    def _settle(self, connection: Any, channel: Any) -> bool:
        """Whether all that came is on record, and so acknowledged."""
        failure: Exception | None = None
        for _ in range(len(self._pending)):
            queue, delivery, properties, body = self._pending[0]
            try:
                reason = self._record(queue, properties, body)
            except Exception as error:  # whatever it is, the message stays, and others go on
                failure = error
                self._pending.rotate(-1)
                if is_transient(error):
                    # The others would wait as long in vain, and the heartbeats with them.
                    break
            else:
                self.dropped[queue, reason] += 1
                self._pending.popleft()
                channel.basic_ack(delivery.delivery_tag)
            # Without heartbeats RabbitMQ closes the connection, and the policy takes all again.
            connection.process_data_events(time_limit=0)
        if failure is not None:
            logger.error(
                "%d messages that RabbitMQ dropped can't be recorded: %s",
                len(self._pending), error_line(failure),
            )  # fmt: skip
        return not self._pending

    def _record(self, queue: str, properties: Any, body: bytes) -> str:
        """Record a message as a failure, unless it is decided; returns why it was dropped."""
        reason, dropped_from = _death(properties)
        because = REASONS.get(reason, "the reason is unknown: somebody put it there")
        error = Dropped(
            f"RabbitMQ dropped it from {dropped_from or queue}: {because}. Exclude Holdfast's "
            "queues from such policies: see docs/deploy/rabbitmq.md."
        )
        try:
            message = Message.decode(body)
        except DecodeError as undecodable:
            dead_letters.record_malformed(queue, body, first_cause(undecodable))
            return reason
        if not _is_decided(message):
            waiting_moves.record_failure(MessageProxy(message), error, "")
            logger.error("Message %s is on record as a failure: %s", message.message_id, error)
        return reason


def _death(properties: Any) -> tuple[str, str]:
    """Why RabbitMQ dropped a message, and from which queue; '' where it does not say."""
    deaths = (properties.headers or {}).get("x-death") or [{}]
    return str(deaths[0].get("reason", "")), str(deaths[0].get("queue", ""))


def _is_decided(message: Message[Any]) -> bool:
    """Whether all commands of a message have their outcome, and so nothing is lost with it."""
    ids = [command.id for command in commands.sketch(message.kwargs["commands"])]
    with reading():
        return bool(ids) and inbox.count_decided(ids) == len(set(ids))
