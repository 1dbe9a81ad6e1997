"""All pages of the dashboard, each with something to see."""

from collections.abc import Callable
from typing import NamedTuple

from tests.browser.floor import CURSED_SKU, Floor


class Sight(NamedTuple):
    """A page. title: words of its heading; path: where it is."""

    title: str
    path: Callable[[Floor], str]


def _fixed(path: str) -> Callable[[Floor], str]:
    return lambda _floor: path


def _a_failure(floor: Floor) -> str:
    id_ = floor.count(
        "SELECT id FROM dead_letters WHERE state = 'failed' "
        "ORDER BY actor = 'place_orders' DESC, error_class DESC, id LIMIT 1"
    )
    return f"/dashboard/failures/{id_}"


PAGES = {
    "overview": Sight("Overview", _fixed("/dashboard")),
    "actors": Sight("Actors", _fixed("/dashboard/actors")),
    "failures": Sight("Failures", _fixed("/dashboard/failures")),
    "failures-list": Sight("Failures", _fixed("/dashboard/failures?view=list")),
    "failure": Sight("Error", _a_failure),
    "orders": Sight("Orders", _fixed("/dashboard/orders")),
    "order": Sight("Order", lambda floor: f"/dashboard/orders/{floor.confirmed}"),
    "inventory": Sight("Inventory", _fixed("/dashboard/inventory")),
    "product": Sight("MUG-01", _fixed("/dashboard/inventory/MUG-01")),
    "product-cursed": Sight(CURSED_SKU, _fixed(f"/dashboard/inventory/{CURSED_SKU}")),
    "workers": Sight("Workers", _fixed("/dashboard/workers")),
    "delayed": Sight("delayed", _fixed("/dashboard/delayed")),
    "audit": Sight("Audit", _fixed("/dashboard/audit")),
}
