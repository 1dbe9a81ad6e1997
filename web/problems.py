"""Errors as problem documents (RFC 9457): what is wrong, where, and what to do. Never a trace."""

import logging
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


def nothing_at(path: str, *, slashes: bool = False) -> Problem:
    """The answer at an address that is none of ours. slashes: one is doubled or escaped."""
    if slashes:
        return not_found(f"There is nothing at {path}. Write each slash once, and not as %2F.")
    without = path.rstrip("/")
    slash = f" Addresses end without a slash: {without}" if without and without != path else ""
    return not_found(f"There is nothing at {path}.{slash}")


class Gone(Problem):
    """An order that was taken away with its month."""

    def __init__(self, order_id: str) -> None:
        detail = f"The order {order_id} is of a month that is no longer kept."
        super().__init__(410, "gone", "No longer kept", detail)


def invalid(detail: str, errors: list[dict[str, str]]) -> Problem:
    """A request that breaks a rule; errors: [{"pointer" or "parameter", "detail"}]."""
    return Problem(422, "invalid-request", "The request breaks a rule", detail, errors=errors)


def breaks_rules(errors: list[dict[str, str]]) -> Problem:
    """A request that breaks rules; errors: as of `invalid`, one or more."""
    first = errors[0]
    if "parameter" in first:
        where = first["parameter"] or "a parameter without a name"
    else:
        where = first["pointer"] or "the body"
    more = f" ({len(errors) - 1} more in errors)" if len(errors) > 1 else ""
    return invalid(f"{where}: {first['detail']}{more}", errors)


def invalid_parameter(name: str, detail: str) -> Problem:
    """A query parameter or header that breaks a rule."""
    return breaks_rules([{"parameter": name, "detail": detail}])


def invalid_member(pointer: str, detail: str) -> Problem:
    """A member of the body, by its JSON pointer, that breaks a rule."""
    return breaks_rules([{"pointer": pointer, "detail": detail}])


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


_SLUGS = {
    400: ("bad-request", "Bad request"),
    401: ("unauthorized", "Not signed in"),
    403: ("forbidden", "Not allowed"),
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
    if error.status_code == 404:
        await answer(req, resp, nothing_at(req.path), params)
        return
    detail = error.description or (
        f"{req.method} is not a method of {req.path}."
        if error.status_code == 405
        else error.title or title
    )
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
