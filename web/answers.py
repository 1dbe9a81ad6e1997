"""How a change is answered: `202` at once, or the decision for a client that waits for it."""

import asyncio
from contextlib import suppress
from typing import Any

import msgspec
import peewee

from models.queries import reads
from models.queries.reads import FoundCommand
from models.rules.order_status import FAILED, REJECTED
from web.batcher import Batcher, TooManyWaitingError
from web.decisions import Decisions
from web.intake import Intake, Taken, Wanted
from web.problems import Gone, decided_against
from web.reading import Lists, Reader
from web.requests import etag, wait_s
from web.tracing import tell_trace, traceparent
from web.types import AcceptedView, Links
from web.views import inventory_view, order_view

READ_BATCH_MAX = 500

_encode = msgspec.json.encode


class Reads:
    """Reads by id, coalesced: concurrent callers share a statement. `lists`: all other reads."""

    def __init__(self, reader: Reader, lists: Lists, waiting_max: int) -> None:
        self.reader = reader
        self.lists = lists

        def batched(read: Any) -> Batcher[str, Any]:
            return Batcher(
                lambda ids: reader.run(read, ids), batch_max=READ_BATCH_MAX, waiting_max=waiting_max
            )

        self._orders: Batcher[str, reads.FoundOrder | None] = batched(reads.orders_by_id)
        self._commands: Batcher[str, reads.FoundCommand | None] = batched(reads.commands_by_id)
        self._inventory: Batcher[str, reads.InventoryRow | None] = batched(reads.inventory_by_sku)

    async def order(self, order_id: str) -> reads.FoundOrder | None:
        """An order, None where it is not decided yet. Raises Gone: it is not kept."""
        found = await self._orders.submit(order_id)
        if found is not None and found.gone:
            raise Gone(order_id)
        return found

    async def command(self, command_id: str) -> reads.FoundCommand | None:
        return await self._commands.submit(command_id)

    async def inventory(self, sku: str) -> reads.InventoryRow | None:
        return await self._inventory.submit(sku)


def send(resp: Any, view: Any, *, status: int = 200) -> None:
    """Answer with a view as JSON."""
    resp.status = status
    resp.content_type = "application/json"
    resp.data = _encode(view)


class Changes:
    """Takes a change and answers it."""

    def __init__(self, intake: Intake, decisions: Decisions, found: Reads) -> None:
        self.intake = intake
        self._decisions = decisions
        self._reads = found

    async def answer(self, req: Any, resp: Any, wanted: Wanted, link: Any) -> None:
        """Take one change. link: makes the address of what it makes from its id."""
        parent = traceparent(req)
        if parent is not None:
            wanted = wanted._replace(traceparent=parent)
        taken = await self.intake.take(req.context.client, wanted)
        req.context.command_id = taken.id
        tell_trace(req, resp)
        address = link(taken.id)
        resp.set_header("Location", address)
        if taken.replayed:
            resp.set_header("Idempotent-Replayed", "true")
        seconds = wait_s(req)
        if seconds is not None:
            resp.set_header("Preference-Applied", f"wait={seconds}")
            # It is taken: neither a shutdown nor a database that is away may turn that into an
            # error, or a client without a key would order again. Nor may a replay be one, where
            # what was decided long ago can't be shown any more.
            with suppress(
                asyncio.CancelledError, peewee.PeeweeException, TooManyWaitingError, Gone
            ):
                outcome = await self._decisions.wait(taken.id, seconds)
                if outcome is not None:
                    await self._answer_decided(resp, taken, outcome)
                    return
        send(resp, AcceptedView(taken.id, Links(self=address)), status=202)

    async def _answer_decided(self, resp: Any, taken: Taken, found: FoundCommand) -> None:
        if found.status in (REJECTED, FAILED):
            raise decided_against(found.problem or {}, taken.id)
        if found.kind in ("place_order", "move_order"):
            order_id = found.target or taken.id
            view = order_view(order_id, await self._reads.order(order_id))
            if view.version is not None:
                resp.set_header("ETag", etag(view.version))
            send(resp, view, status=201 if found.kind == "place_order" else 200)
            return
        row = await self._reads.inventory(found.target or "")
        if row is None:
            raise LookupError(f"product {found.target} was changed and is not there")
        send(resp, inventory_view(row))
