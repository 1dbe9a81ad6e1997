"""A message that kills its worker's process: found out, and taken out, while the others go on.

Stock RabbitMQ hands such a message (a segfault, no memory left) to one process after another, for
ever. To count deliveries would not do: what another thread runs, or has fetched ahead, at that
moment comes again just as often. So here an attempt at a message that came again is noted in
PostgreSQL (table `attempts`) before it begins, and taken back when it ended in whatever way:

1. A message whose earlier attempt never ended is a *suspect*: it gets its process to itself, so
   that nothing else dies with it or is blamed for it. That is a matter of milliseconds, so a kill
   by the platform, a restart or an outage hardly ever falls into it. It waits `ALONE_WAIT_S` at
   most for the others to end, then goes back to its queue: one of them may hang.
2. A batch that died `DEATHS_OF_A_BATCH` times while it ran alone is split into single commands,
   which is harmless to the innocent among them.
3. A single command that did so `DEATHS_MAX` times is a dead letter: error `WorkerDied`, outcome
   `failed`. An operator can put it back, as any other.

So a single one takes five processes along at most: the first time it came, the first time it came
again, and three alone. A message that comes for the first time costs two lock operations that
hardly ever wait; what kills a process before its actor runs (in a consumer's thread) is not found
out, nor what does so after its actor raised, while the failure is recorded: the attempt had ended.

As with limits, all this is around the actor's call and not in a hook, which can't stop anything. It
is inside the limits: what these send to wait has not begun.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import wraps
from threading import Condition
from typing import Any, Final

import peewee
from dramatiq.errors import RateLimitExceeded
from dramatiq.middleware import Middleware

from actors import commands
from actors.log_context import current_message
from models.database import is_transient
from models.queries import attempts

logger = logging.getLogger(__name__)

#: The option of a message that was given up and could not be recorded: it comes again by way of
#: the delay queue, and so as if for the first time.
DEADLY: Final = "deadly"

#: Attempts alone that never ended: so many, and a single command is given up.
DEATHS_MAX: Final = 3
#: As many, and a batch is split.
DEATHS_OF_A_BATCH: Final = 1
#: A message takes milliseconds, and one that waits for locks and statements some 15 s each. Who is
#: not done by then may never be, and while somebody waits to be alone nothing else begins.
ALONE_WAIT_S: Final = 30.0


class WorkerDied(Exception):
    """Whenever a message ran, its process died."""


class NotAlone(RateLimitExceeded):
    """A suspect has to wait: others run beside it that don't end. Dramatiq logs no error of it."""

    def __init__(self, wait_s: float) -> None:
        super().__init__(f"what runs beside it did not end in {wait_s:.0f} s")


class Crashes(Middleware):
    """Notes attempts at messages that came again; see above. One for each process."""

    def __init__(self) -> None:
        self._process = SharedOrAlone()
        # Ended, and not taken back yet, for the database was away.
        self._owed: set[str] = set()
        self._complained = False

    def before_declare_actor(self, _broker: Any, actor: Any) -> None:
        actor.fn = self.around(actor.fn)

    def around(self, run: Callable[..., Any]) -> Callable[..., Any]:
        """The actor's function, watched."""

        @wraps(run)
        def watched(*args: Any, **kwargs: Any) -> Any:
            message = current_message()
            if message is None:
                # Called directly, by no message.
                return run(*args, **kwargs)
            if message.redelivered or message.options.get(DEADLY):
                return self._again(message, lambda: run(*args, **kwargs))
            with self._process.shared():
                return run(*args, **kwargs)

        return watched

    def _again(self, message: Any, run: Callable[[], Any]) -> Any:
        id_ = message.message_id
        with self._process.shared():
            is_noted, deaths = self._note(attempts.begin, id_)
            if deaths is None:
                with self._noted(id_) if is_noted else nullcontext():
                    return run()
        if deaths >= _deaths_max(message):
            raise WorkerDied(
                f"{deaths} times this message ran with nothing beside it, and each time its worker "
                "process died before it was done: killed, crashed or out of memory."
            )
        logger.warning(
            "Message %s never ended when it ran before; it has this process to itself.", id_
        )
        with self._process.alone():
            is_noted, _ = self._note(attempts.begin_alone, id_)
            with self._noted(id_) if is_noted else nullcontext():
                return run()

    def _note(self, begin: Callable[[str], int | None], id_: str) -> tuple[bool, int | None]:
        """Whether an attempt is noted now, and what `begin` says of it.

        Raises where that fails and passes by itself. With anything else (no table, no right to it)
        the message has nothing to do, and runs unwatched.
        """
        try:
            # It may be this one, which would be a suspect.
            self.settle()
            deaths = begin(id_)
        except (peewee.DatabaseError, peewee.InterfaceError) as error:
            if is_transient(error):
                raise
            if not self._complained:
                # The database says what is wrong; a traceback would only say who asked.
                logger.error("What kills its worker is not found out: %s", error)  # noqa: TRY400
            self._complained = True
            return False, None
        self._complained = False
        return True, deaths

    @contextmanager
    def _noted(self, message_id: str) -> Iterator[None]:
        try:
            yield
        finally:
            self._owed.add(message_id)
            try:
                self._take_back()
            except (peewee.DatabaseError, peewee.InterfaceError) as error:
                # What became of the message is not changed by this.
                logger.warning("The end of an attempt is noted later: %s", error)

    def settle(self) -> None:
        """Forget what ended while the database was away, lest another process take it for a death.

        Raises peewee.DatabaseError or InterfaceError; what is left is for the next call.
        """
        if self._owed:
            self._take_back()

    def _take_back(self) -> None:
        ended = tuple(self._owed)
        attempts.end(ended)
        self._owed.difference_update(ended)


def _deaths_max(message: Any) -> int:
    try:
        batch = commands.split(message.kwargs["commands"])
    except (KeyError, ValueError, RecursionError):
        return DEATHS_MAX
    return DEATHS_OF_A_BATCH if len(batch) > 1 else DEATHS_MAX


class SharedOrAlone:
    """What many threads may enter together, or one alone; who waits to be alone goes first.

    Not while one is inside that has outlasted such a wait: then those who come later go in.
    """

    def __init__(self, wait_s: float = ALONE_WAIT_S) -> None:
        self._wait_s = wait_s
        self._changed = Condition()
        self._inside: set[object] = set()
        self._hung: set[object] = set()
        self._wanted_alone = 0
        self._taken = False

    @contextmanager
    def shared(self) -> Iterator[None]:
        me = object()
        with self._changed:
            while self._taken or (self._wanted_alone and not self._hung):
                self._changed.wait()
            self._inside.add(me)
        try:
            yield
        finally:
            with self._changed:
                self._inside.discard(me)
                self._hung.discard(me)
                if not self._inside:
                    self._changed.notify_all()

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Raises NotAlone where the others don't end in time."""
        with self._changed:
            self._take()
        try:
            yield
        finally:
            with self._changed:
                self._taken = False
                self._changed.notify_all()

    def _take(self) -> None:
        self._wanted_alone += 1
        try:
            if not self._changed.wait_for(self._is_free, self._wait_s):
                self._hung |= self._inside
                raise NotAlone(self._wait_s)
            self._taken = True
        finally:
            self._wanted_alone -= 1
            self._changed.notify_all()

    def _is_free(self) -> bool:
        return not (self._taken or self._inside)
