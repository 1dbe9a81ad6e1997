"""A message on the wire: what is not of our form is refused before anything else sees it."""

import json
from typing import Any

import msgspec
import pytest
from dramatiq.errors import DecodeError
from dramatiq.message import Message
from hypothesis import given
from hypothesis import strategies as st

from actors.envelope import EnvelopeEncoder, for_the_record, from_the_record
from models.rules.signing import MessageKey, SignatureError, Signer
from tests.conftest import signer

DROP = object()
encoder = EnvelopeEncoder(signer)


def wire(**changes: Any) -> bytes:
    """A good message as JSON, not signed yet, with fields changed or (DROP) taken out."""
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


MALFORMED_CONTENT = {
    "no JSON": b"not json",
    "nothing": b"",
    "null": b"null",
    "a list": b"[]",
    "text": b'"place_orders"',
    "invalid UTF-8": b'{"queue_name": "\xff\xfe"}',
    "invalid UTF-8 in a command": wire(kwargs={"commands": [{"id": "X"}]}).replace(b"X", b"\xff"),
    "UTF-8 cut short": wire(message_id="\N{EURO SIGN}").replace(b"\\u20ac", b"\xe2\x82"),
    "a lone surrogate": wire(message_id="x").replace(b'"x"', b'"\\ud800"'),
    "JSON cut short": wire()[:-7],
    "JSON twice": wire() * 2,
    "nested deeply": deep(100_000),
    "pickle": b"\x80\x04\x95\x00",
    "options null": wire(options=None),
    "options a list": wire(options=[]),
    "options missing": wire(options=DROP),
    "retries text": wire(options={"retries": "3"}),
    "retries null": wire(options={"retries": None}),
    "retries negative": wire(options={"retries": -1}),
    "retries beyond reason": wire(options={"retries": 10**12}),
    "eta text": wire(options={"eta": "soon"}),
    "eta null": wire(options={"eta": None}),
    "kwargs null": wire(kwargs=None),
    "kwargs missing": wire(kwargs=DROP),
    "kwargs a list": wire(kwargs=[]),
    "commands missing": wire(kwargs={}),
    "an unknown argument": wire(kwargs={"commands": [], "self": 1}),
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
#: Signed by a key of ours, and none of our messages all the same.
MALFORMED = {name: signer.sign(content) for name, content in MALFORMED_CONTENT.items()}

GOOD = signer.sign(wire())
OTHERS = Signer([MessageKey("0", b"of somebody else, and as long as any")])
UNKNOWN = Signer([MessageKey("gone", b"of somebody else, and as long as any")])
HEAD, CONTENT = GOOD.split(b"\n")
#: What is signed badly or not at all, and what its record says of it.
FORGED = {
    "not signed": (CONTENT, "no signature"),
    "nothing": (b"", "no signature"),
    "signed and nothing else": (HEAD, "no signature"),
    "of another version": (GOOD.replace(b"hf1", b"hf2", 1), "no signature"),
    "after a blank": (b" " + GOOD, "no signature"),
    "a line's end of Windows": (GOOD.replace(b"\n", b"\r\n", 1), "no signature"),
    "a MAC cut short": (HEAD[:-1] + b"\n" + CONTENT, "no signature"),
    "a MAC in other letters": (HEAD[:-1] + b"=\n" + CONTENT, "no signature"),
    "an id of odd letters": (GOOD.replace(b".0.", b".\xff.", 1), "no signature"),
    "an unknown key": (UNKNOWN.sign(CONTENT), "the unknown key id 'gone'"),
    "another's key of the same id": (OTHERS.sign(CONTENT), "does not match"),
    "the content changed": (HEAD + b"\n" + CONTENT.replace(b'"x"', b'"y"'), "does not match"),
    "the content longer": (GOOD + b" ", "does not match"),
    "signed twice": (signer.sign(GOOD)[:-1], "does not match"),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_a_message_that_is_none_of_ours_is_refused(name: str) -> None:
    with pytest.raises(DecodeError):
        encoder.decode(MALFORMED[name])


@pytest.mark.parametrize("name", FORGED)
def test_what_is_not_signed_by_us_is_refused_with_the_reason(name: str) -> None:
    body, reason = FORGED[name]

    with pytest.raises(DecodeError, match=reason) as caught:
        encoder.decode(body)

    assert isinstance(caught.value.__cause__, SignatureError)


def test_to_change_any_bit_of_a_message_is_to_have_it_refused() -> None:
    for at in range(len(GOOD)):
        for bit in range(8):
            forged = bytearray(GOOD)
            forged[at] ^= 1 << bit
            with pytest.raises(DecodeError):
                encoder.decode(bytes(forged))


@given(st.binary(max_size=200), st.booleans())
def test_any_bytes_are_refused_and_never_break_the_decoder(body: bytes, signed: bool) -> None:
    with pytest.raises(DecodeError):
        encoder.decode(signer.sign(body) if signed else body)


def test_a_key_signs_for_as_long_as_it_is_first_and_verifies_for_as_long_as_it_is_there() -> None:
    old, new = MessageKey("old", b"o" * 32), MessageKey("new", b"n" * 32)
    before, during, turned, after = (
        Signer(keys) for keys in ([old], [old, new], [new, old], [new])
    )

    assert before.verify(during.sign(b"x")) == b"x"
    assert during.verify(turned.sign(b"x")) == b"x"
    assert turned.verify(during.sign(b"x")) == b"x"
    assert after.verify(turned.sign(b"x")) == b"x"
    with pytest.raises(SignatureError, match="unknown key id 'old'"):
        after.verify(during.sign(b"x"))


def test_a_record_is_read_whatever_became_of_the_key_of_its_message() -> None:
    message: Message[None] = Message(**encoder.decode(GOOD))

    assert from_the_record(for_the_record(message)) == message
    with pytest.raises(DecodeError):
        from_the_record(b"not json")


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
        fields = encoder.decode(signer.sign(wire(**{field: value})))
    except DecodeError:
        return
    # What is taken can be handed to Dramatiq as it stands.
    assert isinstance(fields["options"], dict)
    assert isinstance(fields["kwargs"]["commands"], msgspec.Raw)
    assert fields["args"] == ()
    assert isinstance(fields["message_timestamp"], int)


def test_a_good_message_comes_back_as_it_was_sent_with_its_commands_left_encoded() -> None:
    sent: Message[None] = Message(
        queue_name="holdfast.transitions",
        actor_name="move_orders",
        args=(),
        kwargs={"commands": msgspec.Raw(b'[{"id":"x"}]')},
        options={"retries": 2, "traceback": "Traceback", "requeue_timestamp": 7, "eta": 9},
    )

    fields = encoder.decode(encoder.encode(sent.asdict()))

    assert bytes(fields["kwargs"].pop("commands")) == b'[{"id":"x"}]'
    assert fields == {**sent.asdict(), "kwargs": {}}


@pytest.mark.parametrize(
    "options",
    [
        {"max_retries": "many"},
        {"throws": 5},
        {"min_backoff": -1},
        {"on_retry_exhausted": "other"},
        {"pipe_target": {}},
        {"broker_priority": "high"},
        {"of_another_version": None},
    ],
)
def test_an_option_that_is_not_known_is_left_out_and_its_message_taken(
    options: dict[str, Any],
) -> None:
    body = signer.sign(wire(options={**options, "retries": 2}))

    assert encoder.decode(body)["options"] == {"retries": 2}


def test_options_that_were_not_given_are_not_made_up() -> None:
    fields = encoder.decode(GOOD)

    assert fields["options"] == {}
    assert list(fields["kwargs"]) == ["commands"]


def test_what_is_left_encoded_is_checked_for_being_json() -> None:
    broken = wire(kwargs={"commands": "HERE"}).replace(b'"HERE"', b"[1,,2]")

    with pytest.raises(DecodeError):
        encoder.decode(signer.sign(broken))
