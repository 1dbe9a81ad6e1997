"""What a message on the wire looks like, checked whole before anything else sees it.

Stock Dramatiq trusts its envelope: `options: null`, an odd `throws` or a wrong queue name loops the
consumer, kills a worker thread or loses the message. A message that is not of this form, or not
signed by one of our keys (see models/rules/signing.py), is a dead letter from the start.
"""

from typing import Annotated, Any

import msgspec
from dramatiq.encoder import Encoder
from dramatiq.errors import DecodeError
from dramatiq.message import Message

from models.rules.signing import Signer

Millis = Annotated[int, msgspec.Meta(ge=0)]
# Counted up once more it has to fit the record of a dead letter.
Retried = Annotated[int, msgspec.Meta(ge=0, le=1_000_000_000)]
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]


class Options(msgspec.Struct, omit_defaults=True):
    """What retries and delays write. Times are in milliseconds since 1970.

    An option that is not known is left out, so that Dramatiq never sees it: while workers of two
    versions run side by side, what the newer one notes of a retry must not have the older one
    refuse the message. All else of an envelope is strict.
    """

    retries: Retried | msgspec.UnsetType = msgspec.UNSET
    traceback: str | msgspec.UnsetType | None = msgspec.UNSET
    requeue_timestamp: Millis | msgspec.UnsetType = msgspec.UNSET
    eta: Millis | msgspec.UnsetType = msgspec.UNSET
    # Its last fault was one that passes by itself.
    passing: bool | msgspec.UnsetType = msgspec.UNSET
    first_failed_at: Millis | msgspec.UnsetType = msgspec.UNSET
    # Its worker's process died of it whenever it ran: see actors/crashes.py.
    deadly: bool | msgspec.UnsetType = msgspec.UNSET


class Arguments(msgspec.Struct, forbid_unknown_fields=True):
    """commands: the batch, left encoded for the actor."""

    commands: msgspec.Raw


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
    """Dramatiq's encoder: signs on the way out, strict on the way in."""

    def __init__(self, signer: Signer) -> None:
        self._signer = signer

    def encode(self, data: dict[str, Any]) -> bytes:
        return self._signer.sign(_written(data))

    def decode(self, data: bytes) -> dict[str, Any]:
        try:
            return _read(self._signer.verify(data))
        except (ValueError, RecursionError) as error:
            raise DecodeError(f"not one of our messages: {error}", data, error) from error


def first_cause(error: BaseException) -> BaseException:
    """What was wrong with a message, without the wrappings of its decoders."""
    while isinstance(error, DecodeError) and error.__cause__ is not None:
        error = error.__cause__
    return error


def for_the_record(message: Message[Any]) -> bytes:
    """A message as its record keeps it: verified when it came in, and readable ever after."""
    return _written(message.asdict())


def from_the_record(content: bytes) -> Message[Any]:
    """A message that `for_the_record` wrote, whatever became of the key that it came with.

    Raises DecodeError.
    """
    try:
        return Message(**_read(content))
    except (ValueError, RecursionError) as error:
        raise DecodeError(f"not one of our messages: {error}", content, error) from error


def _written(fields: dict[str, Any]) -> bytes:
    try:
        return _encoder.encode(fields)
    except UnicodeEncodeError:
        # Dramatiq adds a traceback to a retry; an error's text may be no text at all.
        options = {k: v for k, v in fields["options"].items() if k != "traceback"}
        return _encoder.encode({**fields, "options": options})


def _read(content: bytes) -> dict[str, Any]:
    # The batch is left encoded, and with it whatever is no text.
    content.decode()
    envelope = _decoder.decode(content)
    fields = msgspec.structs.asdict(envelope)
    fields["args"] = ()
    fields["kwargs"] = _given(envelope.kwargs)
    fields["options"] = _given(envelope.options)
    return fields


def _given(struct: msgspec.Struct) -> dict[str, Any]:
    return {
        name: value
        for name, value in msgspec.structs.asdict(struct).items()
        if value is not msgspec.UNSET
    }
