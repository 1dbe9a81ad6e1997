"""Whatever reads bytes from outside, each as a function of bytes that raises what is a bug.

`test_decoders.py` runs them over the corpus and what Hypothesis makes up; run as a program, atheris
looks for bytes that take a way through the code that none took before (`make fuzz`).
"""

import asyncio
import logging
import os
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import dramatiq
import falcon.testing
import msgspec
from dramatiq.errors import DecodeError
from dramatiq.message import Message

from actors import commands, requeue, subjects
from actors.commands import ROUTES, CommandId
from actors.envelope import EnvelopeEncoder, for_the_record
from models.queries.dead_letters import Taken
from models.rules.signing import Signer, derive_key
from web.cursors import cursors_of
from web.ids import COMMAND, ORDER, IdMint
from web.problems import Problem
from web.requests import read_body
from web.types import MoveRequest, OrderBatchRequest, OrderRequest, ProductRequest

_BODIES = (OrderRequest, OrderBatchRequest, MoveRequest, ProductRequest)
_DECODERS = [msgspec.json.Decoder(kind) for kind in _BODIES]
_CURSORS = (tuple[datetime, CommandId], tuple[datetime, int], tuple[str, int])
_LIST = cursors_of("/list", {})
_MINT = IdMint(b"a-secret-for-fuzzing-that-is-long-enough")
_SIGNER = Signer([derive_key("a-secret-for-fuzzing-that-is-long-enough")])
_ENVELOPES = EnvelopeEncoder(_SIGNER)


def envelope(data: bytes) -> None:
    """What is taken can be sent on, and comes back the same; signed by us or as it comes."""
    for body_ in (data, _SIGNER.sign(data)):
        _envelope(body_)


def _envelope(data: bytes) -> None:
    with suppress(DecodeError):
        fields = _ENVELOPES.decode(data)
        again = _ENVELOPES.decode(_ENVELOPES.encode(fields))
        assert again["message_id"] == fields["message_id"]
        batch(bytes(fields["kwargs"]["commands"]))


def batch(data: bytes) -> None:
    """The argument of a message, as actors and the record of a failure read it."""
    raw = msgspec.Raw(data)
    assert all(isinstance(one.id, str) for one in commands.sketch(raw))
    assert len(subjects.subjects(raw)) <= subjects.SUBJECTS_MAX
    subjects.trace_id(raw)
    with suppress(ValueError, RecursionError):
        commands.split(raw)
    for kind in ROUTES:
        decode: Callable[[Any, msgspec.Raw], list[Any]] = commands.decode
        with suppress(ValueError, RecursionError):
            for command in decode(kind, raw):
                assert decode(kind, commands.join([commands.encode(command)])) == [command]


def dead_letter(data: bytes) -> None:
    """What is on record, read when it came or not, goes out again as it is or stays there."""
    before = dramatiq.get_encoder()
    dramatiq.set_encoder(_ENVELOPES)
    try:
        for actor, body_ in (("place_orders", data), ("", data), ("", _SIGNER.sign(data))):
            letter = Taken(1, "holdfast.orders", actor, body_)
            for message in requeue.read([letter]).values():
                assert Message.decode(message.encode()) == message
    finally:
        dramatiq.set_encoder(before)


def body(data: bytes) -> None:
    """A request's body: taken, or a problem that a client can be answered with."""
    for decoder in _DECODERS:
        req = falcon.testing.create_asgi_req(
            body=data, headers={"Content-Type": "application/json"}
        )
        try:
            asyncio.run(read_body(req, decoder))
        except Problem as problem:
            assert problem.status in (400, 413, 422)
            msgspec.json.encode(problem.document)


def cursor(data: bytes) -> None:
    text = data.decode("latin-1")
    for kind in _CURSORS:
        with suppress(Problem):
            _LIST.read(_LIST.digest + text, kind)


def identifier(data: bytes) -> None:
    """Nobody makes an id up."""
    text = data.decode("utf-8", "replace")
    assert not _MINT.is_ours(ORDER, text)
    assert not _MINT.is_ours(COMMAND, text)


HARNESSES: dict[str, Callable[[bytes], None]] = {
    function.__name__: function
    for function in (envelope, batch, dead_letter, body, cursor, identifier)
}

_COMMAND = (
    b'{"id":"0197f0c0-0000-8000-8000-000000000000","at":"2026-11-23T14:00:00Z",'
    b'"customer_id":"c-17","lines":[{"sku":"MUG-01","quantity":1}],"metadata":{"k":"\\u00e9"}}'
)
_ORDER = b'{"customer_id":"c-17","lines":[{"sku":"MUG-01","quantity":1}],"metadata":{}}'
_FIELDS: dict[str, Any] = {
    "queue_name": "holdfast.orders",
    "actor_name": "place_orders",
    "args": (),
    "kwargs": {"commands": msgspec.Raw(b"[" + _COMMAND + b"]")},
    "options": {"retries": 1, "traceback": "x"},
    "message_id": "m",
    "message_timestamp": 1,
}
_ODD = [b"", b"null", b"[]", b"{}", b"[" * 2000, b"\xff\xfe{\0}\0", b'{"a":1e400}', b'"\\ud800"',
        b'{"a":NaN,"a":1}', b"\xef\xbb\xbf{}", b"9" * 400]  # fmt: skip
CORPUS: dict[str, list[bytes]] = {
    "envelope": [*_ODD, _ENVELOPES.encode(_FIELDS)],
    "batch": [*_ODD, b"[" + _COMMAND + b"]", b"[" + _COMMAND + b",{}]"],
    "dead_letter": [
        *_ODD,
        for_the_record(Message(**_FIELDS)),
        _ENVELOPES.encode(_FIELDS),
        for_the_record(Message(**{**_FIELDS, "queue_name": "holdfast.transitions"})),
    ],
    "body": [*_ODD, _ORDER, b'{"orders":[' + _ORDER + b"]}", b'{"status":"shipped"}'],
    "cursor": [*_ODD, b"WyIyMDI2LTExLTIzVDE0OjAwOjAwWiIsIDFd", b"====", b"_-__"],
    "identifier": [*_ODD, b"0197f0c0-0000-8000-8000-000000000000", "٣".encode() * 36],
}


def main() -> None:
    """`NAME SECONDS` looks for so long and needs atheris; `NAME FILE` runs what it found once."""
    name, seconds = sys.argv[1:]
    if Path(seconds).is_file():
        HARNESSES[name](Path(seconds).read_bytes())
        return
    # What can't be read is told of, at every try.
    logging.disable()
    import atheris  # noqa: PLC0415 - in no environment but that of `make fuzz`

    atheris.instrument_all()
    with tempfile.TemporaryDirectory() as folder:
        for number, seed in enumerate(CORPUS[name]):
            Path(folder, str(number)).write_bytes(seed)
        found = f"-artifact_prefix={os.environ.get('FOUND', '.')}/{name}-"
        atheris.Setup(
            [name, f"-max_total_time={seconds}", "-max_len=4096", "-print_final_stats=0", found,
             folder],
            HARNESSES[name],
        )  # fmt: skip
        atheris.Fuzz()


if __name__ == "__main__":
    main()
