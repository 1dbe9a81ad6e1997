"""Orders: find them, see the whole story of one, move it."""

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

from actors.commands import SKU, SKU_RULE, CommandId, MoveOrder
from models.queries import failures, lookup, reads, undecided, waiting_moves
from models.queries.order_filter import OrderFilter
from models.queries.reads import FoundOrder
from models.rules.order_status import MOVES, PENDING
from web.dashboard.acting import act
from web.dashboard.page import Deps, Page, Routes, redirect
from web.dashboard.query import EXACT, PAGE_ROWS, UUID, Query, whole_number
from web.dashboard.timeline import timeline
from web.ids import ORDER, accepted_at
from web.intake import Wanted
from web.problems import invalid, not_found
from web.types import OrderView
from web.views import order_view

#: What narrows a list; `q` is the box that stands for one of them.
LIST_FIELDS: Final = ("customer", "sku", "status", "after", "before")
FIELDS: Final = ("q", *LIST_FIELDS)
STATUSES: Final = (
    "pending", "confirmed", "shipped", "delivered", "cancelled", "returned", "rejected", "failed"
)  # fmt: skip
#: Of the moves that wait for an order.
MOVES_SHOWN_MAX: Final = 100
#: A move's button, in the order of an order's life.
BUTTONS: Final = {
    "shipped": "Mark as shipped",
    "delivered": "Mark as delivered",
    "cancelled": "Cancel order",
    "returned": "Record return",
}
#: What is asked before a move that can't be undone; see the macro `form`.
CONFIRMS: Final = {
    "cancelled": {
        "title": "Cancel this order?",
        "text": "Its stock becomes free. This can't be undone.",
        "no": "Keep order",
        "yes": "Cancel order",
    },
    "returned": {
        "title": "Record the return of this order?",
        "text": "This can't be undone.",
        "no": "Leave unchanged",
        "yes": "Record return",
    },
}
_SKU: Final = re.compile(SKU)
_NAMED: Final = re.compile(r"\s*(order|customer|sku):(.*)", re.IGNORECASE | re.DOTALL)


class OrdersPage(Page):
    """GET lists orders, newest first; an order's id leads to it."""

    fields = (*FIELDS, "cursor")

    async def on_get(self, req: Any, resp: Any) -> None:
        query = Query(req.params, *FIELDS, exact=(*EXACT, "q"))
        named = _NAMED.fullmatch(query["q"])
        kind, box = (named[1].lower(), named[2]) if named else ("", query["q"])
        id_ = box.strip().lower()
        if kind == "order" or (not kind and UUID.fullmatch(id_)):
            if self.deps.mint.is_ours(ORDER, id_):
                redirect(resp, f"/dashboard/orders/{id_}")
                return
            query.errors["q"] = "There is no order of that id: none was ever accepted."
        elif query["q"]:
            await self._sort_out(query, kind, box)
        await self._list(req, resp, query)

    async def _sort_out(self, query: Query, kind: str, box: str) -> None:
        """The search box stands for a SKU or for a customer, whose id is taken as it is written."""
        sku = box.strip()
        if not (box if kind == "customer" else sku or not kind):
            query.errors["q"] = "Say which: nothing follows the colon."
            return
        del query.values["q"]
        if kind == "sku" or (not kind and sku and await self.deps.found.inventory(sku)):
            query.values["sku"] = sku
        elif kind or sku:
            query.values["customer"] = box

    async def _list(self, req: Any, resp: Any, query: Query) -> None:
        wanted = order_filter(query)
        after = query.cursor(req.path, tuple[datetime, CommandId])
        found: list[tuple[str, FoundOrder | None]] = []
        last = None
        if not query.errors:
            run = self.deps.lists.run
            found, last = await run(reads.orders_page, wanted, after, PAGE_ROWS)
        self.render(
            req, resp, "orders.html", status=422 if query.errors else 200, query=query,
            orders=[order_view(id_, one) for id_, one in found], statuses=STATUSES,
            first=query.link() if after else None,
            next=query.next_link(req.path, last),
        )  # fmt: skip


def order_filter(query: Query) -> OrderFilter:
    """What a page asks for; what is wrong with it is in query.errors."""
    sku = query.text("sku")
    if sku is not None and _SKU.fullmatch(sku) is None:
        query.errors["sku"] = f"A SKU has {SKU_RULE}"
    return OrderFilter(
        query.choice("status", STATUSES), query.text("customer"), sku,
        query.moment("after"), query.moment("before"),
    )  # fmt: skip


class Story(NamedTuple):
    """All there is to say about an order.

    names: of its products, by SKU; waits: what stopped the last attempt to decide it, None where
    there was none; waiting_moves: those that wait for its decision, in order.
    """

    events: Sequence[Any]
    asked: Sequence[lookup.MoveAsked]
    failed: Sequence[Any]
    movements: Sequence[lookup.OrderMovement]
    names: Mapping[str, str]
    waits: undecided.Undecided | None
    waiting_moves: Sequence[waiting_moves.WaitingMove]


class OrderPage(Page):
    """GET shows an order and its story."""

    async def on_get(self, req: Any, resp: Any, order_id: str) -> None:
        found = await self.find(order_id)
        order = order_view(order_id, found)
        story = await self.deps.lists.run(_story, order)
        placed = found and (found.order or found.asked)
        self.render(
            req, resp, "order.html", order=order, movements=story.movements,
            entries=timeline(order_id, placed.placed_at if placed else None, *story[:3]),
            accepted=found is None or found.asked is not None,
            again=found is not None and found.asked is None and found.outcome == PENDING,
            moves=[to for to in BUTTONS if to in MOVES[order.status]], buttons=BUTTONS,
            confirms=CONFIRMS, names=story.names, waits=story.waits,
            waiting_moves=story.waiting_moves,
            accepted_at=order.placed_at or accepted_at(order_id, datetime.now(UTC)),
        )  # fmt: skip

    async def find(self, order_id: str) -> FoundOrder | None:
        """An order, None where it is not decided yet. Raises Problem (404, 410)."""
        if not self.deps.mint.is_ours(ORDER, order_id):
            raise not_found(f"There is no order {order_id[:64]}: none of that id was accepted.")
        return await self.deps.found.order(order_id)


def _story(order: OrderView) -> Story:
    """Runs in a reading thread."""
    asked = lookup.moves_asked(order.id)
    commands = [order.id, *(move.command_id for move in asked)]
    skus = list(dict.fromkeys(line.sku for line in order.lines or ()))
    products = reads.inventory_by_sku(skus) if skus else []
    tried = undecided.page(command_ids=[order.id], limit=1) if order.status == PENDING else []
    return Story(
        reads.events(order.id),
        asked,
        failures.for_commands(commands),
        lookup.movements_of(order.id),
        {product.sku: product.name for product in products if product},
        tried[0] if tried else None,
        waiting_moves.of_order(order.id, MOVES_SHOWN_MAX),
    )


class Move(OrderPage):
    """POST moves an order, if it is still as the page showed it."""

    # `sure` is for browsers that run no script: there it has to be ticked.
    form = ("to", "version", "restock", "sure")

    async def on_post(self, req: Any, resp: Any, order_id: str) -> None:
        await self.find(order_id)
        form = req.context.form
        to, version = form.text("to"), whole_number(form.text("version"))
        if to not in BUTTONS or version is None:
            raise invalid("The form is incomplete.", [{"pointer": "/to", "detail": "is missing"}])
        members = {
            "order_id": order_id,
            "to": to,
            "restock": to != "returned" or form.text("restock") == "yes",
            "if_version": version,
        }
        back = f"/dashboard/orders/{order_id}"
        await act(self.deps, req, resp, Wanted(MoveOrder, members, None), back)


def routes(deps: Deps) -> Routes:
    return {
        "/dashboard/orders": OrdersPage(deps),
        "/dashboard/orders/{order_id}": OrderPage(deps),
        "/dashboard/orders/{order_id}/move": Move(deps),
    }
