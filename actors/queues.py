"""What is in the queues, as far as AMQP and the workers can tell."""

import contextlib
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from threading import Lock
from typing import Any, Final

import pika
import pika.exceptions
from dramatiq.common import dq_name, xq_name
from dramatiq.errors import DecodeError
from dramatiq.message import Message

from actors.broker import declarations
from actors.channels import close_in_order
from actors.commands import LANES, QUEUES
from actors.lane import PREFETCH
from actors.nodes import connect, connection_parameters
from config import Settings
from models.queries import clocks, workers
from models.queries.workers import WorkerRow

logger = logging.getLogger(__name__)

#: How long the head of a queue may take to come.
PEEK_S: Final = 1.0
#: What pika raises of a connection that is lost.
LOST: Final = (pika.exceptions.AMQPError, OSError, AssertionError)


class QueuesUnknownError(ConnectionError):
    """RabbitMQ can't be reached, so what is in the queues can't be told."""


@dataclass(frozen=True, slots=True)
class QueueState:
    """Messages of a queue: waiting in it, delayed (held by workers or not), given up, with workers.

    dead: in its `.XQ`, and those that clocks took from there and can't record.
    consumers: one per worker process, none while it is paused. oldest_at: when the oldest message
    of those that wait or are with a worker was made, None where there is none or it can't be told.
    """

    ready: int
    delayed: int
    dead: int
    consumers: int
    oldest_at: datetime | None
    unacked: int = 0
    # Messages that come back, for attempts decide nothing, and for how long one of them has.
    put_back: int = 0
    put_back_s: float = 0.0

    def age_s(self, at: datetime) -> float | None:
        """The age of the oldest message, None where there is none or it can't be told."""
        return None if self.oldest_at is None else max((at - self.oldest_at).total_seconds(), 0.0)


class QueueInspector:
    """Looks into the queues, on a connection of its own that opens when it is needed.

    One call at a time; threads may share it.
    """

    def __init__(self, settings: Settings, queues: Sequence[str] = QUEUES) -> None:
        self._parameters = connection_parameters(settings)
        self._queues = queues
        self._length_max = settings.queue_length_max
        self._connection: pika.BlockingConnection | None = None
        self._channel: Any = None
        self._turn = Lock()
        # Heads that were looked at, by queue, and how many messages there were then. Every look
        # counts as a delivery, so there is only one for as long as nobody consumes the queue.
        self._peeked: dict[str, tuple[int, datetime | None]] = {}

    def inspect(
        self, live: Iterable[WorkerRow] | None = None, held: Mapping[str, int] | None = None
    ) -> dict[str, QueueState]:
        """The state of every queue by its name. live: the workers; held: what clocks can't record,
        by queue; both read here if not given.

        Raises QueuesUnknownError when RabbitMQ is away.
        """
        given = workers.live() if live is None else list(live)
        held = clocks.lately().held if held is None else held
        with self._turn:
            try:
                return self._inspect(given, held)
            except LOST:
                # RabbitMQ drops who is silent for long; a fresh connection does better.
                self._drop()
            try:
                return self._inspect(given, held)
            except LOST as error:
                self._drop()
                raise QueuesUnknownError(f"RabbitMQ can't be reached: {error!r}") from error

    def close(self) -> None:
        """Close the connection; the next look opens another."""
        with self._turn:
            self._drop()

    def _inspect(self, live: Sequence[WorkerRow], held: Mapping[str, int]) -> dict[str, QueueState]:
        return {queue: self._state(queue, live, held.get(queue, 0)) for queue in self._queues}

    def _state(self, queue: str, live: Sequence[WorkerRow], dead_held: int) -> QueueState:
        ready, consumers = self._counts(queue)
        delayed, _ = self._counts(dq_name(queue))
        dead, _ = self._counts(xq_name(queue))
        holds = [worker.holds[queue] for worker in live if queue in worker.holds]
        stamps = [_time(held["oldest_ms"]) for held in holds if held["oldest_ms"] is not None]
        # Not there in the report of a worker of the version before.
        came_back = [each for held in holds for each in held.get("put_back", [])]
        if ready and not consumers:
            head = self._head(queue, ready)
            stamps += [head] if head is not None else []
        else:
            self._peeked.pop(queue, None)
        return QueueState(
            ready=ready,
            delayed=delayed + sum(held["delayed_held"] for held in holds),
            dead=dead + dead_held,
            consumers=consumers,
            oldest_at=min(stamps, default=None),
            unacked=sum(held["unacked"] for held in holds),
            put_back=len({each["message_id"] for each in came_back}),
            put_back_s=max((_lasted_s(each) for each in came_back), default=0.0),
        )

    def _counts(self, name: str) -> tuple[int, int]:
        """(messages ready, consumers); nothing of a queue that was deleted."""
        try:
            found = self._open_channel().queue_declare(name, passive=True).method
        except pika.exceptions.ChannelClosedByBroker as error:
            if error.reply_code != 404:
                raise
            return 0, 0
        return int(found.message_count), int(found.consumer_count)

    def _head(self, queue: str, ready: int) -> datetime | None:
        """When the message at the head was made: it stays the head while none is taken away."""
        known = self._peeked.get(queue)
        # One fewer may be another inspector's look.
        if known is not None and ready >= known[0] - 1:
            return known[1]
        body = self._peek(queue)
        if body is None:
            return None
        made_at = _made_at(body)
        self._peeked[queue] = ready, made_at
        return made_at

    def _peek(self, queue: str) -> bytes | None:
        """The message at the head, None of none.

        A lane knows no basic.get, so this is a consumer for a moment. RabbitMQ puts what comes back
        behind all that came back before: of a lane, take as much at once as a worker may have given
        back, or the head would end up behind that.
        """
        channel = self._open_channel()
        channel.basic_qos(prefetch_count=PREFETCH if queue in LANES else 1)
        _delivery, _properties, body = next(
            channel.consume(queue, inactivity_timeout=PEEK_S), (None, None, None)
        )
        close_in_order(channel)
        return body

    def _open_channel(self) -> Any:
        if self._connection is None or self._connection.is_closed:
            self._connection = connect(self._parameters)
            self._channel = None
            self._declare()
        if self._channel is None or self._channel.is_closed:
            self._channel = self._connection.channel()
        return self._channel

    def _declare(self) -> None:
        """Make what is missing, as workers and the front door do: asked for, it is an error."""
        for queue in self._queues:
            for name, arguments in declarations(queue, self._length_max).items():
                # One that was made with other arguments is there all the same.
                with contextlib.suppress(pika.exceptions.ChannelClosedByBroker):
                    self._open_channel().queue_declare(name, durable=True, arguments=arguments)

    def _drop(self) -> None:
        connection, self._connection, self._channel = self._connection, None, None
        try:
            if connection is not None and connection.is_open:
                connection.close()
        except LOST:
            logger.debug("A connection that broke can't be closed.")


def _lasted_s(put_back: Mapping[str, Any]) -> float:
    return float(put_back["last_ms"] - put_back["first_ms"]) / 1000


def _time(millis: int) -> datetime:
    return datetime.fromtimestamp(millis / 1000, UTC)


def _made_at(body: bytes) -> datetime | None:
    try:
        return _time(Message.decode(body).message_timestamp)
    except (DecodeError, ValueError, OverflowError, OSError):
        return None
