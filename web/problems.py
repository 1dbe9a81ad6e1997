"""Errors as problem documents (RFC 9457): what is wrong, where, and what to do. Never a trace."""

import logging
import re
from collections.abc import Mapping
from typing import Any

import falcon
import falcon.asgi
import msgspec

from models.rules.refusals import STATUS_BY_SLUG
from web.tracing import about, tell_trace

logger = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"
#: How a program goes on where something is away.
AGAIN = ". Try again; with the same Idempotency-Key that is always safe."


class Problem(Exception):
    """An answer that refuses. extra: further members of the document; headers: of the answer."""

    def __init__(
        self,
        status: int,
        slug: str,
        title: str,
        detail: str,
        *,
        headers: Mapping[str, str] | None = None,
        **extra: object,
    ) -> None:
        super().__init__(detail)
        self.status = status
        # Whose trace it belongs to, where the request has none of its own.
        self.command_id: str | None = None
        self.headers = dict(headers or {})
        self.document: dict[str, object] = {
            "type": f"/problems/{slug}",
            "title": title,
            "status": status,
            "detail": detail,
            **extra,
        }


def not_found(detail: str) -> Problem:
    return Problem(404, "not-found", "Not found", detail)


class Gone(Problem):
    """An order that was taken away with its month."""

    def __init__(self, order_id: str) -> None:
        detail = f"The order {order_id} is of a month that is no longer kept."
        super().__init__(410, "gone", "No longer kept", detail)


def invalid(detail: str, errors: list[dict[str, str]]) -> Problem:
    """A request that breaks a rule; errors: [{"pointer" or "parameter", "detail"}]."""
    return Problem(422, "invalid-request", "The request breaks a rule", detail, errors=errors)


def invalid_parameter(name: str, detail: str) -> Problem:
    """A query parameter or header that breaks a rule."""
    return invalid(f"{name}: {detail}", [{"parameter": name, "detail": detail}])


def invalid_member(pointer: str, detail: str) -> Problem:
    """A member of the body, by its JSON pointer, that breaks a rule."""
    return invalid(f"{pointer or 'the body'}: {detail}", [{"pointer": pointer, "detail": detail}])


def unavailable(detail: str, *, retry_after_s: int = 1) -> Problem:
    """It can't be taken now. A retry with the same Idempotency-Key is always safe."""
    return Problem(
        503,
        "unavailable",
        "It can't be taken now",
        f"{detail}{AGAIN}",
        headers={"Retry-After": str(retry_after_s)},
    )


def decided_against(document: dict[str, Any], command_id: str) -> Problem:
    """A recorded refusal as an answer."""
    slug = str(document["type"]).rpartition("/")[2]
    members = {k: v for k, v in document.items() if k not in ("type", "title", "detail")}
    problem = Problem(
        STATUS_BY_SLUG[slug], slug, str(document["title"]), str(document["detail"]), id=command_id
    )
    problem.command_id = command_id
    problem.document |= members
    return problem


_AT = re.compile(r" - at (`key` in )?`\$?(?P<path>[^`]*)`$")
_STEP = re.compile(r"\.([^.\[\]]+)|\[(\d+|\.\.\.)\]")


def from_validation(error: msgspec.ValidationError) -> Problem:
    """A body that breaks a rule, by msgspec's complaint."""
    where = error_of(error)
    return invalid_member(where["pointer"], where["detail"])


def error_of(error: msgspec.ValidationError, prefix: str = "") -> dict[str, str]:
    """msgspec's complaint; its path `$.lines[0].quantity` is the pointer `/lines/0/quantity`."""
    text = str(error)
    match = _AT.search(text)
    steps = _STEP.findall(match["path"]) if match else []
    pointer = prefix + "".join(f"/{name or index}" for name, index in steps if index != "...")
    detail = text[: match.start()] if match else text
    unknown = _UNKNOWN.search(detail)
    if unknown:
        pointer += "/" + unknown[1].replace("~", "~0").replace("/", "~1")
    return {"pointer": pointer, "detail": detail.replace("`", "")}


_UNKNOWN = re.compile(r"unknown field `(.*)`$", re.DOTALL)

_SLUGS = {
    400: ("bad-request", "Bad request"),
    401: ("unauthorized", "Not signed in"),
    403: ("forbidden", "Not allowed"),
    404: ("not-found", "Not found"),
    405: ("method-not-allowed", "Method not allowed"),
    413: ("too-large", "Too large"),
    415: ("unsupported-media-type", "Unsupported media type"),
}


def install(app: "falcon.asgi.App[Any, Any]") -> None:
    """Answer every error of an app with a problem document."""
    app.add_error_handler(Exception, answer_bug)
    app.add_error_handler(falcon.HTTPError, _on_http_error)
    app.add_error_handler(Problem, answer)


async def answer(req: Any, resp: Any, problem: Problem, _params: Any) -> None:
    """Falcon error handler: answer with a problem."""
    resp.status = problem.status
    resp.content_type = MEDIA_TYPE
    for name, value in problem.headers.items():
        resp.set_header(name, value)
    document = {**problem.document, "trace_id": tell_trace(req, resp, problem.command_id)}
    resp.data = msgspec.json.encode(document)


async def _on_http_error(req: Any, resp: Any, error: falcon.HTTPError, params: Any) -> None:
    slug, title = _SLUGS.get(error.status_code, ("bad-request", "Bad request"))
    detail = error.description or {
        404: f"There is nothing at {req.path}.",
        405: f"{req.method} is not a method of {req.path}.",
    }.get(error.status_code, error.title or title)
    headers = dict(error.headers or {})
    problem = Problem(error.status_code, slug, title, str(detail), headers=headers)
    await answer(req, resp, problem, params)


async def answer_bug(req: Any, resp: Any, error: Exception, params: Any) -> None:
    """Falcon error handler: log what is our fault, and show nothing of it."""
    logger.error("%s %s failed", req.method, req.path, exc_info=error, extra=about(req))
    problem = Problem(
        500, "internal-error", "An error on our side", "It is logged. Nothing of it is shown here."
    )
    await answer(req, resp, problem, params)
