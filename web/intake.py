"""How a change gets in: an id, a look at its idempotency key, one confirmed message."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from hashlib import blake2b
from typing import Any, NamedTuple

import msgspec
import peewee

from actors.commands import (
    KIB,
    MESSAGE_COMMANDS_MAX,
    ROUTES,
    Command,
    PlaceOrder,
    Route,
    encode,
)
from config import Settings
from models.queries import reads
from models.queries.reads import KeyRecall, KeyUse
from web.batcher import Batcher, TooManyWaitingError
from web.ids import COMMAND, ORDER, IdMint
from web.problems import Problem, unavailable
from web.publisher import CannotPublishError, Publisher
from web.reading import Reader

KEYS_PER_STATEMENT = 500
#: What may wait for a publish at once, beside the number of callers.
WAITING_BYTES_MAX = 64 * 1024 * KIB

_encoder = msgspec.json.Encoder(order="sorted")


class Wanted(NamedTuple):
    """A change that a client asks for, before it has an id.

    kind, members: the command's type and its members but `id` and `at`;
    key: the idempotency key, None without; key_pointer: where in the body it stands, None for a
    header.
    """

    kind: type[Command]
    members: dict[str, Any]
    key: str | None
    key_pointer: str | None = None


class Taken(NamedTuple):
    """A change that is taken. replayed: it was decided before this request."""

    id: str
    replayed: bool


class Intake:
    """Turns wanted changes into commands in RabbitMQ."""

    def __init__(self, given: Settings, mint: IdMint, publisher: Publisher, reader: Reader) -> None:
        self._mint = mint
        self._waiting_bytes = 0
        self._publishing: dict[type[Command], Batcher[Sequence[bytes], None]] = {
            kind: self._publish_to(publisher, route, given.publish_waiting_max)
            for kind, route in ROUTES.items()
        }
        self._keys: Batcher[KeyUse, KeyRecall] = Batcher(
            lambda uses: reader.run(reads.remember_keys, uses),
            batch_max=KEYS_PER_STATEMENT,
            waiting_max=given.publish_waiting_max,
        )

    @staticmethod
    def _publish_to(
        publisher: Publisher, route: Route, waiting_max: int
    ) -> Batcher[Sequence[bytes], None]:
        return Batcher(
            lambda items: publisher.publish_batch(route, items),
            batch_max=MESSAGE_COMMANDS_MAX,
            waiting_max=waiting_max,
        )

    async def take(self, client: str, wanted: Wanted) -> Taken:
        """Enqueue one change; returns when RabbitMQ has confirmed it.

        Raises Problem: 422 for a key that was used for something else, 503.
        """
        (taken,) = await self.take_all(client, [wanted])
        return taken

    async def take_all(
        self, client: str, wanted: Sequence[Wanted], batch_key: str | None = None
    ) -> list[Taken]:
        """Enqueue changes of one kind in one message; as `take`, all or none of them.

        batch_key: the idempotency key that stands for all of them together.
        """
        kind = wanted[0].kind
        id_kind = ORDER if kind is PlaceOrder else COMMAND
        ids = [self._id(client, id_kind, one.key) for one in wanted]
        if batch_key is not None:
            await self._check_batch_key(client, batch_key, wanted, ids[0])
        decided = await self._decided_before(client, wanted, ids)
        at = datetime.now(UTC)
        encoded = [
            encode(kind(id=id_, at=at, **one.members))
            for id_, one in zip(ids, wanted, strict=True)
            if id_ not in decided
        ]
        if encoded:
            await self._publish(kind, encoded)
        return [Taken(id_, id_ in decided) for id_ in ids]

    async def _publish(self, kind: type[Command], encoded: Sequence[bytes]) -> None:
        size = sum(map(len, encoded))
        if self._waiting_bytes + size > WAITING_BYTES_MAX:
            raise unavailable("Too many changes wait to be taken")
        self._waiting_bytes += size
        try:
            await self._publishing[kind].submit(encoded)
        except TooManyWaitingError:
            raise unavailable("Too many changes wait to be taken") from None
        except CannotPublishError as error:
            raise unavailable(f"It could not be taken for certain: {error}") from None
        finally:
            self._waiting_bytes -= size

    async def drain(self) -> None:
        """Return when nothing is on its way to RabbitMQ."""
        for batcher in self._publishing.values():
            await batcher.drain()

    def _id(self, client: str, id_kind: bytes, key: str | None) -> str:
        if key is None:
            return self._mint.new(id_kind)
        return self._mint.from_key(id_kind, self._mint.key_digest(client, key))

    async def _check_batch_key(
        self, client: str, key: str, wanted: Sequence[Wanted], first_id: str
    ) -> None:
        """Raises Problem where a key was used for anything but this batch."""
        fingerprint = _batch_fingerprint(wanted)
        digest = self._mint.key_digest(client, key).hex()
        recall = await self._recall(KeyUse(digest, fingerprint, first_id))
        if recall is not None and recall.fingerprint != fingerprint:
            raise _key_reused(None)

    async def _decided_before(
        self, client: str, wanted: Sequence[Wanted], ids: Sequence[str]
    ) -> set[str]:
        """The ids that are decided already. Raises Problem where a key was used otherwise."""
        uses = [
            (one, KeyUse(self._mint.key_digest(client, one.key).hex(), _fingerprint(one), id_))
            for one, id_ in zip(wanted, ids, strict=True)
            if one.key is not None
        ]
        recalls = await asyncio.gather(*(self._recall(use) for _, use in uses))
        decided = set()
        for (one, use), recall in zip(uses, recalls, strict=True):
            if recall is None:
                continue
            if recall.fingerprint != use.fingerprint:
                raise _key_reused(one.key_pointer)
            if recall.decided:
                decided.add(use.command_id)
        return decided

    async def _recall(self, use: KeyUse) -> KeyRecall | None:
        """What a key was used for; None while the database can't tell.

        Intake goes on without it: the inbox dedupes by id all the same, and only the warning
        that a key was used for another body is missing.
        """
        try:
            return await self._keys.submit(use)
        except TooManyWaitingError:
            raise unavailable("Too many changes wait to be taken") from None
        except (peewee.DatabaseError, peewee.InterfaceError):
            return None


def _fingerprint(wanted: Wanted) -> str:
    """What a key stands for: the kind of change and all its members, in any order."""
    content = _encoder.encode([ROUTES[wanted.kind].kind, wanted.members])
    return blake2b(content, digest_size=16).hexdigest()


def _batch_fingerprint(wanted: Sequence[Wanted]) -> str:
    """What a batch's key stands for: its orders, in order, with the keys of their own."""
    content = _encoder.encode(["batch", [[one.key, one.members] for one in wanted]])
    return blake2b(content, digest_size=16).hexdigest()


def _key_reused(pointer: str | None) -> Problem:
    problem = Problem(
        422,
        "idempotency-key-reused",
        "The idempotency key was used for something else",
        "The key stands for another request. Send a fresh key with a new request.",
    )
    if pointer is not None:
        problem.document["errors"] = [{"pointer": pointer, "detail": "was used for another body"}]
    return problem
