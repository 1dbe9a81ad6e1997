"""The AsyncAPI document says what goes through RabbitMQ."""

import json
import re
from typing import Any

import pytest
from dramatiq.message import Message
from jsonschema import Draft202012Validator

from actors import asyncapi
from actors.commands import LANES, QUEUES, ROUTES, ROUTES_BY_ACTOR, decode
from actors.envelope import EnvelopeEncoder
from deploy.documents import ASYNCAPI, messages
from models.rules.signing import content_of
from tests.conftest import signer

DOCUMENT = asyncapi.document()
KINDS = list(ROUTES)


def payload(kind: type) -> tuple[dict[str, Any], dict[str, Any]]:
    """(schema, example) of the message that carries a kind of command."""
    message = DOCUMENT["components"]["messages"][ROUTES[kind].kind]
    schema = {**message["payload"], "components": DOCUMENT["components"]}
    return schema, message["examples"][0]["payload"]


def test_what_is_kept_is_current() -> None:
    assert ASYNCAPI.read_text() == messages()


def test_it_has_each_queue_with_who_sends_and_who_receives() -> None:
    channels = DOCUMENT["channels"]
    assert [channel["address"] for channel in channels.values()] == list(QUEUES)
    for route in ROUTES_BY_ACTOR.values():
        for action in ("send", "receive"):
            operation = DOCUMENT["operations"][f"{action}_{route.actor}"]
            name = operation["channel"]["$ref"].removeprefix("#/channels/")
            assert channels[name]["address"] == route.queue
            (message,) = operation["messages"]
            path, _, of_channel = message["$ref"].rpartition("/")
            assert path == f"#/channels/{name}/messages"
            content = DOCUMENT["components"]["messages"][of_channel]["payload"]["allOf"][1]
            assert content["properties"]["actor_name"] == {"const": route.actor}
            assert of_channel in channels[name]["messages"]


def test_it_says_which_queues_are_decided_in_order() -> None:
    ordered = {
        channel["address"] for channel in DOCUMENT["channels"].values()
        if "in order" in channel["description"]
    }  # fmt: skip
    assert ordered == LANES


@pytest.mark.parametrize("kind", KINDS)
def test_each_example_is_a_message_that_an_actor_reads(kind: type) -> None:
    schema, example = payload(kind)
    assert list(Draft202012Validator(schema).iter_errors(example)) == []

    # When it is signed and goes the way of every message
    encoder = EnvelopeEncoder(signer)
    read = encoder.decode(signer.sign(json.dumps(example).encode()))

    (command,) = decode(kind, Message(**read).kwargs["commands"])
    assert type(command) is kind


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_sent_is_what_it_says(kind: type) -> None:
    schema, example = payload(kind)
    fields = EnvelopeEncoder(signer).decode(signer.sign(json.dumps(example).encode()))

    sent = content_of(EnvelopeEncoder(signer).encode(Message(**fields).asdict()))

    assert list(Draft202012Validator(schema).iter_errors(json.loads(sent))) == []


def test_the_line_of_the_signature_is_as_it_says() -> None:
    signed = signer.sign(b"{}").decode()

    for message in DOCUMENT["components"]["messages"].values():
        line = re.match(message["x-signature"]["line"], signed)
        assert line is not None
        assert signed[line.end() :] == "{}"


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"queue_name": "holdfast.transitions"}, "queue_name"),
        ({"args": [1]}, "args"),
        ({"kwargs": {"commands": []}}, "commands"),
        ({"surprise": 1}, "surprise"),
    ],
)
def test_it_refuses_what_is_no_message(change: dict[str, Any], where: str) -> None:
    schema, example = payload(KINDS[0])

    (error,) = Draft202012Validator(schema).iter_errors({**example, **change})

    assert where in f"{error.json_path} {error.message}"
