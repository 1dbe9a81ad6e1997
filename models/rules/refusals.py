"""Why a command can be decided against: named results, recorded as outcomes, never raised."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, NamedTuple

Json = Mapping[str, object]


class Refusal(NamedTuple):
    """A decision against a command, in the words of RFC 9457.

    slug: names the problem type, `/problems/<slug>`; status: what HTTP says of it;
    extra: further members of the problem document.
    """

    slug: str
    title: str
    status: int
    detail: str
    extra: Json = MappingProxyType({})

    def document(self) -> dict[str, object]:
        """The problem as it is stored and shown, without its HTTP status."""
        return {
            "type": f"/problems/{self.slug}",
            "title": self.title,
            "detail": self.detail,
            **self.extra,
        }


INSUFFICIENT_STOCK: Final = "insufficient-stock"
STOCK_LIMIT: Final = "stock-limit"
UNKNOWN_SKU: Final = "unknown-sku"
MIXED_CURRENCIES: Final = "mixed-currencies"
ILLEGAL_TRANSITION: Final = "illegal-transition"
SUPERSEDED: Final = "superseded"
PRECONDITION_FAILED: Final = "precondition-failed"
UNKNOWN_ORDER: Final = "unknown-order"
PROCESSING_FAILED: Final = "processing-failed"
UNKNOWN_QUEUE: Final = "unknown-queue"
UNKNOWN_ACTOR: Final = "unknown-actor"
NOT_TO_BE_STOPPED: Final = "not-to-be-stopped"
NOT_PAUSED: Final = "not-paused"
NOTHING_MATCHES: Final = "nothing-matches"

STATUS_BY_SLUG: Final[Mapping[str, int]] = {
    INSUFFICIENT_STOCK: 409,
    STOCK_LIMIT: 409,
    UNKNOWN_SKU: 409,
    MIXED_CURRENCIES: 409,
    ILLEGAL_TRANSITION: 409,
    UNKNOWN_ORDER: 409,
    SUPERSEDED: 409,
    PRECONDITION_FAILED: 412,
    PROCESSING_FAILED: 500,
    UNKNOWN_QUEUE: 409,
    UNKNOWN_ACTOR: 409,
    NOT_TO_BE_STOPPED: 409,
    NOT_PAUSED: 409,
    NOTHING_MATCHES: 409,
}

_TITLES: Final[Mapping[str, str]] = {
    INSUFFICIENT_STOCK: "Not enough stock",
    STOCK_LIMIT: "Stock limit exceeded",
    UNKNOWN_SKU: "Unknown SKU",
    MIXED_CURRENCIES: "Products of different currencies",
    ILLEGAL_TRANSITION: "That move is not allowed",
    UNKNOWN_ORDER: "Unknown order",
    SUPERSEDED: "A later change came first",
    PRECONDITION_FAILED: "The order has changed",
    PROCESSING_FAILED: "It could not be processed",
    UNKNOWN_QUEUE: "Unknown queue",
    UNKNOWN_ACTOR: "Unknown actor",
    NOT_TO_BE_STOPPED: "Operations can't be stopped",
    NOT_PAUSED: "That queue is not paused",
    NOTHING_MATCHES: "Nothing matches",
}


def refuse(slug: str, detail: str, **extra: object) -> Refusal:
    """A refusal of a known kind, with its own detail."""
    return Refusal(slug, _TITLES[slug], STATUS_BY_SLUG[slug], detail, extra)
