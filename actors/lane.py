"""A lane: a queue whose messages are decided one after another, in the order of delivery.

RabbitMQ delivers a lane's messages, in order, to one consumer at a time (a single active consumer);
the others stand by. This consumer hands out one message, and the next only once that one is
decided: its work committed, or its failure on record. What fails keeps its place:

| what happened | what the lane does |
|---|---|
| a fault that passes, a limit, the database away | the same message again, after its pause |
| a batch fails for good, or kills its process | its commands again, one by one, in order |
| a single command fails for good | its record is written; the next one has its turn |
| the message can't be read | once it is at the head: recorded, and the next one has its turn |
| the queue is paused | all goes back, the one in hand once its attempt is over |
| another thread of this process hangs beside a suspect | all goes back, to another process |

Nothing is nacked and nothing goes to the delay queue: both would let the next one overtake. All
that a lane holds goes back together, by closing the channel, which keeps the order
(actors/channels.py).

Why no change overtakes another, even when the connection is lost, or the process is frozen, while
an attempt goes on: RabbitMQ delivers what was not acknowledged again, the oldest first. So whoever
is active then begins with the very message that the old attempt is at, and goes on only once it is
decided. Both attempts claim the same commands in the inbox: whoever comes second waits for the
first one's transaction, and then finds nothing left to do. An old attempt that looked ahead
(actors/ahead.py) claims commands that lie one behind the other, in one statement, in the order in
which everybody claims: where two attempts overlap, one of them gets the whole overlap, and the
other one waits for its commit before it writes anything. What lies before the overlap was decided
before the second attempt began. Retries that are counted here begin anew with another process.

All that a lane knows is touched by its consumer's thread alone, but for what looks ahead: worker
threads leave word by a callback, which also wakes that thread.
"""

from collections import deque
from dataclasses import dataclass, field
from functools import partial
from itertools import takewhile
from threading import Event, Lock
from time import monotonic
from typing import Any, Final

import pika.exceptions
from dramatiq.errors import ConnectionClosed, DecodeError
from dramatiq.message import Message
from dramatiq.middleware import SkipMessage

from actors import consumer
from actors.channels import close_in_order
from actors.consumer import Consumer, Delivered, delivery_count
from actors.controls import controls
from actors.envelope import first_cause

#: What waits in a worker for its turn: enough to look ahead, and quick to go back.
PREFETCH: Final = 64
#: Of a lane's actors: whatever else waits for a thread, there is one message of each lane at most,
#: and all behind it wait for that one.
PRIORITY: Final = -1


@dataclass(eq=False)
class Delivery:
    """What RabbitMQ delivered and has no answer to yet.

    parts: the messages that are left to be decided: the one that came, or, once that was split, one
    for each of its commands. error: why it can't be read, as `body` is then. due: when it may be
    tried, on the monotonic clock. is_decided: together with one before it. alone: it is to be
    decided in a transaction of its own.
    """

    tag: int
    redelivered: bool
    count: int
    parts: deque[Message[Any]] = field(default_factory=deque)
    body: bytes = b""
    error: BaseException | None = None
    due: float = 0.0
    is_decided: bool = False
    alone: bool = False


class Lane(Consumer):
    """Hands out one message at a time, and keeps the rest in order."""

    def __init__(self, broker: Any, queue_name: str, timeout: int) -> None:
        self._deliveries: deque[Delivery] = deque()
        # Of the deliveries: what looks ahead reads them from a worker's thread.
        self._guard = Lock()
        self._in_hand: Delivered | None = None
        self._passes_turn = False
        self._is_cancelled = False
        super().__init__(broker, queue_name, PREFETCH, timeout)

    def __next__(self) -> Any:
        with self._faults():
            self._go_on()
            return self._hand_out()

    def behind(self, message: Any) -> list[Delivery]:
        """What comes right behind a message and may be decided with it. Any thread may ask.

        Only what is of the same actor and came for the first time: what may have killed a process
        has its attempts noted by itself.
        """
        with self._guard:
            deliveries = list(self._deliveries)
        actor: str = message.actor_name
        if self._in_hand is not message or not _is_plain(deliveries[0], actor):
            return []
        return list(takewhile(lambda each: _is_plain(each, actor), deliveries[1:]))

    # --- connection ---

    def _go_on(self) -> None:
        """Let heartbeats, arrivals and the ends of attempts go on, for a moment."""
        is_paused = controls.is_paused(self.queue_name)
        is_stale = self._attachment.is_stale(delivered=False, held=self._deliveries)
        ends = is_paused or is_stale or self._passes_turn
        if ends and self._consuming and self._in_hand is None:
            self._begin_anew()
            self.attached = not is_paused
        if not (is_paused or self._consuming):
            self.channel.basic_consume(self.queue_name, self._arrive)
            self._consuming = True
            self._attach()
        self.connection.process_data_events(time_limit=self._wait_s(is_paused))
        if self._is_cancelled or not self.channel.is_open:
            raise ConnectionClosed("the broker cancelled the consumer or closed its channel")

    def _wait_s(self, is_paused: bool) -> float:
        """How long nothing may happen: an arrival or the end of an attempt ends the wait."""
        if is_paused:
            return min(self._idle_s, consumer.HOLD_POLL_S)
        if self._in_hand is not None or not self._deliveries:
            return self._idle_s
        wait_s = max(
            self._deliveries[0].due - monotonic(), controls.held_for_s(self.queue_name), 0.0
        )
        return min(self._idle_s, wait_s)

    def _consume(self) -> None:
        self._consuming = False
        self.channel.add_on_cancel_callback(self._note_cancel)

    def _note_cancel(self, _frame: Any) -> None:
        self._is_cancelled = True

    def _begin_anew(self) -> None:
        """Give everything back, in order, and the turn to whoever stands by."""
        old = self.channel
        with self._guard:
            self._deliveries.clear()
        self.known_tags.clear()
        self.held.clear()
        self._passes_turn = False
        self._open()
        close_in_order(old)

    def close(self) -> None:
        """Acknowledge what is decided; the rest goes back in order."""
        try:
            ends = Event()
            self.connection.add_callback_threadsafe(ends.set)
            while not ends.is_set():
                self.connection.sleep(0)
            close_in_order(self.channel)
            self.connection.close()
        except (
            AssertionError,
            pika.exceptions.AMQPConnectionError,
            pika.exceptions.AMQPChannelError,
        ) as error:
            raise ConnectionClosed(error) from None

    # --- messages, all of it in the consumer's thread ---

    def _arrive(self, channel: Any, method: Any, properties: Any, body: bytes) -> None:
        if channel is not self.channel:
            # It is on its way back.
            return
        delivery = Delivery(method.delivery_tag, method.redelivered, delivery_count(properties))
        self.known_tags.add(delivery.tag)
        try:
            message = self._decode(body)
        except DecodeError as error:
            delivery.error, delivery.body = first_cause(error), body
        else:
            # Dramatiq would let it wait aside.
            message.options.pop("eta", None)
            delivery.parts.append(message)
            self.held[delivery.tag] = message
        with self._guard:
            self._deliveries.append(delivery)

    def _hand_out(self) -> Delivered | None:
        """The message at the head, if it is time; one that can't be read is dealt with here."""
        if self._in_hand is not None or not self._deliveries or not self._is_time():
            return None
        head = self._deliveries[0]
        if head.error is None:
            self._in_hand = self._delivered(head)
            return self._in_hand
        if self._is_on_record(head.body, head.error, head.count):
            self._acknowledge(head)
        else:
            head.due = monotonic() + consumer.PUT_BACK_PAUSE_S
        return None

    def _is_time(self) -> bool:
        queue = self.queue_name
        return (
            self._deliveries[0].due <= monotonic()
            and not self._passes_turn
            and not controls.is_paused(queue)
            and not controls.held_for_s(queue)
        )

    def _delivered(self, delivery: Delivery) -> Delivered:
        message = Delivered(
            self, delivery.tag, delivery.parts[0], redelivered=delivery.redelivered,
            deliveries=delivery.count,
        )  # fmt: skip
        message.in_order = True
        return message

    def ack(self, message: Any) -> None:
        """An attempt is over: have it settled, or its message tried again in its place."""
        if message.consumer is not self:
            consumer.logger.info(
                "Not settling a message of a consumer that is gone; it comes again."
            )
            return
        try:
            self.connection.add_callback_threadsafe(partial(self._end_attempt, message))
        except pika.exceptions.AMQPConnectionError as error:
            raise ConnectionClosed(error) from None

    def _end_attempt(self, message: Delivered) -> None:
        if message is not self._in_hand:
            return
        self._in_hand = None
        head = self._deliveries[0]
        if message.singles:
            head.parts, head.alone = deque(message.singles), True
        elif message.put_back:
            head.due = monotonic() + (0.0 if message.at_once else consumer.PUT_BACK_PAUSE_S)
            self._passes_turn = message.passes_turn
        elif message.retry_after_s is not None:
            head.due = monotonic() + message.retry_after_s
        else:
            head.parts.popleft()
            if not head.parts:
                self._acknowledge(head)
                self._pass_over_decided()

    def _pass_over_decided(self) -> None:
        """Acknowledge what was decided together with the one before: for middleware it has run."""
        while self._deliveries and self._deliveries[0].is_decided:
            delivery = self._deliveries[0]
            message = self._delivered(delivery)
            try:
                self.broker.emit_before("process_message", message)
                self.broker.emit_after("process_message", message)
            except SkipMessage:
                # Paused just now; it is decided all the same.
                self.broker.emit_after("skip_message", message)
            self._acknowledge(delivery)

    def _acknowledge(self, head: Delivery) -> None:
        self.channel.basic_ack(head.tag)
        with self._guard:
            self._deliveries.popleft()
        self.known_tags.discard(head.tag)
        self.held.pop(head.tag, None)


def _is_plain(delivery: Delivery, actor: str) -> bool:
    return (
        delivery.error is None
        and not (delivery.redelivered or delivery.alone)
        and delivery.parts[0].actor_name == actor
    )
