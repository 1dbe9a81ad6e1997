"""One shop, shown throughout the document: what is asked of it and what it answers."""

from typing import Any, Final

from actors.commands import ON_HAND_MAX

ORDER_ID: Final = "01995f3a-7c41-8b2e-9d05-4f1e6a7b8c9d"
COMMAND_ID: Final = "01995f3a-9e07-8c11-a3f4-0b5d2e6c7a81"
LATER_ID: Final = "01995f3a-c218-8f5e-b7d0-6a1c4e9f2d35"
TRACE_PARENT: Final = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
TRACE_ID: Final = TRACE_PARENT[3:35]

Example = dict[str, Any]

_PLACED_AT: Final = "2026-11-23T14:00:00.123456Z"
_SHIPPED_AT: Final = "2026-11-23T15:30:00.654321Z"
_SHORT: Final = [{"sku": "MUG-01", "requested": 9, "available": 3}]
_UNKNOWN: Final = [{"sku": "MUG-99", "requested": 1, "available": 0}]

ORDER: Final[Example] = {
    "customer_id": "c-17",
    "lines": [{"sku": "MUG-01", "quantity": 2}],
    "metadata": {"channel": "web"},
}
ORDER_BATCH: Final[Example] = {
    "orders": [
        {**ORDER, "idempotency_key": "import-2026-11-23-1"},
        {"customer_id": "c-18", "lines": [{"sku": "MUG-01", "quantity": 1}]},
    ]
}
SHIP: Final[Example] = {"status": "shipped"}
RETURN: Final[Example] = {"status": "returned", "restock": False}
PRODUCT: Final[Example] = {"name": "Mug, 0.3 l", "unit_price": 1250, "currency": "EUR"}
ADJUSTMENT: Final[Example] = {"delta": 100, "reason": "received"}
REDUCTION: Final[Example] = {"quantity": 3, "reason": "damaged"}

ACCEPTED_ORDER: Final[Example] = {
    "id": ORDER_ID,
    "links": {"self": f"/v1/orders/{ORDER_ID}"},
    "status": "pending",
}
ACCEPTED: Final[Example] = {
    "id": COMMAND_ID,
    "links": {"self": f"/v1/commands/{COMMAND_ID}"},
    "status": "pending",
}
ACCEPTED_ORDERS: Final[Example] = {"orders": [ACCEPTED_ORDER]}
CONFIRMED: Final[Example] = {
    "id": ORDER_ID,
    "status": "confirmed",
    "customer_id": "c-17",
    "currency": "EUR",
    "total": 2500,
    "version": 1,
    "placed_at": _PLACED_AT,
    "updated_at": _PLACED_AT,
    "metadata": {"channel": "web"},
    "lines": [{"sku": "MUG-01", "quantity": 2, "unit_price": 1250, "location": "main"}],
    "rejection": None,
}
SHIPPED: Final[Example] = {
    **CONFIRMED, "status": "shipped", "version": 2, "updated_at": _SHIPPED_AT
}  # fmt: skip
REJECTED: Final[Example] = {
    **CONFIRMED,
    "status": "rejected",
    "currency": None,
    "total": None,
    "lines": [{"sku": "MUG-01", "quantity": 9, "unit_price": None, "location": None}],
    "rejection": {
        "type": "/problems/insufficient-stock",
        "title": "Not enough stock",
        "detail": "Not enough stock: 9 of MUG-01 asked, 3 available.",
        "lines": _SHORT,
    },
}
DECIDED_ORDERS: Final[Example] = {
    "orders": [
        {**ACCEPTED_ORDER, "status": "confirmed", "order": CONFIRMED},
        {
            **ACCEPTED_ORDER,
            "status": "rejected",
            "problem": {**REJECTED["rejection"], "status": 409},
        },
    ]
}
PENDING: Final[Example] = {**dict.fromkeys(CONFIRMED), "id": ORDER_ID, "status": "pending"}
ORDERS: Final[Example] = {"items": [CONFIRMED, REJECTED], "next_cursor": None}
TIMELINE: Final[Example] = {
    "items": [
        {"sequence": 1, "type": "order.confirmed", "at": _PLACED_AT, "data": {}},
        {
            "sequence": 2,
            "type": "order.shipped",
            "at": _SHIPPED_AT,
            "data": {"command_id": COMMAND_ID},
        },
    ]
}
STOCK: Final[Example] = {
    "sku": "MUG-01",
    **PRODUCT,
    "on_hand": 5,
    "allocated": 2,
    "available": 3,
    "updated_at": _PLACED_AT,
}
STOCKS: Final[Example] = {"items": [STOCK], "next_cursor": "WyIyMDI2LTExLTIzIiwiTVVHLTAxIl0"}
MOVEMENTS: Final[Example] = {
    "items": [
        {
            "at": _PLACED_AT,
            "location": "main",
            "on_hand_delta": 0,
            "allocated_delta": 2,
            "reason": "placed",
            "order_id": ORDER_ID,
            "command_id": ORDER_ID,
        }
    ],
    "next_cursor": None,
}
MOVE_REFUSED: Final[Example] = {
    "id": COMMAND_ID,
    "kind": "move_order",
    "status": "rejected",
    "links": {"self": f"/v1/commands/{COMMAND_ID}", "order": f"/v1/orders/{ORDER_ID}"},
    "problem": {
        "type": "/problems/illegal-transition",
        "title": "That move is not allowed",
        "status": 409,
        "detail": "The order is shipped; it can become delivered, returned, not cancelled.",
        "status_now": "shipped",
    },
}
LIVE: Final[Example] = {"status": "ok"}
READY: Final[Example] = {
    "status": "ok",
    "checks": {"broker": True, "database": True, "not_draining": True},
    "backlog": {"messages": 0},
}
NOT_READY: Final[Example] = {
    "status": "unavailable",
    "checks": {"broker": False, "database": True, "not_draining": True},
    "backlog": {"messages": None},
}

#: Members of problem documents beside type, title, status, detail and trace_id, by their slugs.
PROBLEM_MEMBERS: Final[dict[str, Example]] = {
    "repeated-member": {
        "errors": [{"pointer": "/lines/0/quantity", "detail": "appears more than once"}]
    },
    "invalid-request": {
        "errors": [
            {"pointer": "/lines/0/quantity", "detail": "must be a whole number from 1 to 1,000,000"}
        ]
    },
    "insufficient-stock": {"id": ORDER_ID, "lines": _SHORT},
    "stock-limit": {"id": COMMAND_ID, "on_hand": ON_HAND_MAX, "on_hand_max": ON_HAND_MAX},
    "unknown-sku": {"id": ORDER_ID, "lines": _UNKNOWN},
    "mixed-currencies": {"id": ORDER_ID},
    "illegal-transition": {"id": COMMAND_ID, "status_now": "shipped"},
    "unknown-order": {"id": COMMAND_ID},
    "superseded": {"id": COMMAND_ID, "superseded_by": LATER_ID},
    "processing-failed": {"id": COMMAND_ID},
}  # fmt: skip
