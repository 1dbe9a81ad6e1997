"""Signed messages: `hf1.<key id>.<MAC>`, a line's end, then what is signed.

The MAC is an HMAC-SHA256 in base64url without padding. It covers the key's id and the whole
content, byte for byte: nothing is parsed before it is known to be ours.
"""

import hmac
import re
from base64 import urlsafe_b64encode
from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Final, NamedTuple

SECRET_LENGTH_MIN: Final = 32
#: Names the use of a derived key, so that no other use of its secret comes to the same one.
LABEL: Final = b"holdfast: key 0 of messages"
KEY_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,32}")

_VERSION: Final = b"hf1."
HEAD: Final = re.compile(rb"hf1\.([A-Za-z0-9_-]{1,32})\.([A-Za-z0-9_-]{43})\n")


class SignatureError(ValueError):
    """What came is not signed by one of our keys; the message says in which way."""


class MessageKey(NamedTuple):
    """A secret that signs messages, and the name by which they say so."""

    id: str
    secret: bytes


def parse_keys(text: str, derived: MessageKey) -> tuple[MessageKey, ...]:
    """Keys written as `id:secret` pairs by commas; the id of the derived one stands for that.

    Raises ValueError, which shows no secret.
    """
    parts = [part.strip() for part in text.split(",")]
    keys = [
        derived if part == derived.id else _parse_key(part, place)
        for place, part in enumerate(parts, 1)
    ]
    if len({key.id for key in keys}) < len(keys):
        raise ValueError("two keys have the same id")
    return tuple(keys)


def _parse_key(text: str, place: int) -> MessageKey:
    id_, colon, secret = text.partition(":")
    if not colon or KEY_ID.fullmatch(id_) is None:
        raise ValueError("write each key as id:secret; an id is 1 to 32 of A-Z a-z 0-9 _ -")
    if len(secret) < SECRET_LENGTH_MIN:
        # By its place: with the two swapped, what stands for the id is the secret.
        raise ValueError(
            f"the secret of pair {place}, id:secret, needs {SECRET_LENGTH_MIN} characters or more"
        )
    return MessageKey(id_, secret.encode())


def derive_key(secret: str) -> MessageKey:
    """The key of those who set none of their own, from a secret that has other uses, too."""
    return MessageKey("0", hmac.digest(secret.encode(), LABEL, sha256))


class Signer:
    """Signs with the first of its keys, verifies with all of them."""

    def __init__(self, keys: Sequence[MessageKey]) -> None:
        self._first = keys[0].id.encode()
        self._keys: Mapping[bytes, bytes] = {key.id.encode(): key.secret for key in keys}

    def sign(self, content: bytes) -> bytes:
        """The content behind its signature."""
        return b"".join((self._head(self._first, content), content))

    def verify(self, signed: bytes) -> bytes:
        """The content of what was signed with one of the keys. Raises SignatureError."""
        head = HEAD.match(signed)
        if head is None:
            raise SignatureError("no signature")
        id_, content = head[1], signed[head.end() :]
        if id_ not in self._keys:
            raise SignatureError(f"signed with the unknown key id {id_.decode()!r}")
        # As text: another spelling of the same MAC is none of ours either.
        if not hmac.compare_digest(head[0], self._head(id_, content)):
            raise SignatureError(f"its signature by the key {id_.decode()!r} does not match")
        return content

    def _head(self, id_: bytes, content: bytes) -> bytes:
        named = _VERSION + id_
        mac = hmac.new(self._keys[id_], named + b"\n", sha256)
        mac.update(content)
        return b"".join((named, b".", urlsafe_b64encode(mac.digest()).rstrip(b"="), b"\n"))


def content_of(body: bytes) -> bytes:
    """What stands behind a signature, verified or not: to be shown, never to be acted upon."""
    head = HEAD.match(body)
    return body if head is None else body[head.end() :]
