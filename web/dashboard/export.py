"""What a page lists as a file, streamed: a piece in memory at a time."""

import asyncio
import csv
import io
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import Any, ClassVar, Final

from actors.commands import KIB
from web.dashboard.page import Deps, Page
from web.dashboard.places import Places
from web.dashboard.query import Query
from web.problems import breaks_rules

#: What is handed to the socket at once.
PIECE_BYTES_MAX: Final = 256 * KIB
#: What a spreadsheet takes for the start of a formula.
FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\n", "\N{FULLWIDTH EQUALS SIGN}",
                  "\N{FULLWIDTH PLUS SIGN}", "\N{FULLWIDTH HYPHEN-MINUS}",
                  "\N{FULLWIDTH COMMERCIAL AT}")  # fmt: skip
#: The same where a cell is torn: by programs that split at semicolons or tabs, or at its lines.
INNER_FORMULA: Final = re.compile(r"([;\t\r\n][\s\"']*)(?=[=+\-@\uff1d\uff0b\uff0d\uff20])")


#: Of all exports of the process, whatever they are of.
places: Final = Places("Other exports are still running", retry_after_s=10)


class Export(Page):
    """GET gives all that match. What is exported differs in `wanted`, and in the pieces.

    subject: what the file is called by; begin, between, end: what stands around the pieces;
    first: the position before the first piece.
    """

    subject: ClassVar[str]
    media_type: ClassVar[str]
    ending: ClassVar[str]
    begin: bytes = b""
    between: bytes = b""
    end: bytes = b""
    first: Any = None

    def __init__(self, deps: Deps, places: Places = places) -> None:
        super().__init__(deps)
        self._places = places

    async def on_get(self, req: Any, resp: Any) -> None:
        self._places.take()
        try:
            wanted = await self.wanted(req)
        except BaseException:
            self._places.free()
            raise
        name = f"holdfast-{self.subject}-{datetime.now(UTC):%Y%m%d-%H%M%S}.{self.ending}"
        resp.content_type = self.media_type
        resp.set_header("Content-Disposition", f'attachment; filename="{name}"')
        # Falcon's own: what it is given to send, it sends to the end, gone or not.
        resp.stream = self.stream(wanted, req._receive)

    async def wanted(self, req: Any) -> Any:
        """What is asked for, as `piece` takes it. Raises Problem (422)."""
        raise NotImplementedError

    def piece(self, wanted: Any, after: Any) -> tuple[bytes, Any]:
        """The next rows in their final bytes, and the position after them.

        Runs in a reading thread. Empty after the last.
        """
        raise NotImplementedError

    async def stream(
        self, wanted: Any, receive: Callable[[], Awaitable[Any]]
    ) -> AsyncIterator[bytes]:
        """The whole file while the client is there. Gives the export's place back at the end.

        Pieces are read and written in a reading thread, and hold none while the client takes them.
        """
        gone = asyncio.create_task(_disconnected(receive))
        after, between = self.first, b""
        try:
            yield self.begin
            # To HEAD this was all: `gone` hears of it now, and nothing is read for it.
            await asyncio.sleep(0)
            while not gone.done():
                text, after = await self.deps.lists.run(self.piece, wanted, after)
                if not text:
                    yield self.end
                    return
                text, between = between + text, self.between
                for start in range(0, len(text), PIECE_BYTES_MAX):
                    yield text[start : start + PIECE_BYTES_MAX]
                    if gone.done():
                        return
        finally:
            gone.cancel()
            self._places.free()


def checked(query: Query) -> None:
    """Raises Problem (422) where a filter can't be read."""
    if query.errors:
        raise breaks_rules(
            [{"parameter": name, "detail": detail} for name, detail in query.errors.items()]
        )


async def _disconnected(receive: Callable[[], Awaitable[Any]]) -> None:
    """Returns when the client has gone."""
    while (await receive())["type"] != "http.disconnect":
        pass


def as_csv(rows: Sequence[Sequence[str]]) -> bytes:
    """Rows as RFC 4180 has them, no cell of which a spreadsheet would run."""
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerows([_harmless(cell) for cell in row] for row in rows)
    return text.getvalue().encode(errors="backslashreplace")


def _harmless(cell: str) -> str:
    start = "'" if cell.startswith(FORMULA) else ""
    return start + INNER_FORMULA.sub(r"\1'", cell)


def written(value: object) -> str:
    match value:
        case None:
            return ""
        case datetime():
            return value.isoformat()
        case list():
            return " ".join(value)
        case bytes():
            return value.decode(errors="backslashreplace")
        case _:
            return str(value)
