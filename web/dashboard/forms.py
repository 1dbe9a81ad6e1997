"""Forms as browsers post them: bounded, and strict about what can't be text in PostgreSQL."""

from typing import Any, Final
from urllib.parse import parse_qsl

from actors.commands import KIB
from web.problems import Problem, invalid_member

FORM_BYTES_MAX: Final = 64 * KIB
FIELDS_MAX: Final = 2_000


class Form:
    """The fields of a posted form."""

    def __init__(self, pairs: list[tuple[str, str]]) -> None:
        self.pairs = pairs

    def text(self, name: str, default: str = "") -> str:
        """The first value of a field, without space around it."""
        return next((value.strip() for key, value in self.pairs if key == name), default)

    def all(self, name: str) -> list[str]:
        """All values of a field, such as of check boxes."""
        return [value for key, value in self.pairs if key == name]


async def read_form(req: Any) -> Form:
    """The form in a body. Raises Problem: 400, 413, 415 or 422."""
    media_type = (req.content_type or "").partition(";")[0].strip().lower()
    if media_type != "application/x-www-form-urlencoded":
        if not media_type and not req.content_length:
            return Form([])
        raise Problem(415, "unsupported-media-type", "Unsupported media type", "Send a form.")
    body = await req.stream.read(FORM_BYTES_MAX + 1)
    if len(body) > FORM_BYTES_MAX:
        raise Problem(413, "too-large", "Too large", "A form may have 64 KiB at most.")
    try:
        pairs = parse_qsl(
            body.decode("ascii"), keep_blank_values=True, errors="strict",
            max_num_fields=FIELDS_MAX,
        )  # fmt: skip
    except ValueError:
        raise Problem(400, "bad-request", "Bad request", "The body is not a form.") from None
    for name, value in pairs:
        if "\0" in value:
            raise invalid_member(f"/{name[:64]}", "may not contain NUL")
    return Form(pairs)
