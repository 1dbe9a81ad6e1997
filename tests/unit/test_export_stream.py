"""An export on its way: small pieces, made in a reading thread, while somebody takes them."""

import asyncio
import threading
from types import SimpleNamespace
from typing import Any

import pytest

from models.queries.failures import FailureQuery
from web.dashboard.export import PIECE_BYTES_MAX
from web.dashboard.failure_export import CsvExport, JsonExport
from web.dashboard.places import AT_ONCE_MAX, Places
from web.problems import Problem
from web.reading import Reader


class Many(CsvExport):
    """So many pieces, larger than may be sent at once."""

    def __init__(self, places: Places, pieces: int) -> None:
        self.reader = Reader(1)
        super().__init__(SimpleNamespace(lists=self.reader), places)  # type: ignore[arg-type]
        self.threads: list[str] = []
        self._left = pieces

    def piece(self, wanted: FailureQuery, after: int) -> tuple[bytes, int]:
        self.threads.append(threading.current_thread().name)
        self._left -= 1
        return (b"x" * (PIECE_BYTES_MAX * 2 + 5) if self._left >= 0 else b""), after + 1


class Client:
    """Is there until it has gone."""

    def __init__(self) -> None:
        self.left = asyncio.Event()

    async def receive(self) -> dict[str, Any]:
        await self.left.wait()
        return {"type": "http.disconnect"}


def test_pieces_are_small_and_no_work_of_the_event_loop() -> None:
    async def scenario() -> None:
        places = Places("Others are on their way", 10)
        places.take()
        export = Many(places, 3)

        sent = [piece async for piece in export.stream(FailureQuery(), Client().receive)]

        assert max(map(len, sent)) <= PIECE_BYTES_MAX
        assert sum(map(len, sent)) == len(export.begin) + 3 * (PIECE_BYTES_MAX * 2 + 5)
        assert all(name.startswith("read") for name in export.threads)
        assert places.taken == 0
        export.reader.close()

    asyncio.run(scenario())


def test_an_export_ends_when_its_client_has_gone() -> None:
    async def scenario() -> None:
        places, client = Places("Others are on their way", 10), Client()
        places.take()
        export = Many(places, 10_000)
        stream = export.stream(FailureQuery(), client.receive)
        await anext(stream)
        await anext(stream)
        client.left.set()

        rest = [piece async for piece in stream]

        assert len(rest) < 5
        assert len(export.threads) <= 2
        assert places.taken == 0
        export.reader.close()

    asyncio.run(scenario())


def test_what_is_empty_is_a_whole_document() -> None:
    class Nothing(JsonExport):
        def piece(self, wanted: FailureQuery, after: int) -> tuple[bytes, int]:
            return b"", after

    async def scenario() -> None:
        reader, places = Reader(1), Places("Others are on their way", 10)
        places.take()
        export = Nothing(SimpleNamespace(lists=reader), places)  # type: ignore[arg-type]

        sent = [piece async for piece in export.stream(FailureQuery(), Client().receive)]

        assert b"".join(sent).split() == [b"[", b"]"]
        reader.close()

    asyncio.run(scenario())


def test_more_than_so_many_at_once_are_told_when_to_come_back() -> None:
    places = Places("Others are on their way", 10)
    for _ in range(AT_ONCE_MAX):
        places.take()

    with pytest.raises(Problem) as caught:
        places.take()

    assert caught.value.status == 503
    assert "Retry-After" in caught.value.headers
