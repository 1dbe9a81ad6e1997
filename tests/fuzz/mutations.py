"""Good input made bad: pieces cut out, doubled, swapped for odd ones."""

from hypothesis import strategies as st

ODD = [
    b"", b"\0", b"\xff", b'"', b"\\ud800", b"\\u0000", b"NaN", b"-Infinity", b"1e400", b"null",
    b"9" * 400, b"-1", b"1.5", b"[" * 3000, b'{"a":' * 3000, b"\xef\xbb\xbf", b"\xed\xa0\x80",
    b"true", b"[]", b"{}", b",", b'"id":1,', b"\r\n", b"'", b"%s", b"${x}", b"\xe2\x80\xa8",
]  # fmt: skip


@st.composite
def damaged(draw: st.DrawFn, good: bytes) -> bytes:
    """Up to three pieces of something good, each in place of another or between."""
    data = good
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, len(data)))
        end = draw(st.integers(start, min(len(data), start + 12)))
        data = data[:start] + draw(st.sampled_from(ODD) | st.binary(max_size=4)) + data[end:]
    return data
