"""What a queue refuses, or does not confirm: it stays where it is and is tried again a while later.

Dramatiq takes a refusal for a lost connection: it connects anew, six times over, and starts the
consumer of the delay queue anew, which is given all that it held again; and so on for as long as
the queue is full.
"""

from collections.abc import Callable
from functools import partial
from time import monotonic
from typing import Any, Final

from dramatiq.common import current_millis, iter_queue, q_name
from dramatiq.errors import ConnectionClosed
from dramatiq.middleware import Middleware
from pika.exceptions import ChannelClosedByBroker, NackError, StreamLostError

from actors.access import RightMissing, explain, is_refused

#: How soon a queue that was full is tried again.
FULL_PAUSE_S: Final = 1.0


class QueueFull(ConnectionClosed):
    """A queue has refused a message. The connection is fine, but to wait helps here as there."""


class Publishing:
    """A channel to publish on, whose refusals are told apart from faults.

    After one the next message takes a fresh channel: forget. For RabbitMQ 3.10 refuses all on a
    channel that first published to a queue while that had no leader; see web/publisher.py.

    What is not confirmed within deadline_s ends its connection, with StreamLostError. pika waits
    for a confirm as long as heartbeats come, and a node that hung while it led the queue, and goes
    on, sends those and no confirm.
    """

    def __init__(self, channel: Any, deadline_s: float, forget: Callable[[], None]) -> None:
        self._channel = channel
        self._deadline_s = deadline_s
        self._forget = forget

    def __getattr__(self, name: str) -> Any:
        return getattr(self._channel, name)

    def basic_publish(self, exchange: str, routing_key: str, *args: Any, **kwargs: Any) -> None:
        # While it waits for a confirm, pika looks at its own timers only: heartbeat, blocked, this.
        connection = self._channel.connection._impl
        late = StreamLostError("no confirm by the deadline")
        timer = connection._adapter_call_later(
            self._deadline_s, partial(connection._terminate_stream, late)
        )
        try:
            self._channel.basic_publish(exchange, routing_key, *args, **kwargs)
        except NackError as error:
            self._forget()
            raise QueueFull(error) from error  # type: ignore[no-untyped-call]  # Dramatiq's
        except ChannelClosedByBroker as error:
            if not is_refused(error):
                raise
            self._forget()
            raise RightMissing(explain(error, "write")) from error
        finally:
            connection._adapter_remove_timeout(timer)


class MovesOn(Middleware):
    """Has the consumers of delay queues do it our way."""

    def after_consumer_thread_boot(self, broker: Any, thread: Any) -> None:
        thread.handle_delayed_messages = Due(broker, thread).move_on


class Due:
    """The due messages of one consumer's thread; called after each message and each idle moment."""

    def __init__(self, broker: Any, thread: Any) -> None:
        self._broker = broker
        self._thread = thread
        self._again_at = 0.0

    def move_on(self) -> None:
        """Move what is due, the earliest first, until a queue refuses."""
        if monotonic() < self._again_at:
            return
        # Dramatiq makes another one when the connection is lost.
        waiting = self._thread.delay_queue
        for item in iter_queue(waiting):
            going_on = item.priority <= current_millis() and self._moved(item.message)
            if not going_on:
                waiting.put(item)
            waiting.task_done()
            if not going_on:
                break

    def _moved(self, message: Any) -> bool:
        due = message.copy(queue_name=q_name(message.queue_name))
        del due.options["eta"]
        try:
            self._broker.enqueue(due)
        except QueueFull:
            self._again_at = monotonic() + FULL_PAUSE_S
            return False
        self._thread.post_process_message(message)
        return True
