"""What a finished run is judged by: what clients were told, and what the database holds."""

from collections import defaultdict
from datetime import datetime
from pathlib import Path
from typing import Any, Final, NamedTuple

from tests.torture.history import Asked, Blackout, Event, Seen, read
from tests.torture.rig import Rig

COMMANDS: Final = """
SELECT id::text, kind, status, target, substr(problem->>'type', 11) FROM commands
"""
ORDERS: Final = """
SELECT o.id::text, o.customer_id, o.status, o.version,
       coalesce((SELECT array_agg(substr(e.type, 7) ORDER BY e.sequence) FROM order_events AS e
        WHERE e.placed_at = o.placed_at AND e.order_id = o.id), '{}'),
       (SELECT jsonb_object_agg(sku, units) FROM (
            SELECT sku, sum(quantity) AS units FROM order_lines AS l
            WHERE l.placed_at = o.placed_at AND l.order_id = o.id GROUP BY sku) AS lines)
FROM orders AS o
"""
MOVEMENTS: Final = """
SELECT command_id::text, order_id::text, sku, on_hand_delta, reason FROM stock_movements
"""
LETTERS: Final = "SELECT actor, command_ids::text[], error, state FROM dead_letters"
PUT_BACK: Final = "SELECT unnest(command_ids)::text FROM dead_letters WHERE state = 'retried'"
PRICES: Final = "SELECT sku, unit_price FROM products"
MOVED_AT: Final = "SELECT command_id::text, at FROM stock_movements WHERE order_id IS NULL"


class OrderRow(NamedTuple):
    """An order as the database has it. events: its timeline, oldest first; lines: units by SKU."""

    id: str
    customer: str
    status: str
    version: int
    events: list[str]
    lines: dict[str, int]


class CommandRow(NamedTuple):
    """A command's outcome. target: the order that is moved, the SKU; problem: why not."""

    kind: str
    status: str
    target: str | None
    problem: str | None = None


class MovementRow(NamedTuple):
    """A line of the ledger."""

    command_id: str
    order_id: str | None
    sku: str
    on_hand: int
    reason: str


class Letter(NamedTuple):
    """A failure on record."""

    actor: str
    command_ids: list[str]
    error: str
    state: str


class World(NamedTuple):
    """All of it. orders and commands by their ids; prices: of products, by SKU, minor units;
    moved_at: when a command changed the stock; put_back: ids of commands that had failed when an
    operator put them back."""

    asked: list[Asked]
    events: list[Event]
    seen: list[Seen]
    blackouts: list[Blackout]
    orders: dict[str, OrderRow]
    commands: dict[str, CommandRow]
    movements: list[MovementRow]
    letters: list[Letter]
    prices: dict[str, int]
    moved_at: dict[str, datetime]
    put_back: set[str]


def look(rig: Rig, history: Path) -> World:
    """Read a history and the database beside it."""
    told: dict[type, list[Any]] = defaultdict(list)
    for record in read(history):
        told[type(record)].append(record)
    return World(
        told[Asked],
        told[Event],
        told[Seen],
        told[Blackout],
        {row[0]: OrderRow(*row) for row in rig.sql(ORDERS)},
        {row[0]: CommandRow(*row[1:]) for row in rig.sql(COMMANDS)},
        [MovementRow(*row) for row in rig.sql(MOVEMENTS)],
        [Letter(*row) for row in rig.sql(LETTERS)],
        dict(rig.sql(PRICES)),
        dict(rig.sql(MOVED_AT)),
        {id_ for (id_,) in rig.sql(PUT_BACK)},
    )
