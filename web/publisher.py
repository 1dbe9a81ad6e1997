"""Commands in, one confirmed message out, within a deadline; says no when the broker can't take it.

The connection lives on the event loop: heartbeats, blocks and confirms are seen as they come, and
a deadline is a plain time-out. It is made again, with back-off, whenever it is lost.
"""

import asyncio
import logging
import random
import re
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from time import monotonic, perf_counter
from typing import Any

import pika
import pika.exceptions
from dramatiq.message import Message, generate_unique_id
from pika.adapters.asyncio_connection import AsyncioConnection

from actors import access
from actors.access import RightMissing
from actors.broker import declarations
from actors.commands import (
    ENVELOPE_BYTES_MAX,
    MESSAGE_BYTES_MIN,
    MESSAGE_COMMANDS_MAX,
    QUEUES,
    Route,
    join,
)
from actors.mismatch import QueueMismatch, explain, is_mismatch
from actors.nodes import connection_parameters, in_any_order
from config import Settings
from web.metrics import figures

logger = logging.getLogger(__name__)

RECONNECT_MIN_S = 0.1
RECONNECT_MAX_S = 2.0
#: A connection that is not ready by then is given up, and another one tried.
OPEN_DEADLINE_S = 10.0

PERSISTENT = 2
#: No queue has this name.
NOBODY = "holdfast.nobody"


#: What RabbitMQ says of a message that is too large, and how large one may be.
LARGER = "is larger than"
LIMIT = re.compile(r"larger than [a-z ]*(\d+)")
#: Who does not say by then how long a queue is has other things to do.
LOOK_DEADLINE_S = 2.0
#: A queue that refuses with less than this share of what it may hold is not full.
ROOMY_BELOW = 0.5
#: How often a queue that refuses is looked at.
DOUBT_EVERY_S = 1.0
#: A queue that differs stays so until someone acts.
MISMATCH_PAUSE_S = 5.0


class CannotPublishError(Exception):
    """RabbitMQ can't take a message now; its message says why, for people."""


class QueueRefusesError(CannotPublishError):
    """A queue did not take a message, most often because it is full."""


class MessageTooLargeError(CannotPublishError):
    """RabbitMQ closed the channel, for a message on it was larger than it takes."""


class LimitTooLowError(CannotPublishError):
    """RabbitMQ takes no message as large as an order may be; someone has to act."""

    def __init__(self) -> None:
        super().__init__(
            f"RabbitMQ's max_message_size is less than the {MESSAGE_BYTES_MIN} bytes that an order "
            "may take. Nothing is accepted until it is raised (docs/deploy/rabbitmq.md)"
        )


class CommandTooLargeError(CannotPublishError):
    """One command alone is more than RabbitMQ takes: it never will be published."""


class Publisher:
    """Publishes batches of commands. One per process, on its event loop."""

    def __init__(self, given: Settings) -> None:
        self._settings = given
        self._connection: AsyncioConnection | None = None
        self._channel: Any = None
        # To look at queues: what goes wrong there closes its own channel only.
        self._looking: Any = None
        self._ready = False
        self._blocked = False
        self._closing = False
        # What only people can mend.
        self._mismatch: QueueMismatch | RightMissing | LimitTooLowError | None = None
        # RabbitMQ's own limit may be lower; it says so once it was passed.
        self._bytes_max = given.message_bytes_max
        self._lost = asyncio.Event()
        self._opened = asyncio.Event()
        self._tag = 0
        self._unconfirmed: dict[int, asyncio.Future[None]] = {}
        self._returned: set[int] = set()
        self._keeper: asyncio.Task[None] | None = None
        self._doubting: asyncio.Task[None] | None = None
        self._doubted_at = -DOUBT_EVERY_S

    @property
    def ready(self) -> bool:
        """Whether a message would be taken now."""
        return self._ready and not self._blocked

    def start(self) -> None:
        """Begin to connect; returns at once."""
        self._keeper = asyncio.create_task(self._keep_connected())

    async def close(self) -> None:
        """Close the connection; what is unconfirmed fails."""
        self._closing = True
        if self._keeper is not None:
            self._keeper.cancel()
        self._drop("the front door is closing")

    async def publish_batch(
        self, route: Route, items: Sequence[Sequence[bytes]]
    ) -> list[CommandTooLargeError | None]:
        """Publish encoded commands; each item, one caller's, stays in one message if it fits.

        Returns once all are confirmed, but for items that RabbitMQ never takes: those have an
        error. Raises CannotPublishError; some may be published then.
        """
        try:
            return await self._publish_all(route, items)
        except MessageTooLargeError:
            # What was on the channel with it, too. It is known by now how large they may be; what
            # is published twice takes effect once.
            await self._until_ready()
            return await self._publish_all(route, items)

    async def _publish_all(
        self, route: Route, items: Sequence[Sequence[bytes]]
    ) -> list[CommandTooLargeError | None]:
        messages, errors = _pack(items, self._bytes_max - ENVELOPE_BYTES_MAX)
        await asyncio.gather(*(self._publish(route, message) for message in messages))
        return (
            [errors.get(number) for number in range(len(items))] if errors else [None] * len(items)
        )

    async def _until_ready(self) -> None:
        try:
            async with asyncio.timeout(self._settings.publish_deadline_s):
                await self._opened.wait()
        except TimeoutError:
            raise CannotPublishError("there is no connection to RabbitMQ") from None

    async def length(self, queue: str) -> int | None:
        """Messages that wait in a queue; None where RabbitMQ does not say so in time."""
        connection = self._connection
        if not self.ready or connection is None:
            return None
        try:
            async with asyncio.timeout(LOOK_DEADLINE_S):
                return await self._look(connection, queue)
        except (TimeoutError, pika.exceptions.AMQPError):
            looking, self._looking = self._looking, None
            if looking is not None:
                # It may be closed, or its connection.
                with suppress(pika.exceptions.AMQPError):
                    looking.close()
            return None

    async def _look(self, connection: AsyncioConnection, queue: str) -> int:
        def begin(done: Any) -> None:
            # Known before it is open, so that it is closed where that takes too long.
            self._looking = connection.channel(on_open_callback=done)

        if self._looking is None or not self._looking.is_open:
            await _call(begin)
        looking = self._looking
        if looking is None:
            raise pika.exceptions.ConnectionClosed(0, "the connection was lost meanwhile")
        arguments = declarations(queue, self._settings.queue_length_max)[queue]
        found = await _call(
            lambda done: looking.queue_declare(
                queue, durable=True, arguments=arguments, callback=done
            )
        )
        return int(found.method.message_count)

    async def _publish(self, route: Route, commands: Sequence[bytes]) -> None:
        message: Message[None] = Message(
            queue_name=route.queue,
            actor_name=route.actor,
            args=(),
            kwargs={"commands": join(commands)},
            options={},
            message_id=generate_unique_id(),
        )
        began = perf_counter()
        try:
            async with asyncio.timeout(self._settings.publish_deadline_s):
                await self._confirmed(route.queue, message.encode())
        except CannotPublishError:
            figures.publish_failures += 1
            raise
        except TimeoutError:
            figures.publish_failures += 1
            # Silence is a broken connection until proven otherwise: begin with a fresh one.
            self._drop("no confirm by the deadline")
            raise CannotPublishError("RabbitMQ did not confirm in time") from None
        figures.publish(route.kind, len(commands), perf_counter() - began)

    async def _confirmed(self, queue: str, body: bytes) -> None:
        if self._blocked:
            raise CannotPublishError("RabbitMQ is short of memory or disk and blocks publishers")
        if not self._ready:
            raise CannotPublishError("there is no connection to RabbitMQ")
        try:
            await self._send(queue, body, mandatory=True)
        except QueueRefusesError:
            if monotonic() - self._doubted_at >= DOUBT_EVERY_S:
                self._doubted_at = monotonic()
                self._doubting = asyncio.create_task(self._begin_anew_unless_full(queue))
            raise

    async def _begin_anew_unless_full(self, queue: str) -> None:
        """A channel that first published to a queue while that had no leader is refused all.

        RabbitMQ 3.10 goes on to ask the node that led the queue before, until that is back
        (rabbit_fifo_client:enqueue). A channel made now knows who leads it now.
        """
        connection = self._connection
        length = await self.length(queue)
        roomy = length is not None and length < ROOMY_BELOW * self._settings.queue_length_max
        if roomy and connection is self._connection:
            self._drop(f"{queue} refuses, and has {length} messages only")

    async def _send(self, queue: str, body: bytes, *, mandatory: bool) -> None:
        if self._channel is None:
            raise CannotPublishError("there is no connection to RabbitMQ")
        self._tag += 1
        tag = self._tag
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._unconfirmed[tag] = future
        try:
            self._channel.basic_publish(
                exchange="",
                routing_key=queue,
                body=body,
                properties=pika.BasicProperties(delivery_mode=PERSISTENT, message_id=str(tag)),
                mandatory=mandatory,
            )
            await future
        except pika.exceptions.AMQPError as error:
            raise CannotPublishError("the connection to RabbitMQ is closed") from error
        finally:
            self._unconfirmed.pop(tag, None)

    async def _keep_connected(self) -> None:
        pause_s = RECONNECT_MIN_S
        while not self._closing:
            self._lost.clear()
            try:
                async with asyncio.timeout(OPEN_DEADLINE_S):
                    await self._open_unless_lost()
            except (QueueMismatch, RightMissing, LimitTooLowError) as error:
                logger.error("%s", error)  # noqa: TRY400 - it says all there is to say
                self._drop("someone has to act")
                await asyncio.sleep(MISMATCH_PAUSE_S)
                continue
            except Exception as error:  # whatever it is, this loop must not end
                # A size just learned has been said.
                if not isinstance(error, MessageTooLargeError):
                    logger.warning("RabbitMQ can't be reached: %s", error or type(error).__name__)
                self._drop("it did not open")
                await asyncio.sleep(pause_s * random.uniform(0.5, 1.5))
                pause_s = min(pause_s * 2, RECONNECT_MAX_S)
                continue
            pause_s = RECONNECT_MIN_S
            await self._lost.wait()
            await asyncio.sleep(RECONNECT_MIN_S)

    async def _open_unless_lost(self) -> None:
        """As `_open`, but for a connection that is lost meanwhile nobody waits.

        Raises what only people can mend, where that is why it was lost.
        """
        self._mismatch = None
        opening, lost = asyncio.create_task(self._open()), asyncio.create_task(self._lost.wait())
        try:
            await asyncio.wait([opening, lost], return_when=asyncio.FIRST_COMPLETED)
            again = CannotPublishError("the connection was lost again")
            error = opening.exception() if opening.done() else again
            if error is not None:
                raise self._mismatch or error
        finally:
            opening.cancel()
            lost.cancel()

    async def _open(self) -> None:
        loop = asyncio.get_running_loop()
        opened: asyncio.Future[AsyncioConnection] = loop.create_future()

        def on_done(outcome: Any) -> None:
            if opened.done():
                if isinstance(outcome, AsyncioConnection):
                    outcome.close()
            elif isinstance(outcome, BaseException):
                opened.set_exception(CannotPublishError(repr(outcome)))
            else:
                opened.set_result(outcome)

        parameters = in_any_order(connection_parameters(self._settings))
        AsyncioConnection.create_connection(parameters, on_done, custom_ioloop=loop)
        connection = self._connection = await opened
        connection.add_on_close_callback(self._on_connection_closed)
        connection.add_on_connection_blocked_callback(partial(self._on_blocked, True))
        connection.add_on_connection_unblocked_callback(partial(self._on_blocked, False))
        channel = self._channel = await _call(
            lambda done: connection.channel(on_open_callback=done)
        )
        channel.add_on_close_callback(self._on_channel_closed)
        channel.add_on_return_callback(self._on_returned)
        for queue in QUEUES:
            await _declare(channel, queue, self._settings.queue_length_max)
        self._tag = 0
        await _call(
            lambda done: channel.confirm_delivery(
                ack_nack_callback=partial(self._on_confirm, channel), callback=done
            )
        )
        # RabbitMQ tells a connection that it is blocked once that publishes, and not before: only
        # a confirm, here of a message to nobody, shows that it takes any. (One without a body would
        # be confirmed all the same.) It is as large as any, to learn whether RabbitMQ takes that.
        await self._send(NOBODY, bytes(self._bytes_max), mandatory=False)
        self._blocked = False
        self._ready = True
        self._opened.set()
        node = connection.params
        logger.info("Connected to RabbitMQ at %s:%s.", node.host, node.port)

    # A connection that was given up may still speak while it closes, with numbers of its own.

    def _on_confirm(self, channel: Any, frame: Any) -> None:
        if channel is not self._channel:
            return
        method = frame.method
        acked = isinstance(method, pika.spec.Basic.Ack)
        tags = (
            [tag for tag in self._unconfirmed if tag <= method.delivery_tag]
            if method.multiple
            else [method.delivery_tag]
        )
        for tag in tags:
            future = self._unconfirmed.get(tag)
            if future is None or future.done():
                continue
            if tag in self._returned:
                self._returned.discard(tag)
                future.set_exception(CannotPublishError("the queue is gone; it is made again"))
                self._drop("a queue is gone")
            elif acked:
                future.set_result(None)
            else:
                future.set_exception(QueueRefusesError("the queue is full"))

    def _on_returned(self, channel: Any, _method: Any, properties: Any, _body: bytes) -> None:
        if channel is self._channel:
            self._returned.add(int(properties.message_id))

    def _on_blocked(self, blocked: bool, connection: Any, _frame: Any) -> None:
        if connection is self._connection:
            self._blocked = blocked
            logger.warning("RabbitMQ %s publishers.", "blocks" if blocked else "takes")

    def _on_channel_closed(self, channel: Any, reason: Any) -> None:
        if channel is not self._channel:
            return
        if LARGER in str(reason):
            self._learn_size(str(reason))
            self._drop(str(reason), MessageTooLargeError("RabbitMQ accepts only smaller messages"))
            return
        if is_mismatch(reason):
            self._mismatch = QueueMismatch(explain(reason))
        if access.is_refused(reason):
            self._mismatch = RightMissing(access.explain(reason, "configure or read"))
        self._drop(str(reason))

    def _learn_size(self, reason: str) -> None:
        """How large a message RabbitMQ takes; where it does not say so, half as large as tried.

        Too low a limit is not kept to: the next connection asks anew, for it has to be raised.
        """
        said = LIMIT.search(reason)
        known = int(said[1]) if said else self._bytes_max // 2
        if known < MESSAGE_BYTES_MIN:
            self._mismatch = LimitTooLowError()
            return
        self._bytes_max = min(known, self._bytes_max)
        logger.warning(
            "RabbitMQ accepts messages of at most %d bytes (its max_message_size); ours will fit. "
            "Workers must be told: set MESSAGE_BYTES_MAX.", self._bytes_max,
        )  # fmt: skip

    def _on_connection_closed(self, connection: Any, reason: Any) -> None:
        if connection is self._connection:
            self._drop(str(reason))

    def _drop(self, why: str, error: CannotPublishError | None = None) -> None:
        """Forget the connection and fail what waits on it, with the error."""
        connection, self._connection = self._connection, None
        if connection is not None and not self._closing:
            logger.warning("Lost RabbitMQ: %s", why)
        self._ready, self._channel, self._looking = False, None, None
        self._opened.clear()
        waiting, self._unconfirmed = self._unconfirmed, {}
        self._returned.clear()
        for future in waiting.values():
            if not future.done():
                future.set_exception(
                    error or CannotPublishError("the connection to RabbitMQ was lost")
                )
        if connection is not None and not (connection.is_closed or connection.is_closing):
            connection.close()
        self._lost.set()


async def _declare(channel: Any, queue: str, length_max: int) -> None:
    """Declare the queues a message needs, so that publishing waits for no worker."""
    for name, arguments in declarations(queue, length_max).items():
        await _call(
            lambda done, name=name, arguments=arguments: channel.queue_declare(
                name, durable=True, arguments=arguments, callback=done
            )
        )


async def _call(start: Any) -> Any:
    """Await one of pika's callbacks; gives up with the caller's time-out."""
    done: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    def resolve(answer: Any) -> None:
        if not done.done():
            done.set_result(answer)

    start(resolve)
    return await done


def _pack(
    items: Sequence[Sequence[bytes]], room: int
) -> tuple[list[list[bytes]], dict[int, CommandTooLargeError]]:
    """Items packed into few messages, within the limits of one; room: bytes of its commands.

    None is torn apart but what is too large for a message of its own, and that goes on in the next
    one. Of items with a command that is too large alone, by their numbers, the errors instead.
    """
    messages: list[list[bytes]] = []
    errors: dict[int, CommandTooLargeError] = {}
    batch: list[bytes] = []
    # Nothing fits behind the last message, for there is none yet.
    used = room
    for number, item in enumerate(items):
        # With the comma behind each.
        size = sum(map(len, item)) + len(item)
        if size > room and (largest := max(map(len, item)) + 1) > room:
            errors[number] = CommandTooLargeError(
                f"The encoded command is {largest} bytes; RabbitMQ accepts at most {room}"
            )
            continue
        parts = ((item, size),) if size <= room else [([each], len(each) + 1) for each in item]
        for part, part_size in parts:
            if used + part_size > room or len(batch) + len(part) > MESSAGE_COMMANDS_MAX:
                batch, used = [], 0
                messages.append(batch)
            batch += part
            used += part_size
    return messages, errors
