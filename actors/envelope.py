"""What a message on the wire looks like, checked whole before anything else sees it.

Stock Dramatiq trusts its envelope: `options: null`, an odd `throws` or a wrong queue name loops the
consumer, kills a worker thread or loses the message. A message that is not of this form is a
dead letter from the start.
"""

from typing import Annotated, Any

import msgspec
from dramatiq.encoder import Encoder
from dramatiq.errors import DecodeError

Millis = Annotated[int, msgspec.Meta(ge=0)]
# Counted up once more it has to fit the record of a dead letter.
Retried = Annotated[int, msgspec.Meta(ge=0, le=1_000_000_000)]
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]


class Options(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """What retries and delays write. eta, requeue_timestamp: milliseconds since 1970."""

    retries: Retried | msgspec.UnsetType = msgspec.UNSET
    traceback: str | msgspec.UnsetType | None = msgspec.UNSET
    requeue_timestamp: Millis | msgspec.UnsetType = msgspec.UNSET
    eta: Millis | msgspec.UnsetType = msgspec.UNSET
    # Its last fault was one that passes by itself.
    passing: bool | msgspec.UnsetType = msgspec.UNSET


class Arguments(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """commands: the batch, left encoded for the actor; waits: how often it was put off."""

    commands: msgspec.Raw
    waits: Annotated[int, msgspec.Meta(ge=0)] = 0


class Envelope(msgspec.Struct, forbid_unknown_fields=True):
    """A message; the names are Dramatiq's."""

    queue_name: Name
    actor_name: Name
    args: Annotated[list[Any], msgspec.Meta(max_length=0)]
    kwargs: Arguments
    options: Options
    message_id: Name
    message_timestamp: Millis


_decoder = msgspec.json.Decoder(Envelope)
_encoder = msgspec.json.Encoder()


class EnvelopeEncoder(Encoder):
    """Dramatiq's encoder, strict on the way in."""

    def encode(self, data: dict[str, Any]) -> bytes:
        try:
            return _encoder.encode(data)
        except UnicodeEncodeError:
            # Dramatiq adds a traceback to a retry; an error's text may be no text at all.
            options = {k: v for k, v in data["options"].items() if k != "traceback"}
            return _encoder.encode({**data, "options": options})

    def decode(self, data: bytes) -> dict[str, Any]:
        try:
            envelope = _decoder.decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise DecodeError(f"not one of our messages: {error}", data, error) from error
        fields = msgspec.structs.asdict(envelope)
        fields["args"] = ()
        fields["kwargs"] = _given(envelope.kwargs)
        fields["options"] = _given(envelope.options)
        return fields


def _given(struct: msgspec.Struct) -> dict[str, Any]:
    return {
        name: value
        for name, value in msgspec.structs.asdict(struct).items()
        if value is not msgspec.UNSET and not (name == "waits" and value == 0)
    }
