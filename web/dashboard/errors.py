"""Problems as pages: what is wrong, what still works, and where to go from here."""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from web.dashboard.templating import Templates
from web.problems import AGAIN, MEDIA_TYPE

#: So often does the page of an outage look again by itself.
REFRESH_S: Final = 5
#: Problems that speak to programs, in words for who sent a form.
SAID: Final[Mapping[str, tuple[str, str]]] = {
    "/problems/idempotency-key-reused": (
        "This form was sent before with other values",
        "What was sent first counts, this was not done. Open the page again to send another.",
    ),
}


def as_page(templates: Templates, req: Any, resp: Any, resource: Any) -> None:
    """Turn a problem document that answers a page into a page."""
    if resp.content_type != MEDIA_TYPE or not getattr(resource, "for_people", resource is None):
        return
    problem = msgspec.json.decode(resp.data or b"{}")
    if problem["type"] in SAID:
        problem["title"], problem["detail"] = SAID[problem["type"]]
    # An Idempotency-Key is nothing that a page lets anybody write.
    problem["detail"] = problem["detail"].replace(AGAIN, ".")
    again = problem["status"] == 503 and req.method == "GET"
    if again:
        problem["title"] = "It can't be shown now"
    resp.data = None
    resp.content_type = "text/html; charset=utf-8"
    resp.text = templates.render(
        req, "error.html", problem=problem, refresh_s=REFRESH_S if again else None,
        address=req.relative_uri, acted=req.method == "POST",
        asked=getattr(req.context, "asked", None),
    )  # fmt: skip
