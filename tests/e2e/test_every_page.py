"""What no request for a page may carry, tried on every page; and HEAD, as monitors ask."""

from collections.abc import Iterator
from unittest.mock import MagicMock

import httpx
import pytest

from tests.e2e.desk import Desk
from tests.e2e.operators import new_key
from tests.e2e.shop import problem
from web.dashboard import docs, wiring
from web.ids import COMMAND, IdMint

FAILURE = """
INSERT INTO dead_letters (message_id, queue, actor, attempts, error_class, error, traceback, body,
                          command_ids, failed_at, subjects)
VALUES ('every page', 'holdfast.orders', 'place_orders', 6, 'AnyError', 'any', '', '{}', '{}',
        now(), '{}')
RETURNING id
"""
#: Addresses of the modules' pages as they are wired, whatever they are wired with.
WIRED = {
    path: resource
    for page in wiring.PAGES
    for path, resource in page(MagicMock()).items()
    if hasattr(resource, "on_get")
}
#: A parameter that each of all pages knows, if any.
PAGES = {path: next(iter(getattr(page, "fields", ())), "") for path, page in WIRED.items()} | {
    "/dashboard/live/{page}": "poll",
    "/dashboard/sign-in": "next",
}
SLASHED = [page for page in PAGES if page != "/dashboard"]
OPEN = docs.routes(MagicMock())


@pytest.fixture(scope="module")
def there(desk: Desk) -> Iterator[dict[str, object]]:
    """What an address may name, by what it is called there; `name` is of a chart and a runbook."""
    sku = desk.shop.product(5)
    ((failure_id,),) = desk.system.sql(FAILURE)
    yield {
        "sku": sku,
        "order_id": desk.shop.confirmed((sku, 1))["id"],
        "failure_id": failure_id,
        "command_id": IdMint(desk.system.environment["SECRET_KEY"].encode()).new(COMMAND),
        "queue": "holdfast.orders",
        "actor": "place_orders",
        "page": "overview",
    }
    desk.system.sql("DELETE FROM dead_letters WHERE id = %s", failure_id)


def address_of(page: str, there: dict[str, object]) -> str:
    name = "HoldfastDeadLetters" if "runbooks" in page else "throughput"
    return page.format(**there, name=name)


def expected(page: str) -> int:
    """The answer to somebody who is signed in, and so led on from where to sign in."""
    return 303 if page == "/dashboard/sign-in" else 200


@pytest.fixture(scope="module")
def strangers(desk: Desk) -> Iterator[tuple[httpx.Client, httpx.Client]]:
    """Nobody, and a shop's key that may not see the dashboard."""
    with (
        httpx.Client(base_url=desk.system.base_url, timeout=40) as nobody,
        desk.system.client(new_key(desk.system, "A shop", "orders:read")) as shop,
    ):
        yield nobody, shop


@pytest.mark.parametrize("page", [page for page in WIRED if page not in OPEN])
def test_who_may_not_see_a_page_does_not(
    strangers: tuple[httpx.Client, httpx.Client], there: dict[str, object], page: str
) -> None:
    nobody, shop = (client.get(address_of(page, there)) for client in strangers)

    assert nobody.status_code in (303, 401)
    assert nobody.headers.get("location", "/dashboard/sign-in").startswith("/dashboard/sign-in")
    assert shop.status_code == 403
    assert "lacks the scope dashboard:" in shop.text


@pytest.mark.parametrize("page", PAGES)
def test_every_page_is_there_and_guarded(desk: Desk, there: dict[str, object], page: str) -> None:
    with desk.operator.client.stream("GET", address_of(page, there)) as answer:
        assert answer.status_code == expected(page)
        assert answer.headers["cache-control"] == "no-store"
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("page", PAGES)
def test_a_method_that_a_page_does_not_have_is_said_to_anybody(
    strangers: tuple[httpx.Client, httpx.Client], there: dict[str, object], page: str
) -> None:
    """Not that a form may be forged."""
    for client in strangers:
        options = client.options(address_of(page, there))
        refused = client.delete(address_of(page, there))

        assert (options.status_code, refused.status_code) == (200, 405)
        assert options.headers["allow"].startswith("GET, HEAD")
        assert refused.headers["allow"] == f"{options.headers['allow']}, OPTIONS"


@pytest.mark.parametrize("page", PAGES)
def test_a_parameter_that_a_page_does_not_know_is_named(
    desk: Desk, there: dict[str, object], page: str
) -> None:
    answer = desk.operator.client.get(address_of(page, there), params={"nonsense": "1"})

    assert answer.status_code == 422
    assert "nonsense" in answer.text
    assert "is unknown; " in answer.text
    assert PAGES[page] in answer.text


@pytest.mark.parametrize("page", PAGES)
def test_a_parameter_is_text_in_utf_8(desk: Desk, there: dict[str, object], page: str) -> None:
    field = PAGES[page] or "q"

    answer = desk.operator.client.get(f"{address_of(page, there)}?{field}=%ff")

    assert answer.status_code == 422
    assert "is not UTF-8" in answer.text


@pytest.mark.parametrize("page", PAGES)
def test_head_is_answered_as_get_without_a_body(
    desk: Desk, there: dict[str, object], page: str
) -> None:
    """A stream, too, comes to its end: nothing is behind the head."""
    client = desk.operator.client
    address = address_of(page, there)

    head = client.head(address)
    with client.stream("GET", address) as get:
        assert (head.status_code, get.status_code) == (expected(page),) * 2
        assert head.headers["content-type"] == get.headers["content-type"]
    assert head.content == b""


def test_head_keeps_no_place_of_an_export(desk: Desk) -> None:
    client = desk.operator.client
    for _ in range(6):
        assert client.head("/dashboard/failures/export.csv").status_code == 200

    assert client.get("/dashboard/failures/export.csv").status_code == 200


@pytest.mark.parametrize("page", SLASHED)
def test_a_slash_at_the_end_is_told_the_address_without(
    desk: Desk, there: dict[str, object], page: str
) -> None:
    address = address_of(page, there)

    answer = desk.operator.client.get(f"{address}/")

    assert answer.status_code == 404
    assert f"There is nothing at {address}/. Addresses end without a slash: {address}" in (
        answer.text
    )


@pytest.mark.parametrize("page", PAGES)
def test_a_slash_is_written_once_and_never_escaped(
    desk: Desk, there: dict[str, object], page: str
) -> None:
    """Else a page would be served that the rules about pages do not know, such as no-store."""
    client = desk.operator.client
    address = address_of(page, there)
    base = f"{client.base_url}".rstrip("/")

    for written in (f"/{address}", f"/%2f{address[1:]}", f"/{address[1:].replace('/', '%2F')}"):
        if written != address:
            answer = client.get(base + written)
            assert answer.status_code == 404
            assert f"There is nothing at {written}." in answer.text


@pytest.mark.parametrize("page", ["/dashboard/orders/{}", "/dashboard/orders?q={}"])
def test_an_id_in_capitals_leads_to_its_page(
    desk: Desk, there: dict[str, object], page: str
) -> None:
    order_id = str(there["order_id"])

    look = desk.operator.look(page.format(order_id.upper()))

    assert look.status == 200
    assert look.says(order_id)


def test_the_audit_log_knows_ids_in_capitals(desk: Desk, there: dict[str, object]) -> None:
    address = f"/dashboard/orders/{there['order_id']}"
    sent = desk.operator.submit(desk.operator.look(address), f"{address}/move")
    command_id = sent.url.params["done"].upper()

    for query in (
        {"command_id": command_id},
        {"target": str(there["order_id"]).upper()},
        {"target": f"order:{str(there['order_id']).upper()}"},
    ):
        (row,) = desk.reader.look("/dashboard/audit", **query).rows[1:]
        assert "Moved an order" in row


def test_a_form_is_taken_as_it_is_or_refused_by_name(desk: Desk) -> None:
    client = desk.operator.client
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    for headers, named in (
        ({**form, "Content-Encoding": "gzip"}, "gzip"),
        ({"Content-Type": f"{form['Content-Type']}; charset=latin-1"}, "latin-1"),
        ({"Content-Type": "text/plain"}, "text/plain"),
    ):
        answer = client.post("/dashboard/sign-out", content=b"csrf=x", headers=headers)
        assert answer.status_code == 415
        assert named in answer.text
    twice = [("X-CSRF-Token", "a"), ("X-CSRF-Token", "b")]
    problem(client.post("/dashboard/sign-out", headers=twice), 400, "bad-request")


def test_static_files_take_no_parameter(desk: Desk) -> None:
    """Their addresses change with what is in them."""
    client = desk.operator.client
    page = client.get("/dashboard").text
    address = page.partition('rel="stylesheet" href="')[2].partition('"')[0]

    assert client.get(address).status_code == 200
    assert client.head(address).headers["content-length"] != "0"
    assert client.get(f"{address}?v=1").status_code == 422
