"""Text as ASCII, which any encoding of a database holds."""

import json


def to_ascii(text: str) -> str:
    """As JSON escapes it, so that it can be read back: `Zoë` as `Zo\\u00eb`; any text at all."""
    return json.dumps(text)[1:-1]


def from_ascii(text: str) -> str:
    """What `to_ascii` made into ASCII."""
    return str(json.loads(f'"{text}"'))


def readable(text: str) -> str:
    """For people: quotes and lines as they are, what is not ASCII as Python escapes it."""
    return text.replace("\x00", "\\0").encode("ascii", "backslashreplace").decode()
