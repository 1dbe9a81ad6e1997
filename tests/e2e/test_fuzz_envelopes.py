"""Odd messages to running workers: each is decided, failed or on record, and work goes on."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

import msgspec
import pika
from dramatiq.errors import DecodeError
from hypothesis import given

from actors import commands
from actors.commands import (
    ROUTES,
    AdjustStock,
    Command,
    FailureFilter,
    Line,
    MoveOrder,
    Operate,
    Origin,
    PlaceOrder,
    PutProduct,
    RetryFailures,
    SetRateLimit,
)
from actors.envelope import EnvelopeEncoder, from_the_record
from tests.conftest import System, eventually, signer
from tests.e2e.shop import Shop, assert_stock_is_true
from tests.fuzz.effort import effort
from tests.fuzz.strategies import OPTIONS, Document, Sent, messages

#: Errors that are the message's own. What is refused as it comes in has no class in the log, what
#: an actor can't read breaks a rule of the contract, and some things PostgreSQL alone can't hold.
EXPECTED = {None, "ValidationError", "DecodeError", "ActorNotFound", "DataError"}

_encoder = EnvelopeEncoder(signer)


def envelope(*batch: Command) -> Document:
    """A good message as it is written, at its last attempt. All of one kind."""
    route = ROUTES[type(batch[0])]
    document: Document = msgspec.to_builtins(
        {
            "queue_name": route.queue, "actor_name": route.actor, "args": [],
            "kwargs": {"commands": batch}, "options": {"retries": OPTIONS["retries"]},
            "message_id": "m", "message_timestamp": 1_700_000_000_000,
        }
    )  # fmt: skip
    return document


def good_messages(sku: str, order_id: str) -> list[Document]:
    """One of each kind of command, and a batch."""
    id_, now = "0197f0c0-0000-8000-8000-000000000000", datetime.now(UTC)
    ada = Origin("key-1", "Ada", "127.0.0.1", "pytest")
    order = PlaceOrder(id_, now, "c-17", [Line(sku, 1)], {"k": "v"}, f"00-{'a' * 32}-{'b' * 16}-01")
    none = FailureFilter(0, [], "a", "q", "E", "order:x", "text", now, now)
    return [
        envelope(order),
        envelope(order, order),
        envelope(MoveOrder(id_, now, order_id, "shipped", if_version=1, origin=ada)),
        envelope(PutProduct(id_, now, sku, "Mug", 1250, "EUR")),
        envelope(AdjustStock(id_, now, sku, 1, "received", origin=ada)),
        envelope(Operate(id_, now, ada, SetRateLimit("nobody", "5/s"))),
        envelope(Operate(id_, now, ada, RetryFailures(none))),
    ]


def odd_messages(good: Sequence[Document], count: int) -> list[Sent]:
    found: list[Sent] = []

    @effort(count)
    @given(messages(good, signer))
    def collect(message: Sent) -> None:
        found.append(message)

    collect()
    return found


def publish(system: System, sent: Sequence[Sent]) -> None:
    url = pika.URLParameters(system.environment["RABBITMQ_URL"])
    with pika.BlockingConnection(url) as connection:
        channel = connection.channel()
        channel.confirm_delivery()
        for message in sent:
            channel.basic_publish("", message.queue, message.body, mandatory=True)


class Ends(NamedTuple):
    """What became of messages. refused: as they came; failed: the commands, as they came, and the
    ids of messages on record; decided: the ids of commands."""

    refused: set[Sent]
    failed: set[bytes | str]
    decided: set[str]

    def has(self, message: Sent) -> bool:
        """Whether all of a message has come to an end."""
        if message in self.refused:
            return True
        try:
            fields = _encoder.decode(message.body)
        except DecodeError:
            return False
        if fields["message_id"] in self.failed:
            return True
        try:
            batch = commands.split(fields["kwargs"]["commands"])
        except (ValueError, RecursionError):
            return False
        return all(bytes(command) in self.failed or self._decided(command) for command in batch)

    def _decided(self, command: msgspec.Raw) -> bool:
        sketch = commands.sketch(commands.join([bytes(command)]))
        return bool(sketch) and sketch[0].id in self.decided


def ends(system: System) -> Ends:
    refused: set[Sent] = set()
    failed: set[Any] = set()
    for queue, actor, message_id, body in system.sql(
        "SELECT queue, actor, message_id, body FROM dead_letters"
    ):
        if not actor:
            refused.add(Sent(queue, bytes(body)))
            continue
        failed.add(message_id)
        batch = from_the_record(bytes(body)).kwargs["commands"]
        failed |= {bytes(batch)[1:-1]}
    decided = system.sql("SELECT id::text FROM commands WHERE status <> 'pending'")
    return Ends(refused, failed, {id_ for (id_,) in decided})


def errors_of(system: System) -> set[str | None]:
    """The classes of the errors that workers told of; None for what has none."""
    lines = [msgspec.json.decode(line) for line in system.log("worker").read_bytes().splitlines()]
    return {line.get("error", {}).get("type") for line in lines if line["log.level"] == "error"}


def left(system: System, sent: Sequence[Sent]) -> list[Sent]:
    """Messages that have not come to an end."""
    ended = ends(system)
    return [message for message in sent if not ended.has(message)]


def test_odd_messages_come_to_an_end_and_good_ones_are_decided(fuzzed: System) -> None:
    with fuzzed.client() as client:
        shop = Shop(client)
        sku = shop.product(1_000)
        sent = odd_messages(good_messages(sku, shop.confirmed((sku, 1))["id"]), 300)

        publish(fuzzed, sent)
        shop.confirmed((sku, 1))

        try:
            eventually(lambda: not left(fuzzed, sent), within_s=180)
        finally:
            assert left(fuzzed, sent) == []  # says which
    assert fuzzed.exit_code("worker") is None
    assert_stock_is_true(fuzzed)
    assert errors_of(fuzzed) <= EXPECTED
