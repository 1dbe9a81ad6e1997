"""Orders: find them, see the whole story of one, move it."""

import re
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple

from actors.commands import CommandId, MoveOrder
from models.queries import failures, lookup, reads
from models.queries.reads import FoundOrder, OrderFilter
from models.rules.order_status import MOVES, PENDING
from web.dashboard.acting import act
from web.dashboard.page import Deps, Page, Routes, redirect
from web.dashboard.query import PAGE_ROWS, Query, next_cursor, whole_number
from web.dashboard.timeline import timeline
from web.ids import ORDER
from web.intake import Wanted
from web.problems import invalid, not_found
from web.views import order_view

FIELDS: Final = ("q", "customer", "sku", "status", "after", "before")
STATUSES: Final = (
    "pending", "confirmed", "shipped", "delivered", "cancelled", "returned", "rejected", "failed"
)  # fmt: skip
#: A move's button, in the order of an order's life; those that lose something ask once more.
BUTTONS: Final = {
    "shipped": "Mark as shipped",
    "delivered": "Mark as delivered",
    "cancelled": "Cancel the order",
    "returned": "Take it back",
}
_UUID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_NAMED: Final = re.compile(r"(order|customer|sku):\s*(.*)", re.IGNORECASE | re.DOTALL)


class OrdersPage(Page):
    """GET lists orders, newest first; an order's id leads to it."""

    async def on_get(self, req: Any, resp: Any) -> None:
        query = Query(req.params, *FIELDS)
        box = query["q"]
        named = _NAMED.fullmatch(box)
        kind, name = (named[1].lower(), named[2].strip()) if named else ("", box)
        if kind == "order" or (not kind and _UUID.fullmatch(name)):
            if self.deps.mint.is_ours(ORDER, name.lower()):
                redirect(resp, f"/dashboard/orders/{name.lower()}")
                return
            query.errors["q"] = "There is no order of that id: none was ever accepted."
        elif box:
            await self._sort_out(query, kind, name)
        await self._list(req, resp, query)

    async def _sort_out(self, query: Query, kind: str, box: str) -> None:
        """The search box stands for a customer or a SKU."""
        if not box:
            query.errors["q"] = "Say which: nothing follows the colon."
            return
        del query.values["q"]
        if kind:
            query.values[kind] = box
        elif await self.deps.found.inventory(box):
            query.values["sku"] = box
        else:
            query.values["customer"] = box

    async def _list(self, req: Any, resp: Any, query: Query) -> None:
        wanted = OrderFilter(
            query.choice("status", STATUSES), query.text("customer"), query.text("sku"),
            query.moment("after"), query.moment("before"),
        )  # fmt: skip
        after = query.cursor(tuple[datetime, CommandId])
        found: list[tuple[str, FoundOrder | None]] = []
        last = None
        if not query.errors:
            run = self.deps.lists.run
            found, last = await run(reads.orders_page, wanted, after, PAGE_ROWS)
        cursor = next_cursor(True, last) if last else None
        self.render(
            req, resp, "orders.html", status=422 if query.errors else 200, query=query,
            orders=[order_view(id_, one) for id_, one in found], statuses=STATUSES,
            first=query.link() if after else None,
            next=query.link(cursor=cursor) if cursor else None,
        )  # fmt: skip


class Story(NamedTuple):
    """All there is to say about an order."""

    events: Sequence[Any]
    asked: Sequence[lookup.MoveAsked]
    failed: Sequence[Any]
    movements: Sequence[lookup.OrderMovement]


class OrderPage(Page):
    """GET shows an order and its story."""

    async def on_get(self, req: Any, resp: Any, order_id: str) -> None:
        found = await self.find(order_id)
        order = order_view(order_id, found)
        story = await self.deps.lists.run(_story, order_id)
        placed_at = found.order.placed_at if found and found.order else None
        self.render(
            req, resp, "order.html", order=order, movements=story.movements,
            entries=timeline(order_id, placed_at, *story[:3]),
            accepted=found is None, again=found is not None and found.outcome == PENDING,
            moves=[to for to in BUTTONS if to in MOVES[order.status]], buttons=BUTTONS,
        )  # fmt: skip

    async def find(self, order_id: str) -> FoundOrder | None:
        """An order, None where it is not decided yet. Raises Problem (404, 410)."""
        if not self.deps.mint.is_ours(ORDER, order_id):
            raise not_found(f"There is no order {order_id[:64]}: none of that id was accepted.")
        return await self.deps.found.order(order_id)


def _story(order_id: str) -> Story:
    """Runs in a reading thread."""
    asked = lookup.moves_asked(order_id)
    commands = [order_id, *(move.command_id for move in asked)]
    return Story(
        reads.events(order_id),
        asked,
        failures.for_commands(commands),
        lookup.movements_of(order_id),
    )


class Move(OrderPage):
    """POST moves an order, if it is still as the page showed it."""

    async def on_post(self, req: Any, resp: Any, order_id: str) -> None:
        await self.find(order_id)
        form = req.context.form
        to, version = form.text("to"), whole_number(form.text("version"))
        if to not in BUTTONS or version is None:
            raise invalid("The form is not whole.", [{"pointer": "/to", "detail": "is missing"}])
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
