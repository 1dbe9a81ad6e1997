"""Orders that match as CSV, a row an order."""

from typing import Any, Final

import msgspec

from models.queries import reads
from models.queries.order_filter import OrderFilter, Position
from models.rules.currencies import decimal_amount
from web.dashboard.export import Export, as_csv, checked, written
from web.dashboard.orders import LIST_FIELDS, order_filter
from web.dashboard.page import Deps, Routes
from web.dashboard.query import Query
from web.types import OrderView
from web.views import order_view

COLUMNS: Final = (
    "id", "status", "customer_id", "placed_at", "updated_at", "version", "currency", "total",
    "total_minor_units", "units", "lines", "rejection", "metadata",
)  # fmt: skip
ROWS: Final = 500
#: A position that nothing comes after.
END: Final = "end"


class OrderExport(Export):
    """GET gives all orders that match, in the order of the list."""

    subject = "orders"
    media_type = "text/csv; charset=utf-8"
    ending = "csv"
    begin = as_csv([COLUMNS])
    fields = LIST_FIELDS

    async def wanted(self, req: Any) -> OrderFilter:
        query = Query(req.params, *self.fields)
        wanted = order_filter(query)
        checked(query)
        return wanted

    def piece(
        self, wanted: OrderFilter, after: Position | str | None
    ) -> tuple[bytes, Position | str]:
        while not isinstance(after, str):
            found, last = reads.orders_page(wanted, after, ROWS)
            after = END if last is None else last
            if found:
                return as_csv([_cells(order_view(id_, order)) for id_, order in found]), after
        return b"", END


def _cells(order: OrderView) -> list[str]:
    lines = order.lines or []
    rejection = order.rejection or {}
    values = (
        order.id, order.status, order.customer_id, order.placed_at, order.updated_at,
        order.version, order.currency,
        None if order.total is None else decimal_amount(order.total, order.currency), order.total,
        sum(line.quantity for line in lines) if lines else None,
        ", ".join(f"{line.quantity} x {line.sku}" for line in lines),
        rejection.get("detail"),
        msgspec.json.encode(order.metadata).decode() if order.metadata else "",
    )  # fmt: skip
    return [written(value) for value in values]


def routes(deps: Deps) -> Routes:
    return {"/dashboard/orders/export.csv": OrderExport(deps)}
