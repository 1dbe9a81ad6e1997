"""Which orders are not to be refused before the changes of their products are all decided.

Placements overtake changes of products and stock, and for most of them nothing depends on it. But
what a client orders right after it made a product, and put stock to it, must not be refused for
want of either. Such an order is decided behind all changes that were accepted before it.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final, cast

from models.rules.allocation import Allocation, Decision, Level

#: For so long after a product was put, its stock may be on the way.
SETTING_UP: Final = timedelta(minutes=1)


def orders_behind(
    levels: Mapping[str, Level],
    decisions: Sequence[Decision],
    accepted_at: Mapping[str, datetime],
) -> set[str]:
    """The ids of the orders whose refusal may come of a change that is not decided yet.

    levels, decisions: as `allocate` takes and gives them; accepted_at: by order id. What is refused
    takes no stock, so without these orders all other decisions are the same.
    """
    return {
        decision.order_id
        for decision in decisions
        if not isinstance(decision, Allocation)
        and any(
            _is_new(levels.get(sku), accepted_at[decision.order_id])
            for sku in _short(decision.refusal.extra.get("lines"))
        )
    }


def _short(lines: object) -> list[str]:
    """The SKUs of which a refused order would have needed more."""
    return [line["sku"] for line in cast(list[dict[str, Any]], lines or [])]


def _is_new(level: Level | None, at: datetime) -> bool:
    """Whether a product was put so shortly before that its stock may be on the way, or itself."""
    return level is None or (level.put_at is not None and at - level.put_at < SETTING_UP)
