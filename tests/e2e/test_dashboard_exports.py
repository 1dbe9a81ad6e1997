"""Large failures: taken along without holding up others, shown in part; hand-made cursors."""

import base64
import csv
import io
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from urllib.parse import parse_qsl

import msgspec
import pytest

from tests.conftest import API_KEY, System, eventually
from tests.e2e.desk import Desk
from tests.e2e.operators import Operator
from web.cursors import cursors_of

EXPORT = "/dashboard/failures/export"
COUNT, KIB = 400, 100
#: As large as sockets do not swallow it.
LARGE = f"""
INSERT INTO dead_letters (message_id, queue, actor, attempts, error_class, error, traceback, body,
                          command_ids, failed_at, subjects)
SELECT n::text, 'holdfast.orders', 'place_orders', 6, 'LargeError', 'a large one',
       repeat('traceback ', {KIB} * 102),
       convert_to('{{"kwargs":{{"text":"' || n || '"}}}}', 'UTF8'),
       '{{}}', now(), '{{}}'
FROM generate_series(1, {COUNT}) AS n
"""
ONE = """
INSERT INTO dead_letters (message_id, queue, actor, attempts, error_class, error, traceback, body,
                          command_ids, failed_at, subjects)
VALUES ('m', 'holdfast.orders', 'place_orders', 6, 'LongError', 'a long one', '', %s, '{}', now(),
        '{}')
RETURNING id
"""


@pytest.fixture(scope="module")
def large(desk: Desk) -> Iterator[Desk]:
    desk.system.sql(LARGE)
    yield desk
    desk.system.sql("DELETE FROM dead_letters WHERE error_class IN ('LargeError', 'LongError')")


def stalled(system: System, ending: str) -> socket.socket:
    """Somebody who asks for an export and takes only the beginning of it."""
    connection = socket.create_connection(("127.0.0.1", system.port))
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
    head = f"GET {EXPORT}.{ending} HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {API_KEY}"
    connection.sendall(f"{head}\r\n\r\n".encode())
    assert b" 200 " in connection.recv(64)
    return connection


def test_two_exports_at_once_and_their_places_are_free_when_the_clients_have_gone(
    large: Desk,
) -> None:
    with ExitStack() as stack:
        for ending in ("csv", "json"):
            stack.enter_context(stalled(large.system, ending))

        refused = large.operator.client.get(f"{EXPORT}.csv")
        assert refused.status_code == 503
        assert int(refused.headers["retry-after"]) >= 1
        assert large.operator.look("/dashboard/failures").status == 200

    def gone() -> bool:
        return large.operator.client.get(f"{EXPORT}.csv?error_class=nothing").status_code == 200

    eventually(gone)


def test_a_large_export_is_whole(large: Desk) -> None:
    address = f"{EXPORT}.csv?error_class=LargeError"
    rows = list(csv.DictReader(io.StringIO(large.operator.client.get(address).text)))
    lines = large.operator.client.get(f"{EXPORT}.json?error_class=LargeError").text.splitlines()

    assert len(rows) == len(lines) - 2 == COUNT
    assert len({row["id"] for row in rows}) == COUNT
    documents = [msgspec.json.decode(line.rstrip(",")) for line in lines[1:-1]]
    assert [str(one["id"]) for one in documents] == [row["id"] for row in rows]


@pytest.mark.parametrize("broken", [False, True])
def test_of_a_long_message_the_beginning_is_shown_and_the_whole_to_be_had(
    large: Desk, broken: bool
) -> None:
    body = b'{"kwargs": {"text": "' + b"x" * 200_000 + (b"\xff" if broken else b'"}}')
    ((number,),) = large.system.sql(ONE, body)

    look = large.reader.look(f"/dashboard/failures/{number}")
    assert len(look.answer.text) < 200_000
    assert look.says("It is longer than what is shown")
    assert f"/dashboard/failures/{number}/message" in look.links
    whole = large.reader.client.get(f"/dashboard/failures/{number}/message")

    assert whole.headers["content-disposition"].startswith("attachment")
    assert whole.headers["content-type"].startswith("text/plain" if broken else "application/json")
    assert whole.content == body.replace(b"\xff", b"\\xff")


def cursor(page: str, position: str) -> str:
    """A position in the list of a page, made up by someone who knows how cursors are written."""
    path, _, query = page.partition("?")
    return cursors_of(path, dict(parse_qsl(query))).digest + base64.urlsafe_b64encode(
        position.encode()
    ).decode().rstrip("=")


@pytest.mark.parametrize(
    ("page", "position"),
    [
        ("/dashboard/failures?view=list", f'["2026-01-01T00:00:00Z",{2**63}]'),
        ("/dashboard/failures?view=list", '["2026-01-01T00:00:00Z",-1]'),
        ("/dashboard/inventory?low=yes", f'[{2**63},"A"]'),
        ("/dashboard/inventory?low=yes", f'[-{2**64},"A"]'),
        ("/dashboard/inventory?low=yes", r'[1,"A\u0000"]'),
        ("/dashboard/inventory?", r'["A\u0000"]'),
        ("/dashboard/orders?", r'["2026-01-01T00:00:00Z","\u0000"]'),
        ("/dashboard/audit?", r'["2026-01-01T00:00:00Z","\u0000"]'),
        ("SKU", r'["2026-01-01T00:00:00Z","0199c0de-0000-4000-8000-000000000000","a\u0000"]'),
    ],
)
def test_a_cursor_that_was_made_by_hand_is_refused(desk: Desk, page: str, position: str) -> None:
    if page == "SKU":
        page = f"/dashboard/inventory/{desk.shop.product(1)}?"
    operator: Operator = desk.operator

    assert operator.client.get(f"{page}&cursor={cursor(page, position)}").status_code == 422


@pytest.mark.parametrize("at", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"])
def test_the_ends_of_time_are_no_error(desk: Desk, at: str) -> None:
    position = f'["{at}","0199c0de-0000-4000-8000-000000000000"]'

    for page in ("/dashboard/orders", "/dashboard/audit"):
        answer = desk.operator.client.get(f"{page}?cursor={cursor(page, position)}")
        assert answer.status_code in (200, 422)
