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
    Origin,
    PlaceOrder,
    Route,
    encode,
)
from config import Settings
from models.queries import idempotency_keys
from models.queries.idempotency_keys import KeyRecall, KeyUse
from web.backlog import Backlog
from web.batcher import Batcher, TooManyWaitingError
from web.broken_rules import broken_rules
from web.ids import COMMAND, ORDER, IdMint
from web.metrics import figures
from web.problems import Problem, breaks_rules, unavailable
from web.publisher import CannotPublishError, CommandTooLargeError, Publisher
from web.reading import Reader

KEYS_PER_STATEMENT = 500
#: So long does a change that was asked for by hand wait to hear what its key was used for.
RECALL_WAIT_S = 1.0
#: What may wait for a publish at once, beside the number of callers.
WAITING_BYTES_MAX = 64 * 1024 * KIB

_encoder = msgspec.json.Encoder(order="sorted")


class Wanted(NamedTuple):
    """A change that a client asks for, before it has an id.

    kind, members: the command's type and its members but `id` and `at`;
    key: the idempotency key, None without; key_pointer: where in the body it stands, None for a
    header; origin: who asks for it by hand; traceparent: the client's trace. The last two are no
    part of what a key stands for: the same click from another tab is the same click.
    """

    kind: type[Command]
    members: dict[str, Any]
    key: str | None
    key_pointer: str | None = None
    origin: Origin | None = None
    traceparent: str | None = None

    def command(self, id_: str, at: datetime) -> Command:
        """The change as a command."""
        if self.origin is None and self.traceparent is None:
            return self.kind(id=id_, at=at, **self.members)
        told: dict[str, Any] = {}
        if self.origin is not None:
            told["origin"] = self.origin
        if self.traceparent is not None:
            told["traceparent"] = self.traceparent
        return self.kind(id=id_, at=at, **self.members, **told)


class Taken(NamedTuple):
    """A change that is taken. replayed: it was decided before this request."""

    id: str
    replayed: bool


class Intake:
    """Turns wanted changes into commands in RabbitMQ."""

    def __init__(
        self,
        given: Settings,
        mint: IdMint,
        publisher: Publisher,
        reader: Reader,
        backlog: Backlog,
    ) -> None:
        self._mint = mint
        self._backlog = backlog
        self._waiting_bytes = 0
        self._publishing: dict[
            type[Command], Batcher[Sequence[bytes], CommandTooLargeError | None]
        ] = {
            kind: self._publish_to(publisher, route, given.publish_waiting_max)
            for kind, route in ROUTES.items()
        }
        self._keys: Batcher[KeyUse, KeyRecall] = Batcher(
            lambda uses: reader.run(idempotency_keys.remember, uses),
            batch_max=KEYS_PER_STATEMENT,
            waiting_max=given.publish_waiting_max,
        )

    @staticmethod
    def _publish_to(
        publisher: Publisher, route: Route, waiting_max: int
    ) -> Batcher[Sequence[bytes], CommandTooLargeError | None]:
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
        digests = [
            None if one.key is None else self._mint.key_digest(client, one.key) for one in wanted
        ]
        ids = [
            self._mint.from_key(id_kind, digest) if digest else self._mint.new(id_kind)
            for digest in digests
        ]
        if batch_key is not None:
            await self._check_batch_key(client, batch_key, wanted, ids[0])
        decided = await self._decided_before(wanted, ids, digests)
        at = datetime.now(UTC)
        encoded = [
            _encoded(one, id_, at)
            for id_, one in zip(ids, wanted, strict=True)
            if id_ not in decided
        ]
        if encoded:
            if kind is PlaceOrder:
                self._check_backlog()
            try:
                await self._publish(kind, encoded)
            except Problem as problem:
                # It may have been taken all the same: under this trace it would be found.
                problem.command_id = ids[0]
                raise
        return [Taken(id_, id_ in decided) for id_ in ids]

    def _check_backlog(self) -> None:
        """Raises Problem (503) while new orders are turned away."""
        retry_after_s = self._backlog.retry_after_s()
        if retry_after_s is not None:
            figures.orders_shed += 1
            raise unavailable("Too many orders wait to be decided", retry_after_s=retry_after_s)

    async def _publish(self, kind: type[Command], encoded: Sequence[bytes]) -> None:
        size = sum(map(len, encoded))
        if self._waiting_bytes + size > WAITING_BYTES_MAX:
            raise unavailable("Too many changes wait to be taken")
        self._waiting_bytes += size
        try:
            too_large = await self._publishing[kind].submit(encoded)
        except TooManyWaitingError:
            raise unavailable("Too many changes wait to be taken") from None
        except CannotPublishError as error:
            raise unavailable(
                f"We could not confirm that the request was accepted: {error}"
            ) from None
        finally:
            self._waiting_bytes -= size
        if too_large is not None:
            raise Problem(413, "too-large", "Too large", f"{too_large}.")

    async def drain(self) -> None:
        """Return when nothing is on its way to RabbitMQ."""
        for batcher in self._publishing.values():
            await batcher.drain()

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
        self, wanted: Sequence[Wanted], ids: Sequence[str], digests: Sequence[bytes | None]
    ) -> set[str]:
        """The ids that are decided already. Raises Problem where a key was used otherwise."""
        # Who clicked waits for the page: without the database, soon without an answer of it.
        patience_s = RECALL_WAIT_S if wanted[0].origin is not None else None
        uses = [
            (one, KeyUse(digest.hex(), _fingerprint(one), id_))
            for one, id_, digest in zip(wanted, ids, digests, strict=True)
            if digest is not None
        ]
        if not uses:
            return set()
        recalls = await self._recall_all([use for _, use in uses], patience_s)
        decided = set()
        for (one, use), recall in zip(uses, recalls, strict=True):
            if recall is None:
                continue
            if recall.fingerprint != use.fingerprint:
                raise _key_reused(one.key_pointer)
            if recall.decided:
                decided.add(use.command_id)
        return decided

    async def _recall_all(
        self, uses: Sequence[KeyUse], patience_s: float | None
    ) -> list[KeyRecall | None]:
        if len(uses) == 1:
            # Most requests: without a task of its own for it.
            return [await self._recall(uses[0], patience_s)]
        return await asyncio.gather(*(self._recall(use, patience_s) for use in uses))

    async def _recall(self, use: KeyUse, patience_s: float | None = None) -> KeyRecall | None:
        """What a key was used for; None while the database can't tell.

        Intake goes on without it: the inbox dedupes by id all the same, and only the warning
        that a key was used for another body is missing.
        """
        try:
            if patience_s is None:
                return await self._keys.submit(use)
            async with asyncio.timeout(patience_s):
                return await self._keys.submit(use)
        except TooManyWaitingError:
            raise unavailable("Too many changes wait to be taken") from None
        except (peewee.DatabaseError, peewee.InterfaceError, TimeoutError):
            return None


def _encoded(wanted: Wanted, id_: str, at: datetime) -> bytes:
    """A change as an actor will read it. Raises Problem (422) where it could not.

    Members were checked as they came in; what is asked for by hand brings the person with it.
    """
    encoded = encode(wanted.command(id_, at))
    if wanted.origin is not None:
        try:
            msgspec.json.decode(encoded, type=wanted.kind)
        except msgspec.ValidationError:
            document = msgspec.json.decode(encoded)
            raise breaks_rules(broken_rules(wanted.kind, document)) from None
    return encoded


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
