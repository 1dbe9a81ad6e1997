"""Failures that match as CSV or JSON, streamed: a piece in memory at a time."""

import asyncio
import csv
import io
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from actors.commands import KIB
from models.queries import exports, failures
from models.queries.exports import ExportRow
from models.queries.failures import FailureQuery
from models.rules.signing import content_of
from web.dashboard.failure_query import FIELDS, failure_query
from web.dashboard.page import Deps, Page
from web.dashboard.query import Query
from web.problems import invalid, unavailable

COLUMNS: Final = (
    "id", "state", "first_failed_at", "failed_at", "attempts", "actor", "queue", "error_class",
    "error", "traceback", "trace_id", "message_id", "command_ids", "subjects", "message",
    "settled_at", "settled_by", "discard_reason",
)  # fmt: skip

#: What is handed to the socket at once.
PIECE_BYTES_MAX: Final = 256 * KIB
#: Exports at once, so that they leave readers and threads to the others.
AT_ONCE_MAX: Final = 2
RETRY_AFTER_S: Final = 10
#: What a spreadsheet takes for the start of a formula.
FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\n", "\N{FULLWIDTH EQUALS SIGN}",
                  "\N{FULLWIDTH PLUS SIGN}", "\N{FULLWIDTH HYPHEN-MINUS}",
                  "\N{FULLWIDTH COMMERCIAL AT}")  # fmt: skip


#: The same where a cell is torn: by programs that split at semicolons or tabs, or at its lines.
INNER_FORMULA: Final = re.compile(r"([;\t\r\n][\s\"']*)(?=[=+\-@\uff1d\uff0b\uff0d\uff20])")


class Places:
    """How many exports are on their way in this process."""

    def __init__(self) -> None:
        self.taken = 0

    def take(self) -> None:
        """Raises Problem (503) where there is none left."""
        if self.taken >= AT_ONCE_MAX:
            raise unavailable("Other exports are on their way", retry_after_s=RETRY_AFTER_S)
        self.taken += 1

    def free(self) -> None:
        self.taken -= 1


class Export(Page):
    """GET gives all failures that match. Formats differ in `piece` and what stands around it."""

    media_type: str
    ending: str
    begin: bytes = b""
    between: bytes = b""
    end: bytes = b""

    def __init__(self, deps: Deps, places: Places) -> None:
        super().__init__(deps)
        self._places = places

    async def on_get(self, req: Any, resp: Any) -> None:
        self._places.take()
        try:
            wanted = await self._wanted(req)
        except BaseException:
            self._places.free()
            raise
        name = f"holdfast-failures-{datetime.now(UTC):%Y%m%d-%H%M%S}.{self.ending}"
        resp.content_type = self.media_type
        resp.set_header("Content-Disposition", f'attachment; filename="{name}"')
        # Falcon's own: what it is given to send, it sends to the end, gone or not.
        resp.stream = self.stream(wanted, req._receive)

    async def _wanted(self, req: Any) -> FailureQuery:
        query = Query(req.params, *FIELDS)
        wanted = await failure_query(self.deps, query)
        if query.errors:
            raise invalid("; ".join(query.errors.values()), [])
        _, newest = await self.deps.lists.run(failures.count, wanted)
        return wanted._replace(up_to_id=newest)

    async def stream(
        self, wanted: FailureQuery, receive: Callable[[], Awaitable[Any]]
    ) -> AsyncIterator[bytes]:
        """The whole file while the client is there. Gives the export's place back at the end.

        Pieces are read and written in a reading thread, and hold none while the client takes them.
        """
        gone = asyncio.create_task(_disconnected(receive))
        after, between = 0, b""
        try:
            yield self.begin
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

    def piece(self, wanted: FailureQuery, after: int) -> tuple[bytes, int]:
        """The next failures in their final bytes, and the last one's id; empty after the last."""
        rows = exports.piece(wanted, after)
        return (self.written(rows), rows[-1].id) if rows else (b"", after)

    def written(self, rows: Sequence[ExportRow]) -> bytes:
        raise NotImplementedError


class CsvExport(Export):
    media_type = "text/csv; charset=utf-8"
    ending = "csv"

    def __init__(self, deps: Deps, places: Places) -> None:
        super().__init__(deps, places)
        self.begin = as_csv([COLUMNS])

    def written(self, rows: Sequence[ExportRow]) -> bytes:
        return as_csv([_cells(row) for row in rows])


class JsonExport(Export):
    """One failure a line, so that it can be read line by line, too."""

    media_type = "application/json"
    ending = "json"
    begin = b"[\n"
    between = b",\n"
    end = b"\n]\n"

    def written(self, rows: Sequence[ExportRow]) -> bytes:
        return b",\n".join(msgspec.json.encode(_document(row)) for row in rows)


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


def _cells(row: ExportRow) -> list[str]:
    return [_written(value) for value in row]


def _written(value: object) -> str:
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


def _document(row: ExportRow) -> dict[str, object]:
    values: list[object] = list(row)
    values[COLUMNS.index("message")] = _message(row.body)
    return dict(zip(COLUMNS, values, strict=True))


def _message(body: bytes) -> object:
    """A message as JSON, or as text where it is none."""
    try:
        return msgspec.json.decode(content_of(body))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return body.decode(errors="backslashreplace")


def routes(deps: Deps) -> dict[str, object]:
    places = Places()
    return {
        "/dashboard/failures/export.csv": CsvExport(deps, places),
        "/dashboard/failures/export.json": JsonExport(deps, places),
    }
