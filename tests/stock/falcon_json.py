"""Falcon's JSON handler takes what is no JSON, what is ambiguous, and what can't be stored."""

from io import BytesIO

from falcon import MediaMalformedError
from falcon.media import JSONHandler

from tests.stock.rig import Facts, Rig

BODIES = {
    "NaN": b'{"quantity": NaN}',
    "a number that is infinite": b'{"quantity": 1e999}',
    "a member given twice": b'{"quantity": 1, "quantity": 1000}',
    "a lone surrogate": b'{"sku": "\\ud800"}',
    "a NUL": b'{"sku": "\\u0000"}',
    "arrays, 100,000 deep": b"[" * 100_000 + b"]" * 100_000,
}


def reproduce(rig: Rig) -> Facts:
    return {name: _read(body) for name, body in BODIES.items()}


def _read(body: bytes) -> str:
    try:
        value = JSONHandler().deserialize(BytesIO(body), "application/json", len(body))
    except MediaMalformedError:
        return "refused"
    except RecursionError:
        return "RecursionError, which is no MediaMalformedError"
    return f"taken as {value!r}"
