"""Putting failures back: their commands go out again, in batches, as the front door sends them."""

import logging
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import msgspec
from dramatiq.common import q_name
from dramatiq.errors import DecodeError
from dramatiq.message import Message

from actors import commands
from actors.commands import ENVELOPE_BYTES_MAX, MESSAGE_COMMANDS_MAX
from actors.envelope import first_cause, from_the_record
from config import settings
from models.queries.dead_letters import Taken

logger = logging.getLogger(__name__)


def read(letters: Sequence[Taken]) -> dict[int, Message[Any]]:
    """The messages of letters by their ids; what can't be read is left out.

    A letter without an actor was refused as it came in, perhaps by a worker of another version or
    with other keys: what is verified and can be read now is a message all the same. What was on
    another queue than it says is not.
    """
    messages = {}
    for letter in letters:
        try:
            message = _decode(letter)
        except DecodeError as error:
            logger.warning("Failure %d can't be put back: %s", letter.id, first_cause(error))
            continue
        if message.queue_name == letter.queue:
            messages[letter.id] = message
        else:
            logger.warning("Failure %d can't be put back: it is of another queue.", letter.id)
    return messages


def _decode(letter: Taken) -> Message[Any]:
    # What has an actor was verified when it came in; its key may be gone by now.
    return from_the_record(letter.body) if letter.actor else Message.decode(letter.body)


def publish(broker: Any, messages: Iterable[Message[Any]]) -> None:
    """Publish the commands of messages again; each begins with no failures behind it.

    By way of the delay queues: a full queue may refuse new orders, never these.
    """
    for message in _joined(messages):
        broker.enqueue(message, delay=0)


def _joined(messages: Iterable[Message[Any]]) -> Iterator[Message[Any]]:
    """The commands of each actor in their order, as many in a message as it takes."""
    gathering: dict[tuple[str, str], list[bytes]] = {}
    for message in messages:
        # What was refused on its way out of a delay queue has that one's name.
        to = (q_name(message.queue_name), message.actor_name)
        try:
            more = [bytes(command) for command in commands.split(message.kwargs["commands"])]
        except (ValueError, RecursionError):
            # No batch at all: it fails again, but not together with good ones.
            yield _message(to, bytes(message.kwargs["commands"]))
            continue
        batch = gathering.setdefault(to, [])
        if batch and not _fits(batch, more):
            yield _message(to, bytes(commands.join(batch)))
            batch.clear()
        batch += more
    for to, batch in gathering.items():
        yield _message(to, bytes(commands.join(batch)))


def _fits(batch: Sequence[bytes], more: Sequence[bytes]) -> bool:
    return (
        len(batch) + len(more) <= MESSAGE_COMMANDS_MAX
        and sum(map(len, batch)) + sum(map(len, more)) + len(batch) + len(more)
        < settings().message_bytes_max - ENVELOPE_BYTES_MAX
    )


def _message(to: tuple[str, str], batch: bytes) -> Message[Any]:
    queue, actor = to
    return Message(
        queue_name=queue, actor_name=actor, args=(), kwargs={"commands": msgspec.Raw(batch)},
        options={},
    )  # fmt: skip
