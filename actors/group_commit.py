"""Natural batching of transactions: while one commits, the next messages gather into one.

No timer and no size to tune. Idle, a message has its own transaction at once; busy, whoever is next
takes all the messages that wait, so the cost per command falls as load rises. It takes those along
that this process has fetched and no thread has begun: how many threads there are is no limit. When
such a message's turn comes, it is done.
"""

from collections.abc import Callable, Iterable, Sequence
from threading import Condition
from typing import Any, Generic, TypeVar, cast

from models.database import is_transient

C = TypeVar("C")
R = TypeVar("R")


class _Ticket(Generic[C, R]):
    """The commands of one message, and what became of them.

    is_ahead: it was taken along, by a transaction of other messages.
    """

    __slots__ = ("commands", "done", "error", "is_ahead", "result")

    def __init__(self, commands: Sequence[C], *, is_ahead: bool = False) -> None:
        self.commands = commands
        self.is_ahead = is_ahead
        self.done = False
        self.error: BaseException | None = None
        self.result: R | None = None

    @property
    def has_failed_ahead(self) -> bool:
        """Whether it is yet to be tried for its own sake: what failed may have been the others."""
        return self.is_ahead and self.error is not None


Take = Callable[[], Sequence[C]]


class GroupCommit(Generic[C, R]):
    """Merges the commands of concurrent callers into calls of `apply`, one call at a time.

    apply: is given a function that takes the commands, in arrival order. Called again it takes
    those, and what has come since: who waits for something before it begins asks once more after
    that. It commits all or none of what it took; what it returns goes to every caller of the group.
    commands_max: how many it gets at most, unless one message alone has more.
    fetched: the messages that may be taken along, oldest first. Their attribute `ticket` is ours.
    read: the commands of one. One that can't be read (LookupError, ValueError, RecursionError) is
    left to its own turn.
    """

    def __init__(
        self,
        apply: Callable[[Take[C]], R],
        *,
        commands_max: int,
        fetched: Callable[[], Iterable[Any]] = tuple,
        read: Callable[[Any], Sequence[C]] = lambda message: message,
    ) -> None:
        self._apply = apply
        self._commands_max = commands_max
        self._fetched = fetched
        self._read = read
        self._changed = Condition()
        self._is_busy = False
        self._waiting: list[_Ticket[C, R]] = []

    def submit(self, commands: Sequence[C], message: Any = None) -> R:
        """Apply commands; returns when they are committed, raises what `apply` raised for them.

        message: what they came in, where that may have been taken along.
        """
        ticket = self._ticket(commands, message)
        self._wait(ticket)
        if ticket.has_failed_ahead:
            ticket = self._ticket(commands, message)
            self._wait(ticket)
        if ticket.error is not None:
            raise ticket.error
        return cast(R, ticket.result)

    def _ticket(self, commands: Sequence[C], message: Any) -> _Ticket[C, R]:
        with self._changed:
            known: _Ticket[C, R] | None = getattr(message, "ticket", None)
            if known is not None and not known.has_failed_ahead:
                return known
            ticket: _Ticket[C, R] = _Ticket(commands)
            if message is not None:
                message.ticket = ticket
            self._waiting.append(ticket)
        return ticket

    def _wait(self, ticket: _Ticket[C, R]) -> None:
        """Until it is done: by others, or by this thread, for all that wait."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: ticket.done or not self._is_busy)
                if ticket.done:
                    return
                self._is_busy = True
            try:
                self._apply_group()
            finally:
                with self._changed:
                    self._is_busy = False
                    self._changed.notify_all()

    def _apply_group(self) -> None:
        group: list[_Ticket[C, R]] = []
        # Whatever is raised has somebody to reach, even before `apply` takes any.
        self._fill(group)

        def take() -> Sequence[C]:
            self._fill(group)
            return _commands(group)

        try:
            result = self._apply(take)
        except BaseException as error:  # it is each caller's, who would hang without it
            self._fail(group, error)
        else:
            _settle(group, result)

    def _fail(self, group: Sequence[_Ticket[C, R]], error: BaseException) -> None:
        own = [ticket for ticket in group if not ticket.is_ahead]
        _settle([ticket for ticket in group if ticket.is_ahead], error=error)
        if len(group) == 1 or is_transient(error):
            _settle(own, error=error)
            return
        # One message's fault is not its neighbours': each gets a transaction of its own.
        for ticket in own:
            self._apply_alone(ticket)

    def _apply_alone(self, ticket: _Ticket[C, R]) -> None:
        try:
            result = self._apply(lambda: ticket.commands)
        except BaseException as error:  # as above
            _settle([ticket], error=error)
        else:
            _settle([ticket], result)

    def _fill(self, group: list[_Ticket[C, R]]) -> None:
        """Move what waits into the group, then what was fetched, as far as there is room."""
        room = self._commands_max - len(_commands(group))
        with self._changed:
            while self._waiting:
                room -= len(self._waiting[0].commands)
                if group and room < 0:
                    return
                group.append(self._waiting.pop(0))
        for message in self._fetched():
            if getattr(message, "ticket", None) is not None:
                continue
            try:
                commands = self._read(message)
            except (LookupError, ValueError, RecursionError):
                continue
            room -= len(commands)
            if room < 0:
                return
            self._take_along(group, message, commands)

    def _take_along(self, group: list[_Ticket[C, R]], message: Any, commands: Sequence[C]) -> None:
        with self._changed:
            # Its own thread may have begun meanwhile.
            if getattr(message, "ticket", None) is None:
                message.ticket = _Ticket(commands, is_ahead=True)
                group.append(message.ticket)


def all_at_once(apply: Callable[[Sequence[C]], R]) -> Callable[[Take[C]], R]:
    """For an `apply` that has nothing to wait for before it begins."""

    def taking(take: Take[C]) -> R:
        return apply(take())

    return taking


def _commands(group: Sequence[_Ticket[C, R]]) -> list[C]:
    return [command for ticket in group for command in ticket.commands]


def _settle(
    group: Sequence[_Ticket[C, R]], result: R | None = None, error: BaseException | None = None
) -> None:
    for ticket in group:
        ticket.result, ticket.error, ticket.done = result, error, True
