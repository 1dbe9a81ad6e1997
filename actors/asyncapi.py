"""The AsyncAPI document: what goes through RabbitMQ, from the types that actors read it by."""

from typing import Final

from actors.commands import (
    LANES,
    MESSAGE_BYTES_MAX,
    MESSAGE_COMMANDS_MAX,
    PLACE_BEHIND,
    QUEUES,
    ROUTES,
    Command,
    PlaceOrder,
    Route,
)
from actors.envelope import Envelope
from actors.schemas import Schema, read
from config import VERSION
from models.rules.signing import HEAD

ABOUT: Final = """\
The messages between the front door and the actors, on RabbitMQ. They are the product's own: a
message that is not signed by one of its keys is put on record and goes nowhere. Applications place
orders over HTTP.

A message is a batch of commands of one kind, in Dramatiq's envelope. It goes through the default
exchange, persistent and mandatory, and is taken only once RabbitMQ has confirmed it. It may be
delivered more than once: a command takes effect once, by its id."""

LANE: Final = """ It has a single active consumer (x-single-active-consumer), and its messages \
are decided in order."""

#: By name: what a message carries, where it goes, and who sends it.
_MESSAGES: Final[dict[str, tuple[type[Command], Route, str]]] = {
    **{route.kind: (kind, route, "The front door") for kind, route in ROUTES.items()},
    "place_order_behind": (PlaceOrder, PLACE_BEHIND, ROUTES[PlaceOrder].actor),
}
_VERSION: Final = {"bindingVersion": "0.3.0"}
_ID: Final = "01995f3a-7c41-8b2e-9d05-4f1e6a7b8c9d"
_ORIGIN: Final = {"key_id": "k-17", "name": "Olga", "address": "192.0.2.17"}
#: One command of each kind, but for what all have.
_EXAMPLES: Final[dict[str, Schema]] = {
    "place_order": {
        "customer_id": "c-17",
        "lines": [{"sku": "MUG-01", "quantity": 2}],
        "metadata": {"channel": "web"},
    },
    "move_order": {"order_id": _ID, "to": "shipped", "if_version": 1},
    "put_product": {
        "sku": "MUG-01", "name": "Mug, 0.3 l", "unit_price": 1250, "currency": "EUR"
    },
    "adjust_stock": {"sku": "MUG-01", "delta": 100, "reason": "received"},
    "operate": {
        "origin": _ORIGIN,
        "action": {"do": "pause_queue", "queue": "holdfast.orders", "reason": "A count"},
    },
}  # fmt: skip


def document() -> Schema:
    """The whole document, ready to be encoded."""
    operations = {}
    for name, (_, route, sender) in _MESSAGES.items():
        channel = f"#/channels/{_channel_name(route.queue)}"
        parts = {
            "channel": {"$ref": channel},
            "messages": [{"$ref": f"{channel}/messages/{name}"}],
        }
        operations[f"send_{route.actor}"] = {
            "action": "send", **parts, "summary": f"{sender} publishes it.",
            "bindings": {"amqp": {"deliveryMode": 2, "mandatory": True, **_VERSION}},
        }  # fmt: skip
        operations[f"receive_{route.actor}"] = {
            "action": "receive", **parts, "summary": f"{route.actor} decides.",
        }  # fmt: skip
    return {
        "asyncapi": "3.0.0",
        "info": {"title": "Holdfast's messages", "version": VERSION, "description": ABOUT},
        "defaultContentType": "application/json",
        "channels": {_channel_name(queue): _channel(queue) for queue in QUEUES},
        "operations": operations,
        "components": {
            "messages": {
                name: _message(name, kind, route) for name, (kind, route, _) in _MESSAGES.items()
            },
            "schemas": _schemas(),
        },
    }


def _channel_name(queue: str) -> str:
    return queue.removeprefix("holdfast.")


def _channel(queue: str) -> Schema:
    names = [name for name, (_, route, _) in _MESSAGES.items() if route.queue == queue]
    form = {"durable": True, "exclusive": False, "autoDelete": False}
    return {
        "address": queue,
        "description": f"A quorum queue. {queue}.DQ has what waits for another try, "
        f"{queue}.XQ what was given up.{LANE if queue in LANES else ''}",
        "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in names},
        "bindings": {"amqp": {"is": "queue", "queue": {"name": queue, **form}, **_VERSION}},
    }


def _message(name: str, kind: type[Command], route: Route) -> Schema:
    return {
        "name": name,
        "title": kind.__name__,
        "summary": (kind.__doc__ or "").partition("\n")[0],
        "description": "On the wire its JSON stands behind a line with its signature, "
        "`hf1.<key id>.<MAC>` and a line's end: an HMAC-SHA256, in base64url without padding, of "
        "`hf1.<key id>`, a line's end and the JSON, byte for byte. So it is no JSON as a whole. "
        f"It is {MESSAGE_BYTES_MAX // 1024:,} KiB at most.",
        "contentType": "application/json",
        "x-signature": {
            "line": HEAD.pattern.decode(), "algorithm": "HMAC-SHA256", "encoding": "base64url"
        },
        "payload": {
            "allOf": [
                {"$ref": "#/components/schemas/Envelope"},
                {"properties": {
                    "queue_name": {"const": route.queue},
                    "actor_name": {"const": route.actor},
                    "kwargs": {"properties": {"commands": {
                        "type": "array",
                        "items": {"$ref": f"#/components/schemas/{kind.__name__}"},
                        "minItems": 1,
                        "maxItems": MESSAGE_COMMANDS_MAX,
                    }}},
                }},
            ]
        },
        "examples": [{"name": "one", "payload": _example(route)}],
    }  # fmt: skip


def _schemas() -> dict[str, Schema]:
    schemas = read([Envelope, *ROUTES])
    # AsyncAPI names the member alone; the values are in the schemas it leads to.
    action = schemas["Operate"]["properties"]["action"]
    action["discriminator"] = action["discriminator"]["propertyName"]
    return schemas


def _example(route: Route) -> Schema:
    command = {"id": _ID, "at": "2026-11-23T14:00:00.123456Z", **_EXAMPLES[route.kind]}
    return {
        "queue_name": route.queue,
        "actor_name": route.actor,
        "args": [],
        "kwargs": {"commands": [command]},
        "options": {},
        "message_id": "3b0c6a52-5a3e-4d0e-9a55-1f0a6c6b7f10",
        "message_timestamp": 1_795_874_400_123,
    }
