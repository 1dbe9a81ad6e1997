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


class GroupCommit(Generic[C, R]):
    """Merges the commands of concurrent callers into calls of `apply`, one call at a time.

    apply: takes commands in arrival order and commits all or none of them; what it returns goes to
    every caller of the group.
    commands_max: how many it is given at most, unless one message alone has more.
    """

    def __init__(self, apply: Callable[[Sequence[C]], R], *, commands_max: int) -> None:
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
                    self._apply_group(self._take_group())
        if ticket.error is not None:
            raise ticket.error
        return cast(R, ticket.result)

    def _take_group(self) -> list[_Ticket[C, R]]:
        with self._guard:
            taken, room = 0, self._commands_max
            for ticket in self._waiting:
                room -= len(ticket.commands)
                if taken and room < 0:
                    break
                taken += 1
            group, self._waiting = self._waiting[:taken], self._waiting[taken:]
        return group

    def _apply_group(self, group: list[_Ticket[C, R]]) -> None:
        try:
            result = self._apply([command for ticket in group for command in ticket.commands])
        except BaseException as error:  # it is each caller's, who would hang without it
            if len(group) > 1 and not is_transient(error):
                # One message's fault is not its neighbours': each gets a transaction of its own.
                for ticket in group:
                    self._apply_group([ticket])
                return
            for ticket in group:
                ticket.error, ticket.done = error, True
        else:
            for ticket in group:
                ticket.result, ticket.done = result, True
