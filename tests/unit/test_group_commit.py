"""Natural batching of transactions: threads that come together share one."""

from collections.abc import Callable, Sequence
from functools import partial
from threading import Event, Thread
from typing import Any

import psycopg2.errors
import pytest

from actors.group_commit import GroupCommit, Take, all_at_once
from tests.conftest import eventually


class Transactions:
    """A stand-in for the database: counts the transactions, and holds the first one open."""

    def __init__(self, apply: Callable[[Sequence[int]], Any] = sum) -> None:
        self.groups: list[list[int]] = []
        self.first_may_commit = Event()
        self._apply = apply

    def __call__(self, commands: Sequence[int]) -> Any:
        self.groups.append(list(commands))
        if len(self.groups) == 1:
            assert self.first_may_commit.wait(60)
        return self._apply(commands)


class Callers:
    """Threads that each submit one message's commands, and what came of it."""

    def __init__(self, grouping: GroupCommit[int, Any], transactions: Transactions) -> None:
        self._grouping = grouping
        self._transactions = transactions
        self._threads: list[Thread] = []
        self.outcomes: dict[tuple[int, ...], object] = {}

    def submit(self, *commands: int) -> None:
        """Submit from a thread of its own; returns when the commands wait (or are applied)."""

        def run() -> None:
            try:
                self.outcomes[commands] = self._grouping.submit(commands)
            except Exception as error:
                self.outcomes[commands] = error

        before = len(self._grouping._waiting)
        self._threads.append(Thread(target=run))
        self._threads[-1].start()
        first = len(self._threads) == 1
        eventually(
            lambda: self._transactions.groups if first else len(self._grouping._waiting) > before
        )

    def finish(self) -> None:
        self._transactions.first_may_commit.set()
        for thread in self._threads:
            thread.join(60)
            assert not thread.is_alive()


def given(transactions: Transactions, commands_max: int = 100) -> Callers:
    grouping = GroupCommit(all_at_once(transactions), commands_max=commands_max)
    return Callers(grouping, transactions)


def test_a_message_alone_has_a_transaction_of_its_own_at_once() -> None:
    transactions = Transactions()
    transactions.first_may_commit.set()

    assert GroupCommit(all_at_once(transactions), commands_max=10).submit([1, 2, 3]) == 6
    assert transactions.groups == [[1, 2, 3]]


def test_what_comes_while_one_commits_shares_the_next_transaction_in_order_of_arrival() -> None:
    transactions = Transactions()
    callers = given(transactions)
    callers.submit(1)
    callers.submit(2, 3)
    callers.submit(4)
    callers.submit(5)

    callers.finish()

    assert transactions.groups == [[1], [2, 3, 4, 5]]
    assert callers.outcomes == {(1,): 1, (2, 3): 14, (4,): 14, (5,): 14}


def test_one_message_that_fails_does_not_fail_its_neighbours() -> None:
    def apply(commands: Sequence[int]) -> int:
        if 13 in commands:
            raise ValueError("unlucky")
        return sum(commands)

    transactions = Transactions(apply)
    callers = given(transactions)
    callers.submit(1)
    callers.submit(2)
    callers.submit(13, 14)
    callers.submit(3)

    callers.finish()

    assert transactions.groups == [[1], [2, 13, 14, 3], [2], [13, 14], [3]]
    assert callers.outcomes[2,] == 2
    assert callers.outcomes[3,] == 3
    assert isinstance(callers.outcomes[13, 14], ValueError)


def test_a_fault_that_passes_reaches_all_and_is_not_tried_for_each() -> None:
    def apply(commands: Sequence[int]) -> int:
        if 2 in commands:
            raise psycopg2.OperationalError("the server closed the connection")
        return sum(commands)

    transactions = Transactions(apply)
    callers = given(transactions)
    callers.submit(1)
    callers.submit(2)
    callers.submit(3)

    callers.finish()

    assert transactions.groups == [[1], [2, 3]]
    assert isinstance(callers.outcomes[2,], psycopg2.OperationalError)
    assert isinstance(callers.outcomes[3,], psycopg2.OperationalError)


def test_a_transaction_takes_no_more_commands_than_it_may() -> None:
    transactions = Transactions()
    callers = given(transactions, commands_max=3)
    callers.submit(1)
    callers.submit(2, 3)
    callers.submit(4, 5)
    callers.submit(6)
    callers.submit(7, 8, 9, 10)

    callers.finish()

    assert transactions.groups == [[1], [2, 3], [4, 5, 6], [7, 8, 9, 10]]


def test_a_caller_after_a_failure_is_served() -> None:
    def apply(commands: Sequence[int]) -> int:
        if commands == [1]:
            raise KeyboardInterrupt
        return sum(commands)

    grouping = GroupCommit(all_at_once(apply), commands_max=10)

    with pytest.raises(KeyboardInterrupt):
        grouping.submit([1])
    assert grouping.submit([2]) == 2


class Waits:
    """An `apply` that waits before it takes, as for a slot; and may fail once it has taken."""

    def __init__(self, fails_with: int | None = None) -> None:
        self.began = Event()
        self.may_begin = Event()
        self.groups: list[list[int]] = []
        self._fails_with = fails_with

    def __call__(self, take: Take[int]) -> int:
        first = list(take())
        self.began.set()
        assert self.may_begin.wait(60)
        commands = list(take())
        assert commands[: len(first)] == first
        self.groups.append(commands)
        if self._fails_with in commands:
            raise ValueError("unlucky")
        return sum(commands)


def submitted(grouping: GroupCommit[int, int], waits: Waits, *messages: Sequence[int]) -> list[Any]:
    """Submit messages while the first waits to begin; returns what came of each."""
    outcomes: list[Any] = [None] * len(messages)

    def submit(number: int) -> None:
        try:
            outcomes[number] = grouping.submit(messages[number])
        except ValueError as error:
            outcomes[number] = error

    threads = [Thread(target=submit, args=(number,)) for number in range(len(messages))]
    for number, thread in enumerate(threads):
        thread.start()
        if number == 0:
            assert waits.began.wait(60)
        else:
            eventually(partial(_is_waiting, grouping, number))
    waits.may_begin.set()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    return outcomes


def _is_waiting(grouping: GroupCommit[int, int], number: int) -> bool:
    return len(grouping._waiting) == number


def test_what_comes_while_a_transaction_waits_to_begin_is_taken_along() -> None:
    waits = Waits()
    grouping = GroupCommit(waits, commands_max=100)

    assert submitted(grouping, waits, [1], [2, 3], [4]) == [10, 10, 10]
    assert waits.groups == [[1, 2, 3, 4]]


def test_what_comes_meanwhile_is_taken_only_as_far_as_there_is_room() -> None:
    waits = Waits()
    grouping = GroupCommit(waits, commands_max=4)

    assert submitted(grouping, waits, [1], [2, 3], [4, 5]) == [6, 6, 9]
    assert waits.groups == [[1, 2, 3], [4, 5]]


def test_what_was_taken_along_is_not_failed_by_another_message() -> None:
    waits = Waits(fails_with=1)
    grouping = GroupCommit(waits, commands_max=100)

    failed, *others = submitted(grouping, waits, [1], [2, 3], [4])
    assert isinstance(failed, ValueError)
    assert others == [5, 4]
    assert waits.groups == [[1, 2, 3, 4], [1], [2, 3], [4]]


def test_an_apply_that_fails_before_it_takes_anything_fails_the_message() -> None:
    def apply(_take: Take[int]) -> int:
        raise psycopg2.OperationalError("the server closed the connection")

    with pytest.raises(psycopg2.OperationalError):
        GroupCommit(apply, commands_max=10).submit([1])


class Fetched:
    """A message that waits for a thread."""

    def __init__(self, *commands: int) -> None:
        self.commands = commands
        self.ticket: Any = None


def read(message: Fetched) -> Sequence[int]:
    if not message.commands:
        raise ValueError("it can't be read")
    return message.commands


def with_fetched(
    apply: Callable[[Take[int]], int], *fetched: Fetched, commands_max: int = 100
) -> GroupCommit[int, int]:
    return GroupCommit(apply, commands_max=commands_max, fetched=lambda: fetched, read=read)


def test_what_was_fetched_is_taken_along_and_is_done_when_its_turn_comes() -> None:
    transactions = Transactions()
    transactions.first_may_commit.set()
    first, second, third = Fetched(1), Fetched(2, 3), Fetched(4)
    grouping = with_fetched(all_at_once(transactions), first, second, third)

    assert grouping.submit([1], first) == 10
    assert grouping.submit([2, 3], second) == 10
    assert grouping.submit([4], third) == 10
    assert transactions.groups == [[1, 2, 3, 4]]


def test_what_was_fetched_is_taken_along_in_order_while_there_is_room() -> None:
    transactions = Transactions()
    transactions.first_may_commit.set()
    first, second, third = Fetched(1), Fetched(2, 3), Fetched(4)
    grouping = with_fetched(all_at_once(transactions), first, second, third, commands_max=2)

    assert grouping.submit([1], first) == 1
    assert grouping.submit([2, 3], second) == 5
    assert grouping.submit([4], third) == 4
    assert transactions.groups == [[1], [2, 3], [4]]


def test_what_can_not_be_read_is_left_to_its_own_turn() -> None:
    transactions = Transactions()
    transactions.first_may_commit.set()
    first, unreadable, third = Fetched(1), Fetched(), Fetched(4)

    assert with_fetched(all_at_once(transactions), first, unreadable, third).submit([1], first) == 5
    assert unreadable.ticket is None


@pytest.mark.parametrize("error", [ValueError("unlucky"), psycopg2.OperationalError("it is away")])
def test_what_fails_as_it_is_taken_along_is_tried_by_itself_in_its_turn(error: Exception) -> None:
    def apply(commands: Sequence[int]) -> int:
        if 13 in commands:
            raise error
        return sum(commands)

    transactions = Transactions(apply)
    transactions.first_may_commit.set()
    first, unlucky, third = Fetched(1), Fetched(13), Fetched(4)
    grouping = with_fetched(all_at_once(transactions), first, unlucky, third)

    if isinstance(error, ValueError):
        assert grouping.submit([1], first) == 1
        assert transactions.groups == [[1, 13, 4], [1]]
    else:
        # Nobody knows whose fault it was: as with messages that wait, all come again.
        with pytest.raises(psycopg2.OperationalError):
            grouping.submit([1], first)
    with pytest.raises(type(error)):
        grouping.submit([13], unlucky)
    assert grouping.submit([4], third) == 4
    assert transactions.groups[-2:] == [[13], [4]]


def test_a_message_whose_turn_comes_while_it_is_taken_along_waits_for_the_outcome() -> None:
    waits = Waits()
    first, second = Fetched(1), Fetched(2, 3)
    grouping = with_fetched(waits, first, second)
    outcomes: dict[int, int] = {}

    def submit(message: Fetched) -> None:
        outcomes[message.commands[0]] = grouping.submit(message.commands, message)

    threads = [Thread(target=submit, args=(message,)) for message in (first, second)]
    threads[0].start()
    assert waits.began.wait(60)
    threads[1].start()
    waits.may_begin.set()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()

    assert outcomes == {1: 6, 2: 6}
    assert waits.groups == [[1, 2, 3]]
