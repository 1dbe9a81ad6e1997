"""Rows as the contract shows them."""

from collections.abc import Mapping
from typing import Any

from models.queries.orders import OrderRow
from models.queries.pending_orders import AskedOrder
from models.queries.reads import FoundCommand, FoundOrder, InventoryRow
from models.rules.order_status import FAILED, PENDING
from models.rules.refusals import STATUS_BY_SLUG
from web.types import CommandView, InventoryView, LineView, Links, OrderView


def order_link(order_id: str) -> str:
    return f"/v1/orders/{order_id}"


def command_link(command_id: str) -> str:
    return f"/v1/commands/{command_id}"


def inventory_link(sku: str) -> str:
    return f"/v1/inventory/{sku}"


def order_view(order_id: str, found: FoundOrder | None) -> OrderView:
    """An order that was accepted: as it stands, or pending."""
    if found is None:
        return OrderView(order_id, PENDING)
    if found.outcome == PENDING:
        return _pending_view(order_id, _asked(found))
    if found.order is None:
        return OrderView(order_id, FAILED)
    row: OrderRow = found.order
    return OrderView(
        id=row.id,
        status=row.status,
        customer_id=row.customer_id,
        currency=row.currency,
        total=row.total,
        version=row.version,
        placed_at=row.placed_at,
        updated_at=found.updated_at,
        metadata=dict(row.metadata),
        lines=[LineView(*line) for line in row.lines],
        rejection=None if row.rejection is None else dict(row.rejection),
    )


def _asked(found: FoundOrder) -> AskedOrder | None:
    """What was asked for; of a failed order that was put back, its row says so."""
    row = found.order
    if row is None:
        return found.asked
    lines = [(line.sku, line.quantity) for line in row.lines]
    return AskedOrder(row.placed_at, row.customer_id, row.metadata, lines)


def _pending_view(order_id: str, asked: AskedOrder | None) -> OrderView:
    if asked is None:
        return OrderView(order_id, PENDING)
    return OrderView(
        id=order_id,
        status=PENDING,
        customer_id=asked.customer_id,
        placed_at=asked.placed_at,
        metadata=None if asked.metadata is None else dict(asked.metadata),
        lines=None if asked.lines is None else [
            LineView(sku, quantity, None, None) for sku, quantity in asked.lines
        ],
    )  # fmt: skip


def inventory_view(row: InventoryRow) -> InventoryView:
    return InventoryView(
        sku=row.sku,
        name=row.name,
        unit_price=row.unit_price,
        currency=row.currency,
        on_hand=row.on_hand,
        allocated=row.allocated,
        available=row.on_hand - row.allocated,
        updated_at=row.updated_at,
    )


def refusal_view(document: Mapping[str, Any]) -> dict[str, Any]:
    """A recorded problem with the status that it would be answered with by itself."""
    slug = str(document["type"]).rpartition("/")[2]
    return {**document, "status": STATUS_BY_SLUG[slug]}


def command_view(
    command_id: str, found: FoundCommand | None, kind: str | None = None
) -> CommandView:
    """A command that was accepted: its outcome, or pending."""
    if found is None:
        return CommandView(command_id, kind, PENDING, Links(self=command_link(command_id)))
    links = Links(self=command_link(command_id))
    if found.kind == "place_order":
        links.order = order_link(command_id)
    elif found.kind == "move_order":
        links.order = order_link(found.target or "")
    else:
        links.inventory = inventory_link(found.target or "")
    problem = refusal_view(found.problem) if found.problem else None
    return CommandView(command_id, found.kind, found.status, links, problem)
