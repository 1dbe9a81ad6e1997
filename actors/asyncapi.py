"""The AsyncAPI document: what goes through RabbitMQ, from the types that actors read it by."""

from typing import Final

from actors.commands import (
    MESSAGE_BYTES_MAX,
    MESSAGE_COMMANDS_MAX,
    ROUTES,
    Command,
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
    channels = {route.actor: _channel(route) for route in ROUTES.values()}
    operations = {}
    for route in ROUTES.values():
        channel = {"$ref": f"#/channels/{route.actor}"}
        operations[f"send_{route.actor}"] = {
            "action": "send", "channel": channel, "summary": "The front door publishes it.",
            "bindings": {"amqp": {"deliveryMode": 2, "mandatory": True, **_VERSION}},
        }  # fmt: skip
        operations[f"receive_{route.actor}"] = {
            "action": "receive", "channel": channel, "summary": f"{route.actor} decides.",
        }  # fmt: skip
    return {
        "asyncapi": "3.0.0",
        "info": {"title": "Holdfast's messages", "version": VERSION, "description": ABOUT},
        "defaultContentType": "application/json",
        "channels": channels,
        "operations": operations,
        "components": {
            "messages": {route.kind: _message(kind, route) for kind, route in ROUTES.items()},
            "schemas": _schemas(),
        },
    }


def _channel(route: Route) -> Schema:
    queue = {"durable": True, "exclusive": False, "autoDelete": False}
    return {
        "address": route.queue,
        "description": f"A quorum queue. {route.queue}.DQ has what waits for another try, "
        f"{route.queue}.XQ what was given up.",
        "messages": {route.kind: {"$ref": f"#/components/messages/{route.kind}"}},
        "bindings": {"amqp": {"is": "queue", "queue": {"name": route.queue, **queue}, **_VERSION}},
    }


def _message(kind: type[Command], route: Route) -> Schema:
    return {
        "name": route.kind,
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
