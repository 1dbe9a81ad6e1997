"""Just enough of AMQP 0-9-1 on the wire to cancel a client's consumer in RabbitMQ's name.

RabbitMQ cancels consumers of a quorum queue by itself from 4.3 on (a consumer that settles nothing
for too long); 3.10 does so only where a queue is deleted, and its messages with it.
"""

import re
import struct
from typing import NamedTuple

#: A method frame of basic.consume (class 60, method 20): channel, queue and consumer tag.
_CONSUME = re.compile(
    rb"\x01(?P<channel>..)....\x00\x3c\x00\x14\x00\x00.(?P<queue>holdfast\.[a-z.A-Z]+)"
    rb"(?P<tag_size>.)(?P<tag>ctag[0-9a-f.]+)",
    re.DOTALL,
)
#: One of channel.close (class 20, method 40): its consumers are gone.
_CLOSE = re.compile(rb"\x01(?P<channel>..)....\x00\x14\x00\x28", re.DOTALL)


class Consumer(NamedTuple):
    """A consumer as the client has asked for it. channel: as on the wire."""

    channel: bytes
    queue: str
    tag: bytes


def consumers(data: bytes) -> list[Consumer]:
    """The consumers that a client asks for in a piece of what it sends."""
    return [
        Consumer(m["channel"], m["queue"].decode(), m["tag"][: m["tag_size"][0]])
        for m in _CONSUME.finditer(data)
    ]


def closed_channels(data: bytes) -> set[bytes]:
    """The channels that a client closes in a piece of what it sends."""
    return {m["channel"] for m in _CLOSE.finditer(data)}


def cancel(consumer: Consumer) -> bytes:
    """The frame by which a broker cancels a consumer: basic.cancel, no answer wanted."""
    method = b"\x00\x3c\x00\x1e" + bytes([len(consumer.tag)]) + consumer.tag + b"\x01"
    return b"\x01" + consumer.channel + struct.pack(">I", len(method)) + method + b"\xce"
