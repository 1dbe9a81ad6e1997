"""The query of a page: its address holds every filter; what is wrong is said beside the field."""

import re
from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import urlencode

from web.cursors import Position, cursors_of

_WHOLE: Final = re.compile(r"[+-]?([0-9]{1,16}|[0-9]{1,3}(,[0-9]{3}){1,4})")

#: An id of an order or a command; people paste them in capitals, too.
UUID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)

PAGE_ROWS: Final = 50
TEXT_MAX: Final = 300
#: Keys that may begin or end with a space: they are taken as they are written.
EXACT: Final = ("customer", "who")


class Query:
    """What a page is asked for. values: as written, empty ones left out; errors: by name of field.

    exact: fields whose spaces at the ends count; from others they are taken away.
    """

    def __init__(
        self, params: Mapping[str, Any], *names: str, exact: Collection[str] = EXACT
    ) -> None:
        self.values: dict[str, str] = {}
        self.errors: dict[str, str] = {}
        for name in (*names, "cursor"):
            value = params.get(name, "")
            text = str(value[0] if isinstance(value, list) else value)
            text = text if name in exact else text.strip()
            if "\0" in text or len(text) > TEXT_MAX:
                self.errors[name] = f"{TEXT_MAX} characters at most, and no NUL"
            elif text:
                self.values[name] = text

    def __getitem__(self, name: str) -> str:
        return self.values.get(name, "")

    def text(self, name: str) -> str | None:
        return self.values.get(name)

    def choice(self, name: str, choices: Collection[str]) -> str | None:
        """One of some words, None without."""
        value = self.values.get(name)
        if value is not None and value not in choices:
            self.errors[name] = f"one of {', '.join(choices)}"
            return None
        return value

    def integer(self, name: str, *, low: int, high: int) -> int | None:
        """A whole number, None without."""
        value = self.values.get(name)
        if value is None:
            return None
        number = whole_number(value)
        if number is None or not low <= number <= high:
            self.errors[name] = f"a whole number from {low:,} to {high:,}"
            return None
        return number

    def moment(self, name: str) -> datetime | None:
        """A time, in UTC where it does not say; None without."""
        value = self.values.get(name)
        if value is None:
            return None
        try:
            # A plus sign in a query means a space, unless it was escaped.
            moment = datetime.fromisoformat(value.replace(" ", "+"))
            moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
            moment = moment.astimezone(UTC)
        except (ValueError, OverflowError):
            self.errors[name] = "a time such as 2026-11-23T14:00"
            return None
        self.values[name] = moment.replace(tzinfo=None).isoformat(timespec="auto")
        return moment

    def cursor(self, path: str, kind: type[Position]) -> Position | None:
        """Where the page at this path starts, None for the first one. Raises Problem (422).

        Read it after the filters: it belongs to them.
        """
        text = self.values.pop("cursor", None)
        return cursors_of(path, self.values).read(text, kind)

    def next_link(self, path: str, position: tuple[Any, ...] | None) -> str | None:
        """The address of the page behind a position of the list at this path; None without."""
        if position is None:
            return None
        return self.link(cursor=cursors_of(path, self.values).write(position))

    def narrowed(self, *but: str) -> bool:
        """Whether anything narrows the page, but for these fields."""
        return bool(self.values.keys() - set(but))

    def link(self, path: str = "", **changes: object) -> str:
        """The address of this query with some fields changed; None takes one away."""
        fields = self.values | changes
        pairs = [(name, value) for name, value in fields.items() if value not in (None, "")]
        return f"{path}?{urlencode(pairs)}" if pairs or not path else path


def whole_number(text: str) -> int | None:
    """A whole number as people write one (+5, -1,000, or with a real minus sign).

    A comma parts thousands; elsewhere it may mean a decimal point, and is no number.
    """
    found = _WHOLE.fullmatch(text.replace("\N{MINUS SIGN}", "-"))
    return None if found is None else int(found[0].replace(",", ""))
