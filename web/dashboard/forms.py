"""Forms as browsers post them: bounded, and strict about what can't be text in PostgreSQL."""

from collections import Counter
from collections.abc import Collection
from typing import Any, Final
from urllib.parse import parse_qsl

from actors.commands import KIB
from web.escapes import wrong_escapes
from web.problems import Problem, breaks_rules
from web.request_policy import check_media_type

FORM_BYTES_MAX: Final = 64 * KIB
FIELDS_MAX: Final = 2_000


class Form:
    """The fields of a posted form."""

    def __init__(self, pairs: list[tuple[str, str]]) -> None:
        self.pairs = pairs

    def text(self, name: str, default: str = "") -> str:
        """The value of a field, without space around it."""
        return next((value.strip() for key, value in self.pairs if key == name), default)

    def all(self, name: str) -> list[str]:
        """All values of a field, such as of check boxes."""
        return [value for key, value in self.pairs if key == name]


async def read_form(req: Any, once: Collection[str], lists: Collection[str] = ()) -> Form:
    """The form in a body. once, lists: its fields, and those that may be there several times.

    Raises Problem: 400, 413, 415 or 422.
    """
    if not req.content_type and not req.content_length:
        return Form([])
    check_media_type(req, "application/x-www-form-urlencoded")
    body = await req.stream.read(FORM_BYTES_MAX + 1)
    if len(body) > FORM_BYTES_MAX:
        raise Problem(413, "too-large", "Too large", "A form may have 64 KiB at most.")
    try:
        text = body.decode("ascii")
        pairs = parse_qsl(text, keep_blank_values=True, max_num_fields=FIELDS_MAX)
    except ValueError:
        raise Problem(400, "bad-request", "Bad request", "The body is not a form.") from None
    escapes = [
        {"pointer": f"/{error['parameter'][:64]}", "detail": error["detail"]}
        for error in wrong_escapes(text)
    ]
    if errors := escapes + _errors(pairs, once, lists):
        raise breaks_rules(errors)
    return Form(pairs)


def _errors(
    pairs: list[tuple[str, str]], once: Collection[str], lists: Collection[str]
) -> list[dict[str, str]]:
    """What is wrong with fields, once for each: [{"pointer", "detail"}]."""
    counts = Counter(name for name, _ in pairs)
    details = {name: "must not be repeated" for name in once if counts[name] > 1}
    details |= {name: "is unknown" for name in counts if name not in once and name not in lists}
    details |= {name: "may not contain NUL" for name, value in pairs if "\0" in value}
    return [{"pointer": f"/{name[:64]}", "detail": detail} for name, detail in details.items()]
