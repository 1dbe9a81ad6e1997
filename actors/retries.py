"""What becomes of a message that was not processed. Never: nothing.

| why | what happens |
|---|---|
| limited | waits where it is, with its queue, and the wait does not count |
| the database is away | waits where it is, longer each time |
| another fault that passes (broker away, deadlock, time-out) | retried until it passes |
| its month has no partition | the month is made, if that can be; it is retried until it passes |
| a suspect that can't run alone, for another hangs | goes back, uncounted |
| its process dies of it | a batch is split, a single command is a dead letter: actors/crashes.py |
| anything else, in a batch of several | split into single commands |
| anything else, in a single command | retried a few times, then a dead letter on record |

Dramatiq publishes a retry from a hook whose errors are swallowed, and then acknowledges. Here a
message whose retry could not be published, or whose failure not recorded, is put back.

Messages of a lane have to be decided in order: nothing of this takes one from its place. It waits
there, is split there, and nothing behind it begins: actors/lane.py.
"""

import logging
import time
import traceback
from collections.abc import Sequence
from typing import Any
from uuid import NAMESPACE_OID, uuid5

import peewee
import pika.exceptions
from dramatiq.common import compute_backoff, current_millis
from dramatiq.errors import BrokerConnectionError
from dramatiq.message import Message
from dramatiq.middleware import Retries as DramatiqRetries

from actors import commands, undecided, waiting_moves
from actors.controls import controls
from actors.crashes import DEADLY, NotAlone, WorkerDied
from actors.limits import Limited
from actors.put_backs import put_backs
from models.database import is_transient, lost_connection
from models.queries import partitions

logger = logging.getLogger(__name__)

#: A bug does not pass by itself: give up soon (some 15 s), an operator can put it back.
RETRIES_MAX = 5
BACKOFF_MIN_MS = 250
#: Half a minute at most, so that all is decided soon after a fault heals.
BACKOFF_MAX_MS = 30_000
#: While the database is away, a message stays in its queue and its worker pauses: moved to the
#: delay queue, the whole backlog would pile up there, past the bound of the queue that holds it.
OUTAGE_PAUSE_MAX_MS = 5_000
#: A failure whose record the database refuses is tried again after half the time since it began.
RECORD_MIN_MS = 1_000
#: A message that loses every connection for so long, while the database takes this process's
#: reports, may be what ends them. An outage begins the time anew: see actors/put_backs.py.
LOST_TOO_LONG_S = 60.0
#: The threads of a worker meet an outage together; that is one attempt.
OUTAGE_THREADS = 8


def passes_by_itself(error: BaseException) -> bool:
    """Whether an error comes from the surroundings and not from the message or our code."""
    return is_transient(error) or isinstance(
        error, (BrokerConnectionError, pika.exceptions.AMQPError)
    )


def _worth_a_retry(retries: int, error: BaseException) -> bool:
    if isinstance(error, WorkerDied):
        # It was tried often enough.
        return False
    return passes_by_itself(error) or retries < RETRIES_MAX


class Retries(DramatiqRetries):
    """Dramatiq's exponential retries, with every way out of them accounted for."""

    def __init__(self) -> None:
        super().__init__(
            min_backoff=BACKOFF_MIN_MS, max_backoff=BACKOFF_MAX_MS, retry_when=_worth_a_retry
        )
        self._outage_attempts = 0

    def after_process_message(
        self,
        broker: Any,
        message: Any,
        *,
        result: Any = None,
        exception: BaseException | None = None,
    ) -> None:
        if exception is None:
            self._outage_attempts = 0
            put_backs.forget(message.message_id)
            return
        if isinstance(exception, NotAlone):
            # It has waited long enough; another process may have room.
            logger.warning("Message %s goes back to its queue: %s.", message.message_id, exception)
            message.put_back = message.at_once = message.passes_turn = True
            _came_to_nothing(message, exception)
            return
        if lost_connection(exception):
            self._sit_out(message, exception)
            return
        try:
            self._settle(broker, message, result, exception)
        except Exception as error:  # whatever went wrong, the message must not be acknowledged
            logger.exception("Message %s goes back to its queue.", message.message_id)
            message.failed = False
            message.put_back = True
            _came_to_nothing(message, error)

    def _sit_out(self, message: Any, error: BaseException) -> None:
        """Pause this worker thread, with back-off over all of them, and put its message back."""
        self._outage_attempts = min(self._outage_attempts + 1, 100)
        _, pause_ms = compute_backoff(
            self._outage_attempts // OUTAGE_THREADS,
            factor=BACKOFF_MIN_MS,
            max_backoff=OUTAGE_PAUSE_MAX_MS,
        )
        time.sleep(pause_ms / 1000)
        message.put_back = True
        if put_backs.note(message, error).lasted_s >= LOST_TOO_LONG_S:
            undecided.note(message, error)

    def _settle(self, broker: Any, message: Any, result: Any, exception: BaseException) -> None:
        if isinstance(exception, Limited):
            # In the delay queue it would be past the bound of its own.
            controls.hold(message.queue_name, exception.delay_ms / 1000, exception.limits_version)
            message.put_back = message.at_once = True
            return
        message.options.setdefault("first_failed_at", current_millis())
        exception = _with_its_month(exception)
        passes = passes_by_itself(exception)
        singles = [] if passes else _singles(message)
        if singles:
            logger.warning(
                "Message %s failed and is split into %d.", message.message_id, len(singles)
            )
            _replace(broker, message, singles)
            put_backs.forget(message.message_id)
            return
        if passes:
            message.options["passing"] = True
        elif message.options.pop("passing", False):
            # What it went through before was no fault of its own.
            message.options["retries"] = 0
        if message.in_order:
            _retry_in_place(message, exception)
        else:
            super().after_process_message(broker, message, result=result, exception=exception)
        if not message.failed:
            _came_to_nothing(message, exception)
            return
        self._give_up(broker, message, exception)

    def _give_up(self, broker: Any, message: Any, exception: BaseException) -> None:
        try:
            trace = "".join(traceback.format_exception(exception))
            waiting_moves.record_failure(message, exception, trace)
        except Exception as error:  # whatever the database refuses, the message must not be lost
            if lost_connection(error):
                raise
            if isinstance(exception, WorkerDied):
                message.options[DEADLY] = True
            self._record_later(broker, message, error)
        else:
            message.recorded = True
            put_backs.forget(message.message_id)

    def _record_later(self, broker: Any, message: Any, error: BaseException) -> None:
        """Try it again, and then the record, by way of the delay queue.

        Put back, it would be the first of its queue: a few of its kind would keep every thread,
        and nothing behind them would have its turn. In a lane, nothing may.
        """
        logger.error("The failure of message %s can't be recorded: %s",
                     message.message_id, undecided.error_line(error))  # fmt: skip
        failed_ms = current_millis() - message.options["first_failed_at"]
        delay_ms = min(max(failed_ms // 2, RECORD_MIN_MS), BACKOFF_MAX_MS)
        if message.in_order:
            message.retry_after_s = delay_ms / 1000
        else:
            broker.enqueue(message, delay=delay_ms)
        message.failed = False
        _came_to_nothing(message, error)


def _retry_in_place(message: Any, exception: BaseException) -> None:
    """What Dramatiq's retries do, but that the message stays where it is."""
    retries = message.options.get("retries", 0)
    message.options["retries"] = retries + 1
    message.options["requeue_timestamp"] = current_millis()
    if not _worth_a_retry(retries, exception):
        message.fail()
        return
    _, delay_ms = compute_backoff(retries, factor=BACKOFF_MIN_MS, max_backoff=BACKOFF_MAX_MS)
    message.retry_after_s = delay_ms / 1000


def _replace(broker: Any, message: Any, singles: Sequence[Message[Any]]) -> None:
    if message.in_order:
        message.singles = singles
        return
    for single in singles:
        # By way of the delay queue: a full queue may refuse new orders, never these.
        broker.enqueue(single, delay=0)


def _with_its_month(exception: BaseException) -> BaseException:
    """The error, or one that passes by itself where it was for want of a partition.

    The month is made, unless somebody has to help (no right to create tables, a name in use).
    Raises where the database is away.
    """
    try:
        if not partitions.make_missing(exception):
            return exception
    except (peewee.DatabaseError, peewee.InterfaceError) as error:
        if lost_connection(error):
            raise
        said = undecided.error_line(error)
        return peewee.OperationalError(f"its month has no partition, and can't have one: {said}")
    return peewee.OperationalError("its month had no partition, but has one now")


def _came_to_nothing(message: Any, error: BaseException) -> None:
    """An attempt decided nothing, so that its message comes again."""
    put_backs.note(message, error)
    undecided.note(message, error)


def _singles(message: Any) -> list[Message[Any]]:
    """One message per command, for a batch of several that can be read.

    Their ids are the same whenever it is split: with one that kills its process, the batch of a
    lane comes again, and what is known of its commands must still hold.
    """
    try:
        batch = commands.split(message.kwargs["commands"])
    except (KeyError, ValueError, RecursionError):
        return []
    if len(batch) < 2:
        return []
    return [
        message.copy(
            message_id=str(uuid5(NAMESPACE_OID, f"{message.message_id}/{number}")),
            options={"retries": 0},
            kwargs={**message.kwargs, "commands": commands.join([bytes(command)])},
        )
        for number, command in enumerate(batch)
    ]
