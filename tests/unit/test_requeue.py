"""Failures go back in batches that keep to the limits of a message, in order, none twice."""

from typing import Any

import msgspec
import pytest
from dramatiq.message import Message
from hypothesis import given
from hypothesis import strategies as st

from actors import requeue
from actors.commands import MESSAGE_BYTES_MAX, MESSAGE_COMMANDS_MAX, join
from actors.envelope import for_the_record
from models.queries.dead_letters import Taken
from tests.conftest import signer
from tests.integration.workshop import message


class Published:
    """Stands where the broker does."""

    def __init__(self) -> None:
        self.messages: list[Any] = []

    def enqueue(self, message: Any, *, delay: int) -> None:
        assert delay == 0
        self.messages.append(message)


def letter(id_: int, actor: str, *commands: Any) -> Taken:
    body = for_the_record(message(f"queue.{actor}", actor, *commands, options={"retries": 6}))
    return Taken(id_, f"queue.{actor}", actor, body)


def published(letters: list[Taken]) -> list[Any]:
    to = Published()
    requeue.publish(to, requeue.read(letters).values())
    return to.messages


def commands_of(messages: list[Any], actor: str) -> list[Any]:
    return [
        command
        for each in messages
        if each.actor_name == actor
        for command in msgspec.json.decode(each.kwargs["commands"])
    ]


@given(
    st.lists(
        st.tuples(st.sampled_from("ab"), st.integers(0, 400), st.integers(0, 3_000)), max_size=12
    )
)
def test_every_command_goes_out_once_in_order_within_the_limits(
    given_letters: list[tuple[str, int, int]],
) -> None:
    letters, wanted = [], {"a": [], "b": []}  # type: ignore[var-annotated]
    for number, (actor, count, size) in enumerate(given_letters):
        commands = [f"{number}.{n}" + "x" * size for n in range(count)]
        wanted[actor] += commands
        letters.append(letter(number, actor, *commands))

    messages = published(letters)

    for actor, commands in wanted.items():
        assert commands_of(messages, actor) == commands
    for each in messages:
        batch = msgspec.json.decode(each.kwargs["commands"])
        assert len(batch) <= MESSAGE_COMMANDS_MAX
        # A letter may be over the limit itself, but is never made so.
        assert len(bytes(each.kwargs["commands"])) <= max(
            MESSAGE_BYTES_MAX, *(len(one.body) for one in letters)
        )
        assert (each.queue_name, each.options) == (f"queue.{each.actor_name}", {})


def test_single_commands_become_one_message() -> None:
    messages = published([letter(n, "a", {"id": n}) for n in range(MESSAGE_COMMANDS_MAX + 1)])

    assert [len(msgspec.json.decode(each.kwargs["commands"])) for each in messages] == [500, 1]


def test_what_can_not_be_read_stays() -> None:
    readable = letter(1, "a", {"id": 1})
    signed = signer.sign(readable.body)
    letters = [
        # Another queue's, not signed, no message.
        Taken(2, "q", "", signed), Taken(3, "queue.a", "", readable.body),
        Taken(4, "q", "a", b"not json"), readable, Taken(5, "queue.a", "", signed),
    ]  # fmt: skip

    assert list(requeue.read(letters)) == [1, 5]


@pytest.mark.parametrize("queue", ["queue.a", "queue.a.DQ"])
def test_what_only_another_version_could_not_read_goes_back(queue: str) -> None:
    unknown: Message[None] = Message(
        queue, "a", (), {"commands": join([b"1"])}, {"eta": 1, "new": 2}
    )

    (back,) = published([Taken(1, queue, "", unknown.encode())])

    assert (back.queue_name, back.actor_name, back.options) == ("queue.a", "a", {})
    assert commands_of([back], "a") == [1]


def test_what_is_no_batch_goes_out_alone_as_it_was() -> None:
    odd = message("queue.a", "a")
    odd.kwargs["commands"] = msgspec.Raw(b'{"id":1}')

    messages = published(
        [letter(1, "a", 1), Taken(2, "queue.a", "a", for_the_record(odd)), letter(3, "a", 3)]
    )

    assert {bytes(each.kwargs["commands"]) for each in messages} == {
        b'{"id":1}', bytes(join([b"1", b"3"])),
    }  # fmt: skip
