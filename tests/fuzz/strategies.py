"""Good requests and messages made odd, in what they hold and in how they are written."""

import base64
import uuid
from collections.abc import Sequence
from typing import Any, NamedTuple
from urllib.parse import quote, urlencode

import msgspec
from hypothesis import strategies as st

from models.rules.signing import Signer, derive_key
from tests.fuzz.mutations import damaged
from web.cursors import DIGEST_CHARACTERS

Document = dict[str, Any]

#: JSON as it may be written, and some that may not.
_LITERALS = [
    b"null", b"true", b"false", b"0", b"-0", b"-0.0", b"-1", b"1.0", b"1.5", b"1e2", b"1e400",
    b"-1e400", b"01", b"NaN", b"Infinity", b"-Infinity", b"9" * 400, b"9223372036854775807",
    b"9223372036854775808", b"18446744073709551616", b"1000000", b"1000001", b"-1000000000",
    b"[]", b"{}", b"[[]]", b'""', b'"\\u0000"', b'"\\ud800"', b'"x\\udc00x"', b'"\\ud83d\\ude00"',
    b'"\xff\xfe"', b'"\xed\xa0\x80"', b'"a\nb"', b"[" * 2000, b"[" * 200 + b"]" * 200,
    b'{"a":' * 200 + b"1" + b"}" * 200, b'"' + b"x" * 64 + b'"', b'"' + b"x" * 65 + b'"',
    b'"' + b"x" * 5000 + b'"', b'"\xe2\x80\xa8"', b'"MUG-01\\n"', b'"returned"', b'"cancelled"',
]  # fmt: skip
#: Times that one reader takes and another does not.
TIMES = [
    "2026-01-01T00:00:00Z", "2026-01-01T00:00:00", "2026-01-01T00:00:00+15:59",
    "2026-01-01T00:00:00+16:00", "2026-01-01T00:00:00+23:59", "2026-01-01T00:00:00-23:59",
    "0001-01-01T00:00:00Z", "0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59.999999Z",
    "9999-12-31T23:59:59-23:59", "2026-06-30T23:59:60Z", "1970-01-01 00:00:00Z", "2026-01-01",
]  # fmt: skip
_UNKNOWN = ["id", "at", "origin", "status", "sku", "", "$", "__class__", "traceparent", "a/b~c"]

_VALUES: st.SearchStrategy[Any] = st.one_of(
    st.sampled_from(_LITERALS).map(msgspec.Raw),
    st.sampled_from(TIMES),
    st.text(max_size=20),
    st.integers(-(2**66), 2**66).map(lambda number: msgspec.Raw(str(number).encode())),
    st.floats(allow_nan=False, allow_infinity=False),
    st.lists(st.text(max_size=3), max_size=3),
    st.dictionaries(st.text(max_size=3), st.text(max_size=3), max_size=3),
)


@st.composite
def changed(draw: st.DrawFn, good: Any) -> Any:
    """A document with one value in it replaced or left out, or one there that is not known."""
    if isinstance(good, dict | list) and good and draw(st.integers(0, 4)):
        copy: Any = good.copy()
        key = draw(st.sampled_from(list(good) if isinstance(good, dict) else range(len(good))))
        if isinstance(good, dict) and not draw(st.integers(0, 5)):
            del copy[key]
        else:
            copy[key] = draw(changed(good[key]))
        return copy
    if isinstance(good, dict) and draw(st.booleans()):
        return {**good, draw(st.sampled_from(_UNKNOWN) | st.text(max_size=8)): draw(_VALUES)}
    return draw(_VALUES)


@st.composite
def _member_twice(draw: st.DrawFn, good: Document) -> bytes:
    written = msgspec.json.encode(good)
    member = draw(st.sampled_from(list(good)))
    again = msgspec.json.encode({member: draw(_VALUES)})
    return written[:-1] + b"," + again[1:]


def _cut(written: bytes) -> st.SearchStrategy[bytes]:
    return st.integers(0, len(written) - 1).map(lambda end: written[:end])


def written(good: Document) -> st.SearchStrategy[bytes]:
    """A good document as it should not be written."""
    plain = msgspec.json.encode(good)
    return st.one_of(
        damaged(plain),
        _member_twice(good),
        _cut(plain),
        st.sampled_from([b"\0", b"x", b"}", plain, b" ", b"\n"]).map(lambda more: plain + more),
        st.sampled_from(["utf-8-sig", "utf-16", "utf-16-le", "utf-32"]).map(plain.decode().encode),
    )


def bodies(good: Document) -> st.SearchStrategy[bytes]:
    """A body: most often nearly good, good at times, or any bytes."""
    return st.one_of(
        changed(good).map(msgspec.json.encode),
        changed(good).flatmap(changed).map(msgspec.json.encode),
        written(good),
        st.just(msgspec.json.encode(good)),
        st.binary(max_size=200),
    )


_LATIN_1 = st.characters(min_codepoint=0x20, max_codepoint=0xFF, exclude_categories=["Cc"])
#: Whatever a client may write behind a header's name.
_HEADER_TEXT = st.text(_LATIN_1, max_size=40).map(str.strip)
_UUID = "0197f0c0-0000-8000-8000-000000000000"
_TRACE = "0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331"
HEADERS: dict[str, list[str]] = {
    "Prefer": ["wait", "wait=0", "wait=1", "wait=-1", "wait=1.5", 'wait="1"', "wait=0x1",
               "WAIT = 1", "respond-async, wait=0", "wait=1;wait=2", "wait=" + "9" * 300, ",;,="],
    "Idempotency-Key": ["", "k", "k" * 255, "k" * 256, '"k"', "k\tk", "\xe9", "%00", "k, k"],
    "If-Match": ["*", '"1"', 'W/"1"', '"0"', '"-1"', '"999999999"', '"9999999999"', '"1", "2"', "1",
                 '"\xb2"'],
    "If-None-Match": ["*", '"1"', 'W/"1"', ",,,", '"1" "2"', '"'],
    "Content-Type": ["", "application/json", "application/json; charset=utf-16", "APPLICATION/JSON",
                     "application/json;;;", "text/plain", "application/xml", "multipart/form-data",
                     "application/x-www-form-urlencoded", "application/problem+json", ";", "/"],
    "Accept": ["*/*", "", "text/html", "application/xml", "application/json;q=0", "nonsense",
               "q=,;/"],
    "Authorization": ["", "Bearer", "Bearer ", "Basic Og==", "Bearer \xe9", "Bearer x y",
                      "bearer x", "Bearer " + "x" * 9000, "Bearer hf_"],
    "traceparent": [f"00-{_TRACE}-01", f"01-{_TRACE}-01-more", f"ff-{_TRACE}-01", f"00-{_TRACE}-1",
                    f"00-{_TRACE.upper()}-01", "00-" + "0" * 32 + "-" + "0" * 16 + "-00", "-", ""],
    "tracestate": ["a=b", "a", "a=" + "b" * 600, ",,,"],
    "X-Forwarded-For": ["127.0.0.1", "::1", "1.2.3.4, 5.6.7.8", "unknown", "999.1.1.1", "a" * 300],
    "X-Forwarded-Proto": ["https", "http", "gopher", ""],
    "X-Forwarded-Host": ["example.com", "a b", "[::", ":0", "example.com:99999"],
    "Forwarded": ["for=1.2.3.4;host=x", 'for="', ";;=", "for=_x;by"],
    "Cookie": ["", "session=x", "session=%", ";=;", 'a="\\"'],
    "Range": ["bytes=0-1", "bytes=-", "x"],
    "X-HTTP-Method-Override": ["DELETE", "NONSENSE"],
    "Accept-Encoding": ["gzip", "identity;q=0", "*;q=0"],
}  # fmt: skip
Headers = list[tuple[bytes, bytes]]


@st.composite
def _header(draw: st.DrawFn) -> tuple[bytes, bytes]:
    name = draw(st.sampled_from(list(HEADERS)))
    value = draw(st.sampled_from(HEADERS[name]) | _HEADER_TEXT)
    return name.encode(), value.strip().encode("latin-1")


def headers() -> st.SearchStrategy[Headers]:
    """Headers as clients and gateways send them, and worse; some of them twice."""
    return st.lists(_header(), min_size=1, max_size=4)


@st.composite
def one_digit_off(draw: st.DrawFn, good: str) -> str:
    """An id in which another hex digit stands at one place."""
    place = draw(st.sampled_from([index for index, sign in enumerate(good) if sign != "-"]))
    digit = draw(st.sampled_from("0123456789abcdef".replace(good[place], "")))
    return good[:place] + digit + good[place + 1 :]


def _quoted(text: str) -> str:
    """A text as one segment; a client takes dots alone for a way up."""
    return quote(text, safe="").replace(".", "%2E")


def identifiers(good: str) -> st.SearchStrategy[str]:
    """A segment of a path, as it is written there, that should be nobody's id."""
    forms = [
        good.replace("-", ""), "{" + good + "}", "urn:uuid:" + good, good + "%0A",
        "%20" + good, good + "%00", good[:-1], good + "0", good[1:], good * 2, good[::-1],
        good.replace("-", "_"), quote(good.translate({0x30: 0xFF10, 0x31: 0x661})), good + "%2F",
        _UUID, "", "%2E", "%", "%zz", "%ff", "%C0%80", "%ED%A0%80", "%00", "null", "-1",
        "x" * 4_000,
    ]  # fmt: skip
    return st.one_of(
        one_digit_off(good),
        st.sampled_from([form for form in forms if form != good]),
        st.uuids().map(str),
        st.text(min_size=1, max_size=40).map(_quoted),
    )


def _word(position: Sequence[Any]) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode(position)).rstrip(b"=").decode()


@st.composite
def _bit_flipped(draw: st.DrawFn, good: str) -> str:
    content = bytearray(base64.urlsafe_b64decode(good + "=="))
    content[draw(st.integers(0, len(content) - 1))] ^= 1 << draw(st.integers(0, 7))
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def cursors(good: Sequence[str]) -> st.SearchStrategy[str]:
    """Where a list goes on, or does not. good: cursors that were given out."""
    last = st.sampled_from([_UUID, "MUG-01", "", "a\0b"]) | st.integers(-(2**66), 2**66).map(
        lambda number: msgspec.Raw(str(number).encode())
    )
    place = st.sampled_from(["main", "", "\0", "x" * 64])
    times = st.sampled_from(TIMES)
    words = st.tuples(times, last).map(_word) | st.tuples(times, st.just(_UUID), place).map(_word)
    digests = st.sampled_from([cursor[:DIGEST_CHARACTERS] for cursor in good])
    return st.one_of(
        st.sampled_from(good).flatmap(_bit_flipped),
        words,
        st.tuples(digests, words).map("".join),
        st.binary(max_size=60).map(lambda data: base64.b64encode(data).decode()),
        st.sampled_from(["", "=", "====", "A" * 4_000, "é", *good]),
    )


_NUMBERS = [
    "0",
    "1",
    "-1",
    "200",
    "201",
    "1.0",
    "1e3",
    "0x1",
    " 1",
    "+1",
    "٣",
    "9" * 400,
    "1_0",
    "",
]
_BARE = ["%", "%zz", "%ff", "%00", "&&", "=", "a", "%ED%A0%80", "+", "a=%C0%80", ";", "[]=1"]


@st.composite
def queries(draw: st.DrawFn, names: Sequence[str], good: Sequence[str]) -> str:
    """A query as it is written in an address. names: of parameters; good: as of `cursors`."""
    values = st.one_of(
        st.text(max_size=12), st.sampled_from(_NUMBERS), st.sampled_from(TIMES),
        st.sampled_from(["pending", "confirmed", "failed", "MUG", "a\0b", "x" * 400]),
    )  # fmt: skip
    known = st.sampled_from(["cursor", *names])
    pairs = []
    for _ in range(draw(st.integers(1, 3))):
        name = draw(known if draw(st.integers(0, 9)) else st.text(max_size=5))
        pairs.append((name, draw(cursors(good) if name == "cursor" else values)))
    bare = draw(st.sampled_from(_BARE)) if not draw(st.integers(0, 9)) else ""
    return urlencode(pairs) + bare


class Sent(NamedTuple):
    """Bytes as they are put on a queue."""

    queue: str
    body: bytes


_OTHERS = Signer([derive_key("the secret of somebody else, and long enough")])
#: What retries and delays note; with so many retries behind it, a message fails but once more.
OPTIONS: Document = {
    "retries": 5, "traceback": "x", "requeue_timestamp": 1, "eta": 1, "passing": False,
    "first_failed_at": 1,
}  # fmt: skip


def _own_ids(good: Document, id_: uuid.UUID) -> Document:
    """The same message with ids that no other one has."""
    commands = [
        {**command, "id": str(uuid.UUID(int=id_.int ^ number))}
        for number, command in enumerate(good["kwargs"]["commands"])
    ]
    return {**good, "message_id": str(id_), "kwargs": {"commands": commands}}


def _contents(good: Document) -> st.SearchStrategy[bytes]:
    """A message that is odd somewhere, before it is signed."""
    commands = good["kwargs"]["commands"]
    batches = changed(commands) | st.sampled_from(TIMES).map(
        lambda at: [{**command, "at": at} for command in commands]
    )
    odd: st.SearchStrategy[Document] = st.one_of(
        batches.map(lambda batch: {**good, "kwargs": {"commands": batch}}),
        changed(OPTIONS).map(lambda options: {**good, "options": options}),
        changed(good),
    )
    return odd.map(msgspec.json.encode) | written(good)


@st.composite
def messages(draw: st.DrawFn, good: Sequence[Document], signer: Signer) -> Sent:
    """A message that is odd: before it was signed, since then, or for want of a signature."""
    # Hypothesis likes to draw the same ones again.
    envelope = _own_ids(draw(st.sampled_from(good)), uuid.uuid4())
    queue = envelope["queue_name"]
    if draw(st.integers(0, 5)):
        return Sent(queue, signer.sign(draw(_contents(envelope))))
    content = msgspec.json.encode(envelope)
    signed = signer.sign(content)
    forged = [content, b"hf1.0." + b"A" * 43 + b"\n" + content, _OTHERS.sign(content), b""]
    return draw(
        st.one_of(
            damaged(signed).map(lambda body: Sent(queue, body)),
            st.sampled_from(forged).map(lambda body: Sent(queue, body)),
            st.sampled_from(good).map(lambda other: Sent(other["queue_name"], signed)),
        )
    )
