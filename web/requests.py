"""Reading a request: its body, its headers and its query, all bounded and all strict."""

import re
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

import msgspec

from actors.commands import KIB, METADATA_BYTES_MAX, VERSIONS_MAX
from web.problems import Problem, invalid_parameter
from web.repeated_members import may_have_repeated
from web.request_policy import check_media_type
from web.wrong_bodies import DECODING, refusal, repeated

Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]
T = TypeVar("T")

BODY_MAX: Final = 256 * KIB
BATCH_BODY_MAX: Final = 4 * 1024 * KIB
WAIT_MAX_S: Final = 30


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


def head_only(send: Send) -> Send:
    """ASGI's `send` for an answer to HEAD: it ends behind its head, and so does a stream."""

    async def sent(event: Any) -> None:
        if event["type"] == "http.response.start":
            await send(event)
            await send({"type": "http.response.body"})

    return sent


async def read_body(req: Any, decoder: msgspec.json.Decoder[T], bytes_max: int = BODY_MAX) -> T:
    """The body as what the decoder makes of it. Raises Problem: 400, 413, 415 or 422."""
    check_media_type(req, "application/json")
    if (req.content_length or 0) > bytes_max:
        raise _too_large(bytes_max)
    body = await req.stream.read(bytes_max + 1)
    if len(body) > bytes_max:
        raise _too_large(bytes_max)
    return decode_body(body, decoder)


def decode_body(body: bytes, decoder: msgspec.json.Decoder[T]) -> T:
    """What the decoder makes of a body. Raises Problem: 400 or 422."""
    try:
        value = decoder.decode(body)
    except DECODING as error:
        raise refusal(body, error, decoder.type) from None
    if may_have_repeated(body, value) and (problem := repeated(body)):
        raise problem
    return value


def _too_large(bytes_max: int) -> Problem:
    return Problem(
        413, "too-large", "Too large", f"A body may have {bytes_max // KIB} KiB here at most."
    )


def metadata_errors(metadata: dict[str, str], pointer: str = "/metadata") -> list[dict[str, str]]:
    """[{"pointer", "detail"}] where metadata is larger than it may be."""
    size = sum(len(key.encode()) + len(value.encode()) for key, value in metadata.items())
    if size <= METADATA_BYTES_MAX:
        return []
    return [{"pointer": pointer, "detail": f"must be at most {METADATA_BYTES_MAX // KIB} KiB"}]


_PRINTABLE = re.compile(r"[\x20-\x7e]{1,255}")


def idempotency_key(req: Any) -> str | None:
    """The Idempotency-Key, None without. Raises Problem (422) for one that is none."""
    key = req.get_header("Idempotency-Key")
    if key is None:
        return None
    if _PRINTABLE.fullmatch(key) is None:
        raise invalid_parameter("Idempotency-Key", "must be 1 to 255 printable ASCII characters")
    return str(key)


_WAIT = re.compile(r"(?:^|[,;])\s*wait\s*=\s*\"?([0-9]{1,6})\"?\s*(?=$|[,;])", re.IGNORECASE)


def wait_s(req: Any) -> int | None:
    """How long the client would wait for the decision (`Prefer: wait=N`), 30 s at most."""
    prefer = req.get_header("Prefer")
    match = _WAIT.search(prefer) if prefer else None
    return min(int(match[1]), WAIT_MAX_S) if match else None


#: Of the header's start or rest: an entity tag, and what parts it from the next one.
_TAG = re.compile(r'(W/)?"([!#-~\x80-\xff]*)"[ \t]*(?:,[ \t,]*|$)')
_VERSION = re.compile(r"0|[1-9][0-9]{0,8}")


def etag(version: int) -> str:
    """The entity tag of a version of an order."""
    return f'"{version}"'


def _tags(header: str) -> list[tuple[str, str]] | None:
    """(`W/` or nothing, the text) of each entity tag in a list; None where it is no such list."""
    text = header.strip(" \t,")
    tags, at = [], 0
    while at < len(text):
        match = _TAG.match(text, at)
        if match is None:
            return None
        tags.append((match[1] or "", match[2]))
        at = match.end()
    return tags


def _condition(req: Any, name: str) -> list[tuple[str, str]] | None:
    """The tags that a header names, as of `_tags`, none of them for `*`; None without the header.
    Raises Problem (422) for what is neither."""
    header = req.get_header(name)
    if header is None:
        return None
    if header.strip() == "*":
        return []
    tags = _tags(header)
    if not tags or len(tags) > VERSIONS_MAX:
        raise invalid_parameter(name, 'must be * or entity tags in quotes, such as "3"')
    return tags


def if_match_versions(req: Any) -> int | tuple[int, ...] | None:
    """The versions that If-Match names, a number where it is one; None without it (or for `*`).

    A tag that is weak or none of ours matches nothing: 0 for those, which no order has. Raises
    Problem (422) for what is no tag at all.
    """
    tags = _condition(req, "If-Match")
    if not tags:
        return None
    named = {int(text) for weak, text in tags if not weak and _VERSION.fullmatch(text)} or {0}
    return named.pop() if len(named) == 1 else tuple(sorted(named))


def none_matches(req: Any, tag: str | None) -> bool:
    """Whether If-None-Match allows an answer to have a body. tag: the answer's ETag. Raises
    Problem (422) for what is no tag at all."""
    tags = _condition(req, "If-None-Match")
    if not tags:
        return tags is None
    return tag not in {f'"{text}"' for _, text in tags}
