"""Natural batching of transactions: while one commits, the next messages gather into one.

No timer and no size to tune. Idle, a message has its own transaction at once; busy, whoever gets
the lock next takes all the messages that wait, so the cost per command falls as load rises.
"""

from collections.abc import Callable, Sequence
from threading import Lock
from typing import Generic, TypeVar, cast

from models.database import is_transient

C = TypeVar("C")
R = TypeVar("R")


class _Ticket(Generic[C, R]):
    """The commands of one message, and what became of them."""

    __slots__ = ("commands", "done", "error", "result")

    def __init__(self, commands: Sequence[C]) -> None:
        self.commands = commands
        self.done = False
        self.error: BaseException | None = None
        self.result: R | None = None


Take = Callable[[], Sequence[C]]


class GroupCommit(Generic[C, R]):
    """Merges the commands of concurrent callers into calls of `apply`, one call at a time.

    apply: is given a function that takes the commands, in arrival order. Called again it takes
    those, and what has come since: who waits for something before it begins asks once more after
    that. It commits all or none of what it took; what it returns goes to every caller of the group.
    commands_max: how many it gets at most, unless one message alone has more.
    """

    def __init__(self, apply: Callable[[Take[C]], R], *, commands_max: int) -> None:
        self._apply = apply
        self._commands_max = commands_max
        self._turn = Lock()
        self._guard = Lock()
        self._waiting: list[_Ticket[C, R]] = []

    def submit(self, commands: Sequence[C]) -> R:
        """Apply commands; returns when they are committed, raises what `apply` raised for them."""
        ticket: _Ticket[C, R] = _Ticket(commands)
        with self._guard:
            self._waiting.append(ticket)
        while not ticket.done:
            with self._turn:
                if not ticket.done:
                    self._apply_group()
        if ticket.error is not None:
            raise ticket.error
        return cast(R, ticket.result)

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
            if len(group) > 1 and not is_transient(error):
                # One message's fault is not its neighbours': each gets a transaction of its own.
                for ticket in group:
                    self._apply_alone(ticket)
            else:
                _settle(group, error=error)
        else:
            _settle(group, result)

    def _apply_alone(self, ticket: _Ticket[C, R]) -> None:
        try:
            result = self._apply(lambda: ticket.commands)
        except BaseException as error:  # as above
            _settle([ticket], error=error)
        else:
            _settle([ticket], result)

    def _fill(self, group: list[_Ticket[C, R]]) -> None:
        """Move what waits into the group, as far as there is room."""
        with self._guard:
            room = self._commands_max - len(_commands(group))
            while self._waiting:
                room -= len(self._waiting[0].commands)
                if group and room < 0:
                    break
                group.append(self._waiting.pop(0))


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
