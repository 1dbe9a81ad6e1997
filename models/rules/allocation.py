"""Which orders get stock: `allocate(levels, orders) -> decisions`, and what an adjustment may do.

All lines of an order or none, in arrival order, lines of the same SKU summed first.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import NamedTuple

from models.rules.refusals import (
    INSUFFICIENT_STOCK,
    MIXED_CURRENCIES,
    STOCK_LIMIT,
    UNKNOWN_SKU,
    Refusal,
    refuse,
)


class Level(NamedTuple):
    """The stock of one SKU at one location, with the price an order placed now would pay.

    on_hand, allocated: units, 0 <= allocated <= on_hand; unit_price: minor units of currency;
    put_at: when the product's latest PUT was accepted, None where that is not known.
    """

    sku: str
    location: str
    on_hand: int
    allocated: int
    unit_price: int
    currency: str
    put_at: datetime | None = None

    @property
    def available(self) -> int:
        return self.on_hand - self.allocated


class Demand(NamedTuple):
    """What one order asks for: (sku, quantity) pairs, each quantity at least 1."""

    order_id: str
    lines: list[tuple[str, int]]


class Allocation(NamedTuple):
    """An order that gets all its stock. total: minor units; units: quantity per SKU."""

    order_id: str
    currency: str
    total: int
    units: dict[str, int]


class Shortage(NamedTuple):
    """An order that gets none, and why."""

    order_id: str
    refusal: Refusal


Decision = Allocation | Shortage


def allocate(levels: Mapping[str, Level], orders: Iterable[Demand]) -> list[Decision]:
    """Decide each order in turn against what the orders before it left.

    levels: by SKU; a SKU that is not there is an unknown product. Returns one decision per
    order, in order. The levels given are not changed.
    """
    available = {sku: level.available for sku, level in levels.items()}
    decisions: list[Decision] = []
    for order in orders:
        units = _units_by_sku(order.lines)
        refusal = _refusal(levels, available, units)
        if refusal is not None:
            decisions.append(Shortage(order.order_id, refusal))
            continue
        total = 0
        currency = ""
        for sku, quantity in units.items():
            level = levels[sku]
            available[sku] -= quantity
            total += quantity * level.unit_price
            currency = level.currency
        decisions.append(Allocation(order.order_id, currency, total, units))
    return decisions


def _units_by_sku(lines: list[tuple[str, int]]) -> dict[str, int]:
    units: dict[str, int] = {}
    for sku, quantity in lines:
        units[sku] = units.get(sku, 0) + quantity
    return units


def _refusal(
    levels: Mapping[str, Level], available: Mapping[str, int], units: Mapping[str, int]
) -> Refusal | None:
    if all(available.get(sku, -1) >= quantity for sku, quantity in units.items()):
        currencies = {levels[sku].currency for sku in units}
        return None if len(currencies) == 1 else _mixed(currencies)
    if unknown := [sku for sku in units if sku not in levels]:
        return refuse(
            UNKNOWN_SKU,
            f"There is no product {', '.join(unknown)}.",
            lines=[{"sku": sku, "requested": units[sku], "available": 0} for sku in unknown],
        )
    currencies = {levels[sku].currency for sku in units}
    if len(currencies) > 1:
        return _mixed(currencies)
    short = [sku for sku, quantity in units.items() if available[sku] < quantity]
    asked = ", ".join(f"{units[sku]} of {sku} asked, {available[sku]} available" for sku in short)
    return refuse(
        INSUFFICIENT_STOCK,
        f"Not enough stock: {asked}.",
        lines=[{"sku": sku, "requested": units[sku], "available": available[sku]} for sku in short],
    )


def _mixed(currencies: Iterable[str]) -> Refusal:
    return refuse(
        MIXED_CURRENCIES,
        f"One order has one currency; these products are in {', '.join(sorted(currencies))}.",
    )


class StockChange(NamedTuple):
    """An adjustment asked for. delta: units put on hand (positive) or taken off (negative)."""

    command_id: str
    sku: str
    delta: int


def adjust(
    on_hand_and_allocated: Mapping[str, tuple[int, int]],
    changes: Iterable[StockChange],
    on_hand_max: int,
) -> list[Refusal | None]:
    """Decide each adjustment in turn; None means that it applies.

    Refused where the SKU is unknown, or where it would leave less on hand than is allocated,
    or more than on_hand_max units.
    """
    levels = dict(on_hand_and_allocated)
    decisions: list[Refusal | None] = []
    for change in changes:
        if change.sku not in levels:
            decisions.append(refuse(UNKNOWN_SKU, f"There is no product {change.sku}."))
            continue
        on_hand, allocated = levels[change.sku]
        refusal = _adjustment_refusal(change, on_hand, allocated, on_hand_max)
        if refusal is not None:
            decisions.append(refusal)
            continue
        levels[change.sku] = (on_hand + change.delta, allocated)
        decisions.append(None)
    return decisions


def _adjustment_refusal(
    change: StockChange, on_hand: int, allocated: int, on_hand_max: int
) -> Refusal | None:
    if change.delta > 0:
        # Returns go through whatever the bound: what is beyond it can still be taken off.
        if on_hand + change.delta <= on_hand_max:
            return None
        detail = (
            f"{change.sku} has {on_hand} units on hand; with {change.delta} more there would be "
            f"more than {on_hand_max}."
        )
        return refuse(STOCK_LIMIT, detail, on_hand=on_hand, on_hand_max=on_hand_max)
    if allocated <= on_hand + change.delta:
        return None
    available = on_hand - allocated
    detail = (
        f"{-change.delta} of {change.sku} asked, {available} available "
        f"({on_hand} on hand, {allocated} allocated to orders)."
    )
    line = {"sku": change.sku, "requested": -change.delta, "available": available}
    return refuse(INSUFFICIENT_STOCK, detail, lines=[line])
