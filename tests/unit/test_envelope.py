"""A message on the wire: what is not of our form is refused before anything else sees it."""

import json
from typing import Any

import msgspec
import pytest
from dramatiq.errors import DecodeError
from dramatiq.message import Message
from hypothesis import given
from hypothesis import strategies as st

from actors.envelope import EnvelopeEncoder

DROP = object()
encoder = EnvelopeEncoder()


def wire(**changes: Any) -> bytes:
    """A good message as JSON, with fields changed or (DROP) taken out."""
    fields: dict[str, Any] = {
        "queue_name": "holdfast.orders",
        "actor_name": "place_orders",
        "args": [],
        "kwargs": {"commands": [{"id": "x"}]},
        "options": {},
        "message_id": "0197f0c0",
        "message_timestamp": 1,
    }
    fields |= changes
    return json.dumps({k: v for k, v in fields.items() if v is not DROP}).encode()


def deep(levels: int) -> bytes:
    return wire(kwargs={"commands": "HERE"}).replace(b'"HERE"', b"[" * levels + b"]" * levels)


MALFORMED = {
    "no JSON": b"not json",
    "nothing": b"",
    "null": b"null",
    "a list": b"[]",
    "text": b'"place_orders"',
    "invalid UTF-8": b'{"queue_name": "\xff\xfe"}',
    "UTF-8 cut short": wire(message_id="\N{EURO SIGN}").replace(b"\\u20ac", b"\xe2\x82"),
    "a lone surrogate": wire(message_id="x").replace(b'"x"', b'"\\ud800"'),
    "JSON cut short": wire()[:-7],
    "JSON twice": wire() * 2,
    "nested deeply": deep(100_000),
    "pickle": b"\x80\x04\x95\x00",
    "options null": wire(options=None),
    "options a list": wire(options=[]),
    "options missing": wire(options=DROP),
    "max_retries text": wire(options={"max_retries": "many"}),
    "max_retries at all": wire(options={"max_retries": 0}),
    "throws odd": wire(options={"throws": 5}),
    "throws a name": wire(options={"throws": "ValueError"}),
    "retries text": wire(options={"retries": "3"}),
    "retries null": wire(options={"retries": None}),
    "retries negative": wire(options={"retries": -1}),
    "retries beyond reason": wire(options={"retries": 10**12}),
    "eta text": wire(options={"eta": "soon"}),
    "eta null": wire(options={"eta": None}),
    "min_backoff": wire(options={"min_backoff": -1}),
    "on_retry_exhausted": wire(options={"on_retry_exhausted": "other"}),
    "pipe_target": wire(options={"pipe_target": {}}),
    "broker_priority": wire(options={"broker_priority": "high"}),
    "kwargs null": wire(kwargs=None),
    "kwargs missing": wire(kwargs=DROP),
    "kwargs a list": wire(kwargs=[]),
    "commands missing": wire(kwargs={}),
    "an unknown argument": wire(kwargs={"commands": [], "self": 1}),
    "waits text": wire(kwargs={"commands": [], "waits": "1"}),
    "waits negative": wire(kwargs={"commands": [], "waits": -1}),
    "args null": wire(args=None),
    "args given": wire(args=[1]),
    "args missing": wire(args=DROP),
    "actor_name a number": wire(actor_name=5),
    "actor_name null": wire(actor_name=None),
    "actor_name empty": wire(actor_name=""),
    "actor_name missing": wire(actor_name=DROP),
    "actor_name endless": wire(actor_name="a" * 201),
    "queue_name null": wire(queue_name=None),
    "queue_name missing": wire(queue_name=DROP),
    "message_id a number": wire(message_id=1),
    "message_id missing": wire(message_id=DROP),
    "message_timestamp text": wire(message_timestamp="now"),
    "message_timestamp missing": wire(message_timestamp=DROP),
    "an unknown field": wire(extra=1),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_a_message_that_is_none_of_ours_is_refused(name: str) -> None:
    with pytest.raises(DecodeError):
        encoder.decode(MALFORMED[name])


@given(st.binary(max_size=200))
def test_any_bytes_are_refused_and_never_break_the_decoder(body: bytes) -> None:
    with pytest.raises(DecodeError):
        encoder.decode(body)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
        max_leaves=8,
    ),
    st.sampled_from(["args", "kwargs", "options", "queue_name", "actor_name", "message_timestamp"]),
)
def test_any_json_in_any_field_is_taken_or_refused_and_never_breaks_the_decoder(
    value: Any, field: str
) -> None:
    try:
        fields = encoder.decode(wire(**{field: value}))
    except DecodeError:
        return
    # What is taken can be handed to Dramatiq as it stands.
    assert isinstance(fields["options"], dict)
    assert isinstance(fields["kwargs"]["commands"], msgspec.Raw)
    assert fields["args"] == ()
    assert isinstance(fields["message_timestamp"], int)


def test_a_good_message_comes_back_as_it_was_sent_with_its_commands_left_encoded() -> None:
    sent: Message[None] = Message(
        queue_name="holdfast.moves",
        actor_name="move_orders",
        args=(),
        kwargs={"commands": msgspec.Raw(b'[{"id":"x"}]'), "waits": 3},
        options={"retries": 2, "traceback": "Traceback", "requeue_timestamp": 7, "eta": 9},
    )

    fields = encoder.decode(encoder.encode(sent.asdict()))

    assert bytes(fields["kwargs"].pop("commands")) == b'[{"id":"x"}]'
    assert fields == {**sent.asdict(), "kwargs": {"waits": 3}}


def test_options_and_waits_that_were_not_given_are_not_made_up() -> None:
    fields = encoder.decode(wire())

    assert fields["options"] == {}
    assert list(fields["kwargs"]) == ["commands"]


def test_what_is_left_encoded_is_checked_for_being_json() -> None:
    with pytest.raises(DecodeError):
        encoder.decode(wire(kwargs={"commands": "HERE"}).replace(b'"HERE"', b"[1,,2]"))
