"""Rows as the contract shows them."""

from typing import Any

from models.queries.orders import OrderRow
from models.queries.reads import FoundCommand, FoundOrder, InventoryRow
from models.rules.order_status import FAILED, PENDING
from web.types import CommandView, InventoryView, LineView, Links, OrderView


def order_link(order_id: str) -> str:
    return f"/v1/orders/{order_id}"


def command_link(command_id: str) -> str:
    return f"/v1/commands/{command_id}"


def inventory_link(sku: str) -> str:
    return f"/v1/inventory/{sku}"


def order_view(order_id: str, found: FoundOrder | None) -> OrderView:
    """An order that was accepted: as it stands, or pending."""
    if found is None or found.outcome == PENDING:
        return OrderView(order_id, PENDING)
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
    problem: dict[str, Any] | None = found.problem
    return CommandView(command_id, found.kind, found.status, links, problem)
