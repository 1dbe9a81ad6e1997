"""Reading a request: its body, its headers and its query, all bounded and all strict."""

import base64
import binascii
import re
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any, Final, TypeVar

import msgspec

from actors.commands import KIB, METADATA_BYTES_MAX
from web.problems import Problem, from_validation, invalid_member, invalid_parameter

Receive = Callable[[], Awaitable[Any]]
T = TypeVar("T")
#: In a list, what its order is by.
Position = TypeVar("Position", bound=tuple[Any, ...])

BODY_MAX: Final = 256 * KIB
BATCH_BODY_MAX: Final = 4 * 1024 * KIB
WAIT_MAX_S: Final = 30
PAGE_DEFAULT: Final = 50
PAGE_MAX: Final = 200


def whole_body(receive: Receive) -> Receive:
    """ASGI's `receive`, with which a body that breaks off is none, whatever has come of it.

    Falcon takes a disconnect for the body's end. JSON may be whole by then, and an order placed
    that its client was told had not come in time. Raises Problem.
    """
    due = False

    async def received() -> Any:
        nonlocal due
        event = await receive()
        if due and event["type"] == "http.disconnect":
            raise Problem(400, "bad-request", "Bad request", "The body broke off.")
        due = event.get("more_body", False)
        return event

    return received


async def read_body(
    req: Any,
    decoder: msgspec.json.Decoder[T],
    *,
    bytes_max: int = BODY_MAX,
    every_error: Callable[[bytes], list[dict[str, str]]] | None = None,
) -> T:
    """The body as what the decoder makes of it. Raises Problem: 400, 413, 415 or 422.

    every_error: looks at a body that breaks a rule once more, for all there is to say about it.
    """
    media_type = (req.content_type or "").partition(";")[0].strip().lower()
    if media_type != "application/json":
        raise Problem(
            415, "unsupported-media-type", "Unsupported media type",
            f"Send the body as application/json, not as {media_type or 'nothing in particular'}.",
        )  # fmt: skip
    if (req.content_length or 0) > bytes_max:
        raise _too_large(bytes_max)
    body = await req.stream.read(bytes_max + 1)
    if len(body) > bytes_max:
        raise _too_large(bytes_max)
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        _decode(body, msgspec.json.decode)  # a rule may be broken before the JSON is
        problem = from_validation(error)
        if every_error is not None:
            with suppress(msgspec.ValidationError):
                problem.document["errors"] = every_error(body) or problem.document["errors"]
        raise problem from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _decode(body, decoder.decode)


def _too_large(bytes_max: int) -> Problem:
    return Problem(
        413, "too-large", "Too large", f"A body may have {bytes_max // KIB} KiB here at most."
    )


def _decode(body: bytes, decode: Callable[[bytes], T]) -> T:
    try:
        return decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        detail = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise Problem(400, "not-json", "Not JSON", f"The body is not JSON: {detail}.") from None


def check_metadata(metadata: dict[str, str], pointer: str = "/metadata") -> None:
    """Raises Problem (422) where metadata is larger than it may be."""
    size = sum(len(key.encode()) + len(value.encode()) for key, value in metadata.items())
    if size > METADATA_BYTES_MAX:
        raise invalid_member(pointer, f"may have {METADATA_BYTES_MAX // KIB} KiB at most")


_PRINTABLE = re.compile(r"[\x20-\x7e]{1,255}")


def idempotency_key(req: Any) -> str | None:
    """The Idempotency-Key, None without. Raises Problem (422) for one that is none."""
    key = req.get_header("Idempotency-Key")
    if key is None:
        return None
    if _PRINTABLE.fullmatch(key) is None:
        raise invalid_parameter("Idempotency-Key", "has 1 to 255 printable ASCII characters")
    return str(key)


_WAIT = re.compile(r"(?:^|[,;])\s*wait\s*=\s*\"?([0-9]{1,6})\"?\s*(?=$|[,;])", re.IGNORECASE)


def wait_s(req: Any) -> int | None:
    """How long the client would wait for the decision (`Prefer: wait=N`), 30 s at most."""
    prefer = req.get_header("Prefer")
    match = _WAIT.search(prefer) if prefer else None
    return min(int(match[1]), WAIT_MAX_S) if match else None


_ETAG = re.compile(r'(?:W/)?"([0-9]{1,9})"')


def etag(version: int) -> str:
    """The entity tag of a version of an order."""
    return f'"{version}"'


def if_match_version(req: Any) -> int | None:
    """The version that If-Match names, None without one (or for `*`).

    An ETag that is none of ours matches nothing: 0, which no order has.
    """
    header = (req.get_header("If-Match") or "").strip()
    if header in ("", "*"):
        return None
    match = _ETAG.fullmatch(header)
    return int(match[1]) if match and not header.startswith("W/") else 0


def none_matches(req: Any, tag: str) -> bool:
    """Whether If-None-Match allows an answer with this ETag to have a body."""
    header = req.get_header("If-None-Match")
    if not header:
        return True
    tags = {part.strip().removeprefix("W/") for part in header.split(",")}
    return "*" not in tags and tag not in tags


def check_parameters(req: Any, *known: str) -> None:
    """Raises Problem (422) for a query parameter that is not known, or is there twice."""
    for name, value in req.params.items():
        if name not in known:
            raise invalid_parameter(name, f"unknown; there are {', '.join(known)}")
        if isinstance(value, list):
            raise invalid_parameter(name, "may be given once")
        if "\0" in value:
            raise invalid_parameter(name, "may not contain NUL")


def parameter(req: Any, name: str) -> str | None:
    value = req.params.get(name)
    return None if value is None else str(value)


def integer(req: Any, name: str, *, low: int, high: int) -> int | None:
    """A whole number from low to high. Raises Problem (422)."""
    text = parameter(req, name)
    if text is None:
        return None
    if not re.fullmatch(r"-?[0-9]{1,16}", text) or not low <= int(text) <= high:
        raise invalid_parameter(name, f"a whole number from {low} to {high}")
    return int(text)


def instant(req: Any, name: str) -> datetime | None:
    """A time as RFC 3339 has it, with its offset. Raises Problem (422)."""
    text = parameter(req, name)
    if text is None:
        return None
    try:
        # A plus sign in a query means a space, unless it was escaped.
        moment = msgspec.convert(text.replace(" ", "+"), datetime)
        if moment.tzinfo is None:
            raise invalid_parameter(name, "needs an offset, such as Z")
        return moment.astimezone(UTC)
    except (msgspec.ValidationError, OverflowError):
        raise invalid_parameter(name, "a time such as 2026-11-23T14:00:00Z") from None


def limit(req: Any) -> int:
    """How many items a page has."""
    return integer(req, "limit", low=1, high=PAGE_MAX) or PAGE_DEFAULT


def write_cursor(position: tuple[Any, ...]) -> str:
    """A position in a list as an opaque word."""
    return base64.urlsafe_b64encode(msgspec.json.encode(position)).rstrip(b"=").decode()


def read_cursor(req: Any, kind: type[Position]) -> Position | None:
    """The position that `cursor` names, None on the first page. Raises Problem (422)."""
    text = parameter(req, "cursor")
    return None if text is None else decode_cursor(text, kind)


def decode_cursor(text: str, kind: type[Position]) -> Position:
    """A position from its opaque word. Raises Problem (422)."""
    try:
        padded = text + "=" * (-len(text) % 4)
        position: Position = msgspec.json.decode(
            base64.b64decode(padded, altchars=b"-_", validate=True), type=kind
        )
    except (binascii.Error, ValueError, msgspec.DecodeError, RecursionError):
        raise _no_cursor() from None
    # Those that we give out are in UTC; PostgreSQL does not know every offset that Python does.
    if any(isinstance(part, datetime) and part.utcoffset() != timedelta(0) for part in position):
        raise _no_cursor()
    return position


def _no_cursor() -> Problem:
    return invalid_parameter("cursor", "hand back a next_cursor as it was given")
