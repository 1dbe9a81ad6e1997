"""What a schema can't say: integers are written as such, keys are used once, cursors are given."""

import re
from typing import Any
from uuid import uuid4

import schemathesis

KEY = re.compile(r"[\x20-\x7e]{1,255}")


@schemathesis.hook
def before_call(_context: Any, case: Any, _kwargs: Any) -> None:
    headers: Any = case.headers or {}
    if KEY.fullmatch(str(headers.get("Idempotency-Key", ""))):
        headers["Idempotency-Key"] = str(uuid4())
    # It takes the quotes of an entity tag for those of JSON.
    if not str(headers.get("If-Match", "*")).endswith(("*", '"')):
        headers["If-Match"] = f'"{headers["If-Match"]}"'
    if isinstance(case.query, dict):
        case.query.pop("cursor", None)
    case.body = mended(case.body)


def mended(part: Any) -> Any:
    """A body, or a part of one."""
    if isinstance(part, list):
        return [mended(one) for one in part]
    if isinstance(part, dict):
        return {
            name: str(uuid4()) if name == "idempotency_key" and is_key(one) else mended(one)
            for name, one in part.items()
        }
    return int(part) if isinstance(part, float) and part.is_integer() else part


def is_key(value: Any) -> bool:
    return isinstance(value, str) and KEY.fullmatch(value) is not None
