"""What no request may carry, tried on every route of the OpenAPI document; and what each may."""

import gzip
import json
from collections.abc import Iterator
from typing import Any, NamedTuple

import httpx
import pytest

from deploy.documents import openapi
from tests.conftest import API_KEY
from tests.e2e.shop import WAIT, Shop, fresh, problem
from web.repeated_members import repeated_members

DOCUMENT = openapi()
JSON = ("Content-Type", "application/json")


class Route(NamedTuple):
    """A method of an address of the document. body: as its example has it, empty for none."""

    method: str
    path: str
    body: bytes

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


def body_of(operation: dict[str, Any]) -> bytes:
    content = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
    examples = [example["value"] for example in content.get("examples", {}).values()]
    return json.dumps(examples[0]).encode() if examples else b""


ROUTES = [
    Route(method.upper(), path, body_of(operation))
    for path, operations in DOCUMENT["paths"].items()
    for method, operation in operations.items()
]
BODIES = [route for route in ROUTES if route.body]
IDS = [route for route in ROUTES if "_id}" in route.path]

every_route = pytest.mark.parametrize("route", ROUTES, ids=str)
every_body = pytest.mark.parametrize("route", BODIES, ids=str)


class Door:
    """Routes with what is there in their place: an order, a change, a product."""

    def __init__(self, client: httpx.Client) -> None:
        self.client = client
        shop = Shop(client)
        self.sku = shop.product(10)
        self.order_id = shop.confirmed((self.sku, 1))["id"]
        adjusted = shop.adjust(self.sku, 1)
        self.command_id = adjusted.headers["location"].rpartition("/")[2]

    def path(self, route: Route) -> str:
        return route.path.format(order_id=self.order_id, command_id=self.command_id, sku=self.sku)

    def ask(
        self, route: Route, *headers: tuple[str, str], behind: str = "", body: bytes | None = None,
        method: str = "",
    ) -> httpx.Response:  # fmt: skip
        content = route.body if body is None else body
        typed = any(name == "Content-Type" for name, _ in headers)
        return self.client.request(
            method or route.method,
            self.path(route) + behind,
            headers=[*headers, *([JSON] if content and not typed else [])],
            content=content,
        )


@pytest.fixture(scope="module")
def door(client: httpx.Client) -> Door:
    return Door(client)


def test_the_document_has_all_there_is_to_try() -> None:
    assert len(ROUTES) >= 17
    assert len(BODIES) == 6
    assert len(IDS) == 4


@every_route
def test_a_parameter_that_is_not_known_is_named(door: Door, route: Route) -> None:
    """A query parameter that nobody reads, such as dry_run, changes nothing and says so."""
    document = problem(door.ask(route, behind="?dry_run=true"), 422, "invalid-request")

    (error,) = document["errors"]
    assert error["parameter"] == "dry_run"
    assert error["detail"].startswith("is unknown; ")


@every_route
@pytest.mark.parametrize("escapes", ["%ff", "%ed%a0%80", "%c3%28", "%zz"])
def test_a_parameter_is_text_in_utf_8(door: Door, route: Route, escapes: str) -> None:
    """Not whatever its bytes would be replaced with, such as orders of the customer U+FFFD."""
    answer = door.ask(route, behind=f"?customer_id={escapes}&dry_run=1")

    errors = problem(answer, 422, "invalid-request")["errors"]
    assert errors[0]["parameter"] == "customer_id"
    assert errors[0]["detail"].startswith(("is not UTF-8", "has a % without"))
    assert errors[-1]["parameter"] == "dry_run"


@every_route
@pytest.mark.parametrize("coding", ["gzip", "br", "gzip, br"])
def test_a_coding_is_refused_by_its_name(door: Door, route: Route, coding: str) -> None:
    """Plain JSON that is said to be packed."""
    answer = door.ask(route, ("Content-Encoding", coding))

    assert coding in problem(answer, 415, "unsupported-media-type")["detail"]
    assert answer.headers["accept-encoding"] == "identity"


@pytest.mark.parametrize("route", [route for route in ROUTES if route.method == "GET"], ids=str)
def test_a_route_that_only_reads_takes_no_body(door: Door, route: Route) -> None:
    """Such as filters of a list in JSON, which nobody would look at."""
    for method in ("GET", "HEAD"):
        answer = door.ask(route, method=method, body=b'{"status":"failed"}')
        assert answer.status_code == 400
    detail = problem(door.ask(route, body=b"{}"), 400, "bad-request")["detail"]
    assert detail.startswith("GET and HEAD take no body.")


@every_body
def test_a_packed_body_is_refused_by_the_name_of_its_coding(door: Door, route: Route) -> None:
    answer = door.ask(route, ("Content-Encoding", "gzip"), body=gzip.compress(route.body))

    assert "Content-Encoding: gzip" in problem(answer, 415)["detail"]


@every_body
@pytest.mark.parametrize("charset", ["utf-16", '"ISO-8859-1"', "utf8; charset=utf-8"])
def test_a_charset_but_utf_8_is_refused_by_its_name(door: Door, route: Route, charset: str) -> None:
    answer = door.ask(route, ("Content-Type", f"application/json; charset={charset}"))

    named = charset.strip('"').partition(";")[0]
    assert named in problem(answer, 415, "unsupported-media-type")["detail"]


@every_body
@pytest.mark.parametrize("charset", ["utf-8", '"UTF-8"'])
def test_utf_8_may_be_said(door: Door, route: Route, charset: str) -> None:
    """Asked with a body that breaks a rule: what is looked at next."""
    answer = door.ask(route, ("Content-Type", f"application/json; charset={charset}"), body=b"[]")

    problem(answer, 422, "invalid-request")


def repeated(part: Any, pointer: str = "") -> Iterator[tuple[str, Any]]:
    """Each member of a document: its pointer, and where it is."""
    items = part.items() if isinstance(part, dict) else enumerate(part)
    for name, inner in items if isinstance(part, dict | list) else ():
        if isinstance(part, dict):
            yield f"{pointer}/{name}", (part, name)
        if isinstance(inner, dict | list):
            yield from repeated(inner, f"{pointer}/{name}")


@every_body
def test_a_member_that_is_there_twice_is_named_wherever_it_is(door: Door, route: Route) -> None:
    """Such as a quantity of 1 and of 1,000 in one line."""
    document = json.loads(route.body)
    for pointer, (part, name) in list(repeated(document)):
        part["\0again"] = part[name]
        written = json.dumps(document).replace(json.dumps("\0again"), json.dumps(name), 1).encode()
        del part["\0again"]
        assert repeated_members(written)

        errors = problem(door.ask(route, body=written), 400, "repeated-member")["errors"]
        assert [error["pointer"] for error in errors] == [pointer]


@every_body
@pytest.mark.parametrize("mark", [b"\xef\xbb\xbf", b"\xff\xfe"], ids=["UTF-8", "UTF-16"])
def test_a_byte_order_mark_is_called_by_its_name(door: Door, route: Route, mark: bytes) -> None:
    detail = problem(door.ask(route, body=mark + route.body), 400, "not-json")["detail"]

    assert ("byte order mark" if mark == b"\xef\xbb\xbf" else "UTF-16") in detail


@every_route
@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("Idempotency-Key", ("a", "b")),
        ("Authorization", (f"Bearer {API_KEY}", "Bearer x")),
        ("Content-Type", ("application/json", "text/plain")),
    ],
)
def test_a_header_that_may_be_there_once_is_refused_twice(
    door: Door, route: Route, name: str, values: tuple[str, str]
) -> None:
    document = problem(door.ask(route, *((name, value) for value in values)), 400, "bad-request")

    assert document["detail"] == f"{name} must appear exactly once, not 2 times."


@every_route
def test_what_nobody_can_meet_is_not_expected(door: Door, route: Route) -> None:
    document = problem(door.ask(route, ("Expect", "200-ok")), 417, "expectation-failed")

    assert "200-ok" in document["detail"]


@every_route
def test_head_is_answered_as_get_without_a_body(door: Door, route: Route) -> None:
    """So that a monitor may ask /livez and /readyz by HEAD."""
    head = door.ask(route, method="HEAD", body=b"")

    assert head.content == b""
    if (path := DOCUMENT["paths"][route.path]) and "get" not in path:
        assert head.status_code == 405
        return
    get = door.ask(route, method="GET", body=b"")
    assert head.status_code == get.status_code == 200
    changing = ("date", "trace-id", "content-security-policy")
    assert [pair for pair in head.headers.items() if pair[0] not in changing] == [
        pair for pair in get.headers.items() if pair[0] not in changing
    ]
    assert int(head.headers["content-length"]) == len(get.content)


@every_route
def test_head_is_a_method_of_whatever_has_get(door: Door, route: Route) -> None:
    # That there is no such method is what is wrong first.
    refused = door.ask(route, ("If-Match", "*"), behind="?x=1", method="DELETE", body=b"")
    methods = {method.strip() for method in refused.headers["allow"].split(",")}

    problem(refused, 405)
    assert ("HEAD" in methods) == ("GET" in methods)
    assert route.method in methods


@every_route
def test_a_slash_at_the_end_is_told_the_address_without(door: Door, route: Route) -> None:
    """An order without an id is no order that was not found."""
    detail = problem(door.ask(route, behind="/"), 404, "not-found")["detail"]

    path = door.path(route)
    assert detail == f"There is nothing at {path}/. Addresses end without a slash: {path}"


@every_route
@pytest.mark.parametrize("name", ["first", "every", "escaped", "escaped at the start"])
def test_a_slash_is_written_once_and_never_escaped(door: Door, route: Route, name: str) -> None:
    """Each address has one spelling: whatever looks at a path knows it by that."""
    path = door.path(route)
    written = {
        "first": f"/{path}",
        "every": path.replace("/", "//"),
        "escaped": path[0] + path[1:].replace("/", "%2F"),
        "escaped at the start": f"/%2f{path[1:]}",
    }[name]
    if written == path:  # of one part
        return
    # By its whole address: a path that begins with two slashes would be a host.
    url = f"{door.client.base_url}".rstrip("/") + written
    answer = door.client.request(route.method, url, content=route.body, headers=[JSON])

    document = problem(answer, 404, "not-found")
    assert document["detail"] == (
        f"There is nothing at {written}. Write each slash once, and not as %2F."
    )


@pytest.mark.parametrize("route", IDS, ids=str)
def test_an_id_in_capitals_is_the_same(door: Door, route: Route) -> None:
    body = b"" if route.method == "GET" else b"[]"
    capitals = Route(route.method, door.path(route).upper().replace("/V1/", "/v1/"), body)
    name = capitals.path.replace("ORDERS", "orders").replace("COMMANDS", "commands")
    capitals = capitals._replace(path=name.replace("EVENTS", "events"))

    if route.method != "GET":
        problem(door.ask(capitals), 422)  # the body, not the address
        return
    assert door.ask(capitals).json() == door.ask(route).json()


@every_body
@pytest.mark.parametrize("name", ["If-Match", "If-None-Match", "If-Unmodified-Since"])
def test_a_change_is_made_under_no_condition_that_nobody_looks_at(
    door: Door, route: Route, name: str
) -> None:
    if route.method == "PATCH" and name == "If-Match":
        assert problem(door.ask(route, (name, '"99"'), body=b'{"status":"shipped"}'), 412)
        return
    (error,) = problem(door.ask(route, (name, "*")), 422)["errors"]

    assert error["parameter"] == name


def test_a_list_of_versions_is_a_condition_and_a_weak_one_is_never_met(door: Door) -> None:
    shop = Shop(door.client)
    order_id = shop.confirmed((door.sku, 1))["id"]
    path = f"/v1/orders/{order_id}"

    for stale in ('W/"1"', '"2", "3"', 'W/"1", "2"', '"01"'):
        for method, body in (("GET", None), ("PATCH", {"status": "shipped"})):
            answer = shop.client.request(method, path, json=body, headers={"If-Match": stale})
            problem(answer, 412, "precondition-failed")
    for met in ('"1"', '"0", "1"', "*"):
        assert shop.client.get(path, headers={"If-Match": met}).status_code == 200
    for name in ("If-Match", "If-None-Match"):
        for no_tag in ("1", "", '*, "1"'):
            answer = shop.client.get(path, headers={name: no_tag})
            assert problem(answer, 422)["errors"][0]["parameter"] == name
    for known in ('W/"1"', '"7", W/"1"', "*"):
        answer = shop.client.get(path, headers={"If-None-Match": known})
        assert (answer.status_code, answer.content) == (304, b"")
    moved = shop.move(order_id, "shipped", headers={**WAIT, "If-Match": '"0", "1", W/"2"'})
    assert moved.json()["version"] == 2


def test_an_order_id_in_capitals_moves_the_order(door: Door) -> None:
    shop = Shop(door.client)
    order_id = shop.confirmed((door.sku, 1))["id"]

    moved = shop.move(order_id.upper(), "shipped")

    assert (moved.json()["id"], moved.json()["status"]) == (order_id, "shipped")


@pytest.mark.parametrize("path", ["/nothing/", "/v1/orders//events", "/v1/", "/docs/", "/livez/"])
def test_an_address_that_is_none_is_not_found(door: Door, path: str) -> None:
    detail = problem(door.client.get(path), 404)["detail"]

    assert detail.startswith(f"There is nothing at {path}.")


@every_route
def test_a_method_that_is_none_of_its_own_is_said_whatever_it_brings(
    door: Door, route: Route
) -> None:
    answer = door.ask(route, ("If-Match", "0"), behind="?x=1", body=b"", method="TRACE")
    problem(answer, 405, "method-not-allowed")

    if "get" not in DOCUMENT["paths"][route.path]:
        problem(door.ask(route, method="GET", body=b"{}"), 405, "method-not-allowed")


def test_a_key_is_asked_for_before_anything_else(anybody: httpx.Client) -> None:
    answer = anybody.post("/v1/orders?x=1", content=b"", headers={"Content-Encoding": fresh()})

    problem(answer, 401)
