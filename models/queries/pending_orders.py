"""What is known of orders that were accepted and not decided: what a worker has read of them."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

import msgspec

from models.database import array, fetch
from models.rules.ascii_text import from_ascii

ASKED = """
SELECT command_id::text, accepted_at, customer_id, body FROM undecided
WHERE command_id = ANY (%s::uuid[]) AND kind = 'place_order'
"""


class AskedOrder(NamedTuple):
    """What a client asked for. lines: (sku, quantity) pairs; None where that can't be read."""

    placed_at: datetime
    customer_id: str | None
    metadata: Mapping[str, str] | None
    lines: Sequence[tuple[str, int]] | None


class _Line(msgspec.Struct):
    sku: str
    quantity: int


class _Body(msgspec.Struct):
    lines: list[_Line]
    metadata: dict[str, str]


_bodies = msgspec.json.Decoder(_Body)


def asked_orders(ids: Sequence[str]) -> dict[str, AskedOrder]:
    """What is known of orders, by id; nothing of one that no worker has met yet."""
    return {
        id_: _asked_order(placed_at, customer_id, body)
        for id_, placed_at, customer_id, body in (fetch(ASKED, (array(ids),)) if ids else ())
    }


def _asked_order(placed_at: datetime, customer_id: str | None, body: str | None) -> AskedOrder:
    customer = None if customer_id is None else from_ascii(customer_id)
    try:
        order = _bodies.decode(body or "")
    except msgspec.DecodeError:  # why it is not decided may be that it can't be read
        return AskedOrder(placed_at, customer, None, None)
    lines = [(line.sku, line.quantity) for line in order.lines]
    return AskedOrder(placed_at, customer, order.metadata, lines)
