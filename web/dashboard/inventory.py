"""Inventory: find a product, see its level and its ledger, adjust its stock."""

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final, get_args

import msgspec

from actors.commands import DELTA_MAX, NO_NUL, SKU, AdjustmentReason, AdjustStock, CommandId, Sku
from models.queries import lookup, reads
from models.queries.reads import InventoryRow
from models.rules.reasons import allowed_reasons
from web.dashboard.acting import act
from web.dashboard.level_chart import STEPS, draw, plotted
from web.dashboard.page import Deps, Page, Routes
from web.dashboard.query import PAGE_ROWS, Query, whole_number
from web.intake import Wanted
from web.problems import not_found

_SKU: Final = re.compile(SKU)
REASONS: Final = get_args(AdjustmentReason)
LOW_MAX: Final = 10**15
#: How far back the chart goes; `recent` is as far as the latest movements reach.
WINDOWS: Final = {
    "recent": None,
    "1h": timedelta(hours=1),
    "24h": timedelta(days=1),
    "7d": timedelta(days=7),
    "30d": timedelta(days=30),
}
WINDOW_WORDS: Final = {
    "recent": "Latest", "1h": "1 hour", "24h": "24 hours", "7d": "7 days", "30d": "30 days",
}  # fmt: skip
Location = Annotated[str, msgspec.Meta(max_length=64, pattern=NO_NUL)]
#: As many as PostgreSQL counts.
Units = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]


class InventoryPage(Page):
    """GET lists products: by SKU, or the scarcest first."""

    fields = ("q", "low", "below", "cursor")

    async def on_get(self, req: Any, resp: Any) -> None:
        query = Query(req.params, "q", "low", "below")
        low = query.choice("low", ("yes",)) is not None
        below = query.integer("below", low=0, high=LOW_MAX)
        if below is None:
            below = self.deps.settings.low_stock_below
        kind: Any = tuple[Units, Sku] if low else tuple[Sku]
        after = query.cursor(req.path, kind)
        rows = []
        if not query.errors:
            rows = await self._rows(query["q"], below if low else None, after)
        last = rows[PAGE_ROWS - 1] if len(rows) > PAGE_ROWS else None
        self.render(
            req, resp, "inventory.html", status=422 if query.errors else 200, query=query,
            rows=rows[:PAGE_ROWS], low=low or "below" in query.errors, below=below,
            first=query.link() if after else None,
            next=query.next_link(req.path, _position(last, low) if last else None),
        )  # fmt: skip

    async def _rows(self, prefix: str, below: int | None, after: Any) -> list[InventoryRow]:
        if prefix and _SKU.fullmatch(prefix) is None:
            return []
        run = self.deps.lists.run
        if below is None:
            start = after[0] if after else None
            return await run(lookup.stock_by_sku, prefix, start, PAGE_ROWS + 1)
        return await run(lookup.low_stock, prefix, below, after, PAGE_ROWS + 1)


def _position(last: InventoryRow, low: bool) -> tuple[Any, ...]:
    return (last.on_hand - last.allocated, last.sku) if low else (last.sku,)


class ProductPage(Page):
    """GET shows a product: its level now and over time, and its ledger."""

    fields = ("window", "cursor")

    async def on_get(self, req: Any, resp: Any, sku: str) -> None:
        await self.show(req, resp, sku)

    async def show(
        self,
        req: Any,
        resp: Any,
        sku: str,
        *,
        status: int = 200,
        written: dict[str, str] | None = None,
        errors: dict[str, str] | None = None,
    ) -> None:
        """The page; written, errors: of a form that can't be taken as it is."""
        product = await self.product(sku)
        query = Query(req.params, "window")
        window = query.choice("window", tuple(WINDOWS)) or "recent"
        path = f"/dashboard/inventory/{sku}"  # also where a form below it is shown again
        after = query.cursor(path, tuple[datetime, CommandId, Location])
        ledger = await self.deps.lists.run(reads.movements_page, sku, after, PAGE_ROWS + 1)
        history = await self._history(sku, window)
        more = len(ledger) > PAGE_ROWS
        self.render(
            req, resp, "product.html", status=status, product=product, query=query,
            ledger=ledger[:PAGE_ROWS], window=window, windows=WINDOW_WORDS, history=history,
            drawing=draw(history.levels), low_below=self.deps.settings.low_stock_below,
            reasons=REASONS, written=written or {"delta": "", "reason": ""}, errors=errors or {},
            first=query.link() if after else None,
            next=query.next_link(path, _ledger_position(ledger) if more else None),
        )  # fmt: skip

    async def product(self, sku: str) -> InventoryRow:
        """A product. Raises Problem (404)."""
        row = await self.deps.found.inventory(sku) if _SKU.fullmatch(sku) else None
        if row is None:
            raise not_found(f"There is no product {sku[:64]}.")
        return row

    async def _history(self, sku: str, window: str) -> lookup.History:
        back = WINDOWS[window]
        since = datetime.now(UTC) - back if back else None
        rows_max = lookup.MOVEMENTS_COUNTED_MAX if back else lookup.MOVEMENTS_COUNTED_MAX // 10
        return await self.deps.lists.run(lookup.levels, sku, since, STEPS, rows_max)


def _ledger_position(ledger: Sequence[Any]) -> tuple[Any, ...]:
    at, location, *_, command_id = ledger[PAGE_ROWS - 1]
    return at, command_id, location


class Adjust(ProductPage):
    """POST puts units on hand or takes them off."""

    form = ("delta", "reason")

    async def on_get(self, req: Any, resp: Any, sku: str) -> None:
        """A reload of a form that was refused leads to the product."""
        await self.show(req, resp, sku)

    async def on_post(self, req: Any, resp: Any, sku: str) -> None:
        await self.product(sku)
        form = req.context.form
        written = {"delta": form.text("delta"), "reason": form.text("reason")}
        delta, errors = _checked(written)
        if errors:
            await self.show(req, resp, sku, status=422, written=written, errors=errors)
            return
        members = {"sku": sku, "delta": delta, "reason": written["reason"]}
        back = f"/dashboard/inventory/{sku}"
        await act(self.deps, req, resp, Wanted(AdjustStock, members, None), back)


def _checked(written: dict[str, str]) -> tuple[int, dict[str, str]]:
    errors = {}
    delta = whole_number(written["delta"])
    if not written["delta"]:
        errors["delta"] = "How many units? Above 0 puts them on hand, below takes them off."
    elif delta is None or abs(delta) > DELTA_MAX:
        errors["delta"] = f"A whole number, {DELTA_MAX:,} at most, such as 20 or -1,500."
    elif delta == 0:
        errors["delta"] = "0 would change nothing."
    if written["reason"] not in REASONS:
        errors["reason"] = "Why? It is kept in the ledger."
    elif delta and written["reason"] not in (allowed := allowed_reasons(delta)):
        what = "put units on hand" if delta > 0 else "take units off"
        errors["reason"] = f"To {what}, choose one of: {', '.join(allowed)}."
    return delta or 0, errors


class LevelData(ProductPage):
    """GET gives a product's level over time as the charts of app.js take it."""

    for_people = False

    async def on_get(self, req: Any, resp: Any, sku: str) -> None:
        await self.product(sku)
        query = Query(req.params, "window")
        window = query.choice("window", tuple(WINDOWS)) or "recent"
        history = await self._history(sku, window)
        resp.content_type = "application/json"
        resp.data = msgspec.json.encode(plotted(history.levels))


def routes(deps: Deps) -> Routes:
    return {
        "/dashboard/inventory": InventoryPage(deps),
        "/dashboard/inventory/{sku}": ProductPage(deps),
        "/dashboard/inventory/{sku}/adjust": Adjust(deps),
        "/dashboard/inventory/{sku}/levels.json": LevelData(deps),
    }
