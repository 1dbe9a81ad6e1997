"""The search box of every page: orders by id or metadata, customers, products."""

import re
from collections.abc import Sequence
from typing import Any, Final
from urllib.parse import urlencode

import peewee

from models.database import sqlstate
from models.queries import reads, search
from models.queries.search import Hits, IdPart, OrderHit
from web.dashboard.page import Deps, Page, Routes, redirect
from web.dashboard.places import Places
from web.dashboard.query import Query
from web.ids import COMMAND, ORDER
from web.problems import unavailable
from web.replicas import QUERY_CANCELED
from web.types import OrderView
from web.views import order_view

LENGTH_MIN: Final = 2
#: As lists shorten an id: its beginning, its end.
_ID_PART: Final = re.compile(r"([0-9a-f-]{4,36})(?:(?:…|\.\.\.)([0-9a-f-]{1,12}))?", re.IGNORECASE)


#: Searches read tens of thousands of rows, in threads that others read with.
places: Final = Places("Other searches are running", retry_after_s=2)


class SearchPage(Page):
    """GET lists what was found by its kind; where there is one hit alone, it leads there."""

    fields = ("q",)

    async def on_get(self, req: Any, resp: Any) -> None:
        query = Query(req.params, "q", exact=("q",))
        text = query["q"].strip()
        address = self._of_id(text.lower())
        hits = None
        if address is None and len(text) >= LENGTH_MIN:
            hits = await self._find(text, query["q"])
            address = _only(hits)
        if address is not None:
            redirect(resp, address)
            return
        self.render(
            req, resp, "search.html", status=422 if query.errors else 200, query=query, hits=hits,
            orders=await self._orders(hits.orders[: search.SHOWN_MAX]) if hits else [],
            shown_max=search.SHOWN_MAX, length_min=LENGTH_MIN,
            orders_read_max=search.ORDERS_READ_MAX, products_read_max=search.PRODUCTS_READ_MAX,
        )  # fmt: skip

    async def _find(self, text: str, written: str) -> Hits:
        """Raises Problem (503) where others are searching, or where it takes too long."""
        with places.place():
            try:
                return await self.deps.lists.run(search.find, text, _id_part(text), written)
            except peewee.OperationalError as error:
                if sqlstate(error) != QUERY_CANCELED:
                    raise
        limit_s = search.STATEMENT_MS_MAX // 1000
        raise unavailable(f"The database was busy: a part of the search took over {limit_s} s")

    async def _orders(self, hits: Sequence[OrderHit]) -> list[tuple[OrderView, str | None]]:
        """Orders with what they were found by; without those that are no longer kept."""
        found = await self.deps.lists.run(reads.orders_by_id, [hit.id for hit in hits])
        return [
            (order_view(hit.id, order), hit.found_by)
            for hit, order in zip(hits, found, strict=True)
            if order is None or not order.gone
        ]

    def _of_id(self, text: str) -> str | None:
        """Where a whole id leads, decided or not; None for any other text."""
        if self.deps.mint.is_ours(ORDER, text):
            return f"/dashboard/orders/{text}"
        if self.deps.mint.is_ours(COMMAND, text):
            return f"/dashboard/audit?command_id={text}"
        return None


def _id_part(text: str) -> IdPart | None:
    match = _ID_PART.fullmatch(text)
    return IdPart(match[1].lower(), (match[2] or "").lower()) if match else None


def _only(hits: Hits) -> str | None:
    """The address of the one thing that was found."""
    if len(hits.orders) + len(hits.customers) + len(hits.products) != 1:
        return None
    if hits.orders:
        return f"/dashboard/orders/{hits.orders[0].id}"
    if hits.products:
        return f"/dashboard/inventory/{hits.products[0].sku}"
    return "/dashboard/orders?" + urlencode({"customer": hits.customers[0]})


def routes(deps: Deps) -> Routes:
    return {"/dashboard/search": SearchPage(deps)}
