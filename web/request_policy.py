"""What a request may carry beside what its responder reads: the one place that every route passes.

What nobody looks at is refused: a client that sends it means something by it.
"""

import re
from collections.abc import Mapping
from typing import Any, Final

from web.escapes import wrong_escapes
from web.parameters import Query, read_query, wrong_names
from web.problems import Problem, breaks_rules, invalid_parameter, nothing_at

#: For the parameters of a query, a struct of them or, for a page, their names.
Declared = type[Query] | tuple[str, ...]
_NO_QUERY: Final[Mapping[str, Declared]] = {}
_NO_CONDITIONS: Final[Mapping[str, tuple[str, ...]]] = {}

#: Parts of a path that are ids: a UUID is the same in capitals.
_IDS: Final = ("order_id", "command_id")
#: Headers that most requests go without.
_RARE: Final = frozenset(
    {b"content-encoding", b"expect", b"if-match", b"if-none-match", b"if-unmodified-since"}
)
_CONDITIONS: Final = ("If-Match", "If-None-Match", "If-Unmodified-Since")
_CHARSET: Final = re.compile(r";\s*charset\s*=\s*\"?([^\s\";]*)", re.IGNORECASE)


class RequestPolicy:
    """Falcon middleware. A resource names, by method, in `query` what its address takes behind a
    `?`, and in `conditions` the headers under which it makes a change."""

    async def process_resource(self, req: Any, _resp: Any, resource: Any, params: Any) -> None:
        if params:
            _check_path(req.path, params)
        if not _RARE.isdisjoint(req._asgi_headers) and takes(resource, req.method):
            _check_headers(req, resource)
        if req.method == "GET" and takes(resource, "GET"):
            _check_no_body(req)
        declared = getattr(resource, "query", _NO_QUERY).get(req.method, ())
        if declared or (req.query_string and takes(resource, req.method)):
            _read(req, declared)


def takes(resource: Any, method: str) -> bool:
    """Whether a method is one of a resource's: any other is answered 405, whatever it brings."""
    return hasattr(resource, f"on_{method.lower()}")


def _check_no_body(req: Any) -> None:
    """Raises Problem (400) where a request that asks for something brings something, too."""
    if req.content_length or b"transfer-encoding" in req._asgi_headers:
        raise Problem(
            400, "bad-request", "Bad request",
            "GET and HEAD take no body. Put filters in the query string.",
        )  # fmt: skip


def _check_path(path: str, params: dict[str, str]) -> None:
    """Ids in small letters. Raises Problem (404) where a part is empty: a slash too many."""
    if not all(params.values()):
        raise nothing_at(path)
    for name in _IDS:
        if name in params:
            params[name] = params[name].lower()


def _read(req: Any, declared: Declared) -> None:
    """Puts a declared query into req.context.query. Raises Problem (422)."""
    wrong = wrong_escapes(req.query_string)
    if not isinstance(declared, tuple):
        req.context.query = read_query(declared, req.params, wrong)
    elif errors := wrong + wrong_names(declared, req.params):
        raise breaks_rules(errors)


def _check_headers(req: Any, resource: Any) -> None:
    """Raises Problem: 415, 417 or 422."""
    coding = (req.get_header("Content-Encoding") or "identity").strip()
    if coding.lower() != "identity":
        raise _unsupported(
            f"Send the body as it is, without Content-Encoding: {coding[:100]}.",
            {"Accept-Encoding": "identity"},
        )
    expected = (req.get_header("Expect") or "100-continue").strip()
    if expected.lower() != "100-continue":
        raise Problem(
            417, "expectation-failed", "Expectation failed",
            f"The only supported expectation is 100-continue, not {expected[:100]}.",
        )  # fmt: skip
    if req.method != "GET":
        _check_conditions(req, getattr(resource, "conditions", _NO_CONDITIONS))


def _check_conditions(req: Any, conditions: Mapping[str, tuple[str, ...]]) -> None:
    """A change is made under no condition that is not looked at."""
    for name in _CONDITIONS:
        if req.get_header(name) is not None and name not in conditions.get(req.method, ()):
            raise invalid_parameter(name, f"is not supported by {req.method} {req.uri_template}")


def check_media_type(req: Any, wanted: str) -> None:
    """Raises Problem (415) where a body is said to be anything but this, or not in UTF-8."""
    said = req.content_type or ""
    if said == wanted:
        return
    media_type = said.partition(";")[0].strip().lower()
    if media_type != wanted:
        sent = f", not {media_type[:100]}" if media_type else ""
        raise _unsupported(f"Set Content-Type: {wanted}{sent}.", {"Accept": wanted})
    for charset in _CHARSET.findall(said):
        if charset.lower() != "utf-8":
            raise _unsupported(f"Send the body in UTF-8, not in {charset[:100]}.", {})


def _unsupported(detail: str, headers: Mapping[str, str]) -> Problem:
    title = "Unsupported media type"
    return Problem(415, "unsupported-media-type", title, detail, headers=headers)
