"""What clients do to a connection over time: too slow, too early, taking nothing."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import msgspec
import pytest
from uvicorn import Config
from uvicorn.server import ServerState

from config import settings
from web import protocol
from web.protocol import BoundedProtocol

SOON_S = 0.2

CHUNK = b"x" * 100_000
HEAD = b"POST / HTTP/1.1\r\nHost: h\r\n"
GET = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"


class Endless:
    """An application that sends until its client has gone."""

    def __init__(self) -> None:
        self.gone = asyncio.Event()

    async def __call__(self, _scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        watcher = asyncio.create_task(self._watch(receive))
        while not watcher.done():
            await send({"type": "http.response.body", "body": CHUNK, "more_body": True})
            await asyncio.sleep(0)
        self.gone.set()

    @staticmethod
    async def _watch(receive: Any) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass


class Patient:
    """An application that reads a body whole, then answers once it may."""

    def __init__(self) -> None:
        self.may_answer = asyncio.Event()
        self.bodies: list[bytes] = []

    async def __call__(self, _scope: Any, receive: Any, send: Any) -> None:
        body, more = b"", True
        while more:
            event = await receive()
            if event["type"] == "http.disconnect":
                return
            body, more = body + event["body"], event["more_body"]
        self.bodies.append(body)
        await self.may_answer.wait()
        headers = [(b"content-length", b"2")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"ok"})


class Hasty:
    """An application that begins to answer before it has read, and does not come to an end."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()

    async def __call__(self, _scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"so far", "more_body": True})
        self.begun.set()
        while (await receive())["type"] != "http.disconnect":
            pass


@asynccontextmanager
async def served(app: Any) -> AsyncIterator[Any]:
    """The address of an application that is served by our protocol."""
    config = Config(app, log_config=None, lifespan="off", ws="none")
    config.load()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: BoundedProtocol(config=config, server_state=ServerState(), app_state={}),
        "127.0.0.1", 0,
    )  # fmt: skip
    try:
        yield server.sockets[0].getsockname()
    finally:
        server.close()


def statuses(heard: bytes) -> list[bytes]:
    return [part[:3] for part in heard.split(b"HTTP/1.1 ")[1:]]


async def hear(reader: asyncio.StreamReader) -> bytes:
    """All that comes; a client that sends on past the end is cut off behind it."""
    text = b""
    with suppress(ConnectionResetError):
        while part := await reader.read(65_536):
            text += part
    return text


@asynccontextmanager
async def connected(app: Any) -> AsyncIterator[Any]:
    """A client of an application: all that it will have heard when it is closed, and a writer."""
    async with served(app) as address:
        reader, writer = await asyncio.open_connection(*address)
        heard = asyncio.ensure_future(hear(reader))
        try:
            yield heard, writer
        finally:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()


async def told(app: Any, sent: bytes) -> bytes:
    """All that a client hears that sends this much and no more, until it is closed."""
    async with connected(app) as (heard, writer):
        writer.write(sent)
        answer: bytes = await asyncio.wait_for(heard, 60)
        return answer


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """All that has a time has little of it."""
    monkeypatch.setattr(protocol, "TAKE_TIMEOUT_S", SOON_S)
    given = msgspec.structs.replace(settings(), body_timeout_s=SOON_S, header_timeout_s=SOON_S)
    monkeypatch.setattr(protocol, "settings", lambda: given)


def test_a_client_that_takes_nothing_is_given_up() -> None:
    async def scenario() -> None:
        app = Endless()
        async with served(app) as address:
            with socket.create_connection(address) as client:
                client.sendall(GET)
                await asyncio.wait_for(app.gone.wait(), 60)

    asyncio.run(scenario())


@pytest.mark.parametrize(
    "body",
    [b"Content-Length: 9\r\n\r\nab", b"Transfer-Encoding: chunked\r\n\r\n9\r\nab"],
    ids=["of some length", "in chunks"],
)
def test_a_body_that_does_not_come_in_time_is_given_up(body: bytes) -> None:
    async def scenario() -> bytes:
        return await told(Patient(), HEAD + body)

    heard = asyncio.run(scenario())

    assert statuses(heard) == [b"408"]
    assert b"application/problem+json" in heard


def test_a_body_that_comes_in_drops_is_given_up_all_the_same() -> None:
    async def scenario() -> bytes:
        async with connected(Patient()) as (heard, writer):
            writer.write(HEAD + b"Content-Length: 1000000\r\n\r\n")
            while not heard.done():
                writer.write(b"x")
                await asyncio.wait([heard], timeout=0.02)
            answer: bytes = heard.result()
            return answer

    assert statuses(asyncio.run(scenario())) == [b"408"]


@pytest.mark.parametrize(
    "behind",
    [b"nonsense\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n", b"\r\n" * 20_000,
     HEAD + b"Content-Length: 9\r\n\r\nab", HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n"],
    ids=["no HTTP", "no Host", "no end of a head", "no end of a body", "bad chunks"],
)  # fmt: skip
def test_what_is_wrong_behind_a_request_leaves_it_its_answer(behind: bytes) -> None:
    """Its answer is its own, and its body, too; what is refused gets one only in its turn."""

    async def scenario() -> tuple[bytes, list[bytes]]:
        app = Patient()
        async with connected(app) as (heard, writer):
            writer.write(HEAD + b"Content-Length: 2\r\n\r\n{}" + behind)
            early, _ = await asyncio.wait([heard], timeout=3 * SOON_S)
            assert not early
            app.may_answer.set()
            return await asyncio.wait_for(heard, 60), app.bodies

    heard, bodies = asyncio.run(scenario())

    assert statuses(heard)[0] == b"200"
    assert statuses(heard)[1:] in ([], [b"408"])
    assert bodies == [b"{}"]


def test_what_can_never_be_taken_is_not_to_be_tried_again() -> None:
    """The head of a refusal: its status has its own phrase, and Retry-After where a retry helps."""
    heads = []
    for sent in (b"nonsense\r\n\r\n", HEAD + b"X: y\r\n" * 101 + b"\r\n", b"GET / "):
        head, _, body = asyncio.run(told(Patient(), sent)).decode().partition("\r\n\r\n")
        heads.append((head.partition("\r\n")[0], "Retry-After: 1" in head))
        assert msgspec.json.decode(body)["title"] != msgspec.json.decode(body)["detail"]

    assert heads == [
        ("HTTP/1.1 400 Bad Request", False),
        ("HTTP/1.1 431 Request Header Fields Too Large", False),
        ("HTTP/1.1 408 Request Timeout", True),
    ]


def test_into_an_answer_that_has_begun_nothing_else_is_written() -> None:
    async def scenario() -> bytes:
        app = Hasty()
        async with connected(app) as (heard, writer):
            writer.write(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
            await app.begun.wait()
            writer.write(b"zz\r\n")
            answer: bytes = await asyncio.wait_for(heard, 60)
            return answer

    assert asyncio.run(scenario()).endswith(b"so far\r\n")
