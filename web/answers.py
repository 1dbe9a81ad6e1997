"""How a change is answered: `202` at once, or the decision for a client that waits for it."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import msgspec
import peewee

from actors.commands import PlaceOrder
from models.queries import reads
from models.queries.reads import FoundCommand
from models.rules.order_status import CONFIRMED, FAILED, PENDING, REJECTED
from web.batcher import Batcher, TooManyWaitingError
from web.decisions import Decisions
from web.intake import Intake, Taken, Wanted
from web.problems import Gone, decided_against
from web.reading import READ_BATCH_MAX, Lists, Reader
from web.requests import etag, wait_s
from web.tracing import tell_trace, traceparent
from web.types import AcceptedOrders, AcceptedView, BatchedView, Links
from web.views import inventory_view, order_link, order_view, refusal_view

_encode = msgspec.json.encode

#: A change is taken: neither a shutdown nor a database that is away may turn that into an error, or
#: a client without a key would order again. Nor may a replay be one, where what was decided long
#: ago can't be shown any more.
_NO_ERROR_OF_A_CHANGE = (
    asyncio.CancelledError, peewee.PeeweeException, TooManyWaitingError, Gone
)  # fmt: skip


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

    async def order_status(self, order_id: str) -> str:
        """The status of an order; of one that is not kept, what was decided about it."""
        found = await self._orders.submit(order_id)
        if found is not None and found.gone:
            return REJECTED if found.outcome == REJECTED else CONFIRMED
        return order_view(order_id, found).status

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
            with suppress(*_NO_ERROR_OF_A_CHANGE):
                outcome = await self._decisions.wait(taken.id, seconds)
                if outcome is not None:
                    await self._answer_decided(resp, taken, outcome)
                    return
        status = await self._known_status(taken, is_order=wanted.kind is PlaceOrder)
        send(resp, AcceptedView(taken.id, Links(self=address), status), status=202)

    async def answer_batch(self, req: Any, resp: Any, taken: Sequence[Taken]) -> None:
        """Answer orders that are taken together: at once, or when they are decided."""
        tell_trace(req, resp, taken[0].id)
        if all(each.replayed for each in taken):
            resp.set_header("Idempotent-Replayed", "true")
        seconds = wait_s(req)
        if seconds is not None:
            resp.set_header("Preference-Applied", f"wait={seconds}")
            with suppress(*_NO_ERROR_OF_A_CHANGE):
                views = await self._wait_for_batch([each.id for each in taken], seconds)
                decided = all(view.status != PENDING for view in views)
                send(resp, AcceptedOrders(views), status=200 if decided else 202)
                return
        send(resp, AcceptedOrders(await self._accepted_views(taken)), status=202)

    async def _accepted_views(self, taken: Sequence[Taken]) -> list[BatchedView]:
        replayed = [each for each in taken if each.replayed]
        statuses = await asyncio.gather(
            *(self._known_status(each, is_order=True) for each in replayed)
        )
        known = {each.id: status for each, status in zip(replayed, statuses, strict=True)}
        return [
            BatchedView(each.id, Links(self=order_link(each.id)), known.get(each.id, PENDING))
            for each in taken
        ]

    async def _wait_for_batch(self, order_ids: Sequence[str], seconds: int) -> list[BatchedView]:
        outcomes = await self._decisions.wait_all(order_ids, seconds)
        return await asyncio.gather(
            *(self._batched_view(order_id, outcomes.get(order_id)) for order_id in order_ids)
        )

    async def _batched_view(self, order_id: str, outcome: FoundCommand | None) -> BatchedView:
        links = Links(self=order_link(order_id))
        if outcome is None:
            return BatchedView(order_id, links)
        if outcome.status in (REJECTED, FAILED):
            problem = refusal_view(outcome.problem or {})
            return BatchedView(order_id, links, outcome.status, problem=problem)
        order = order_view(order_id, await self._reads.order(order_id))
        return BatchedView(order_id, links, order.status, order=order)

    async def _known_status(self, taken: Taken, *, is_order: bool) -> str:
        """What became of a change that was decided before; pending, where that can't be told."""
        if taken.replayed:
            with suppress(*_NO_ERROR_OF_A_CHANGE):
                if is_order:
                    return await self._reads.order_status(taken.id)
                command = await self._reads.command(taken.id)
                return PENDING if command is None else command.status
        return PENDING

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
