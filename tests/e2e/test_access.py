"""Who may do what, and how often."""

import re

import httpx
import pytest

from tests.conftest import API_KEY, System, eventually
from tests.e2e.conftest import MakeKey
from tests.e2e.shop import Shop, fresh, problem

ORDER_ID = "00000000-0000-8000-8000-000000000000"
#: The scope that each address needs.
NEEDS = [
    ("POST", "/v1/orders", "orders:write"),
    ("POST", "/v1/order-batches", "orders:write"),
    ("PATCH", f"/v1/orders/{ORDER_ID}", "orders:write"),
    ("GET", "/v1/orders", "orders:read"),
    ("GET", f"/v1/orders/{ORDER_ID}", "orders:read"),
    ("GET", f"/v1/orders/{ORDER_ID}/events", "orders:read"),
    ("PUT", "/v1/products/MUG-01", "inventory:write"),
    ("POST", "/v1/inventory/MUG-01/adjustments", "inventory:write"),
    ("POST", "/v1/inventory/MUG-01/reductions", "inventory:write"),
    ("GET", "/v1/inventory", "inventory:read"),
    ("GET", "/v1/inventory/MUG-01", "inventory:read"),
    ("GET", "/v1/inventory/MUG-01/movements", "inventory:read"),
]
SCOPES = ["orders:read", "orders:write", "inventory:read", "inventory:write"]


@pytest.fixture(scope="module")
def scoped(make_key: MakeKey) -> dict[str, str]:
    """Tokens of keys with one scope each, by scope."""
    return {scope: make_key(scope) for scope in [*SCOPES, "dashboard:read"]}


@pytest.mark.parametrize(
    "authorization",
    [None, "", "Bearer", "Bearer  \t x", "Bearer hf_nonsense", API_KEY, f"Basic {API_KEY}",
     f"Bearer {API_KEY}x", f"Bearer {API_KEY[:-1]}", f"Bearer {API_KEY.upper()}",
     f"Token {API_KEY}", "Bearer \xff\xfe", "Bearer ' OR 1=1 --", f"Bearer {'x' * 8000}"],
    ids=lambda value: repr(value)[:24],
)  # fmt: skip
@pytest.mark.parametrize(("method", "path"), [("GET", "/v1/orders"), ("POST", "/v1/orders")])
def test_without_a_good_key_nobody_gets_in(
    anybody: httpx.Client, method: str, path: str, authorization: str | None
) -> None:
    headers = [] if authorization is None else [(b"Authorization", authorization.encode("latin-1"))]

    answer = anybody.request(method, path, headers=headers)

    problem(answer, 401, "unauthorized")
    assert answer.headers["www-authenticate"].startswith("Bearer")


@pytest.mark.parametrize(("method", "path", "needs"), NEEDS, ids=str)
def test_every_address_needs_a_key(
    anybody: httpx.Client, method: str, path: str, needs: str
) -> None:
    problem(anybody.request(method, path), 401)


@pytest.mark.parametrize(("method", "path", "needs"), NEEDS, ids=str)
def test_a_key_may_do_what_its_scope_says_and_no_more(
    anybody: httpx.Client, scoped: dict[str, str], method: str, path: str, needs: str
) -> None:
    for scope, token in scoped.items():
        answer = anybody.request(method, path, headers={"Authorization": f"Bearer {token}"})
        if scope == needs:
            assert answer.status_code not in (401, 403)
        else:
            problem(answer, 403, "forbidden")


def test_a_key_with_several_scopes_may_do_them_all(other_client: httpx.Client) -> None:
    shop = Shop(other_client)
    sku = shop.product(3)

    order = shop.confirmed((sku, 1))

    assert shop.move(order["id"], "shipped").status_code == 200
    assert shop.stock(sku) == (2, 0, 2)


def test_who_may_make_a_change_can_follow_its_command(
    system: System, shop: Shop, make_key: MakeKey
) -> None:
    """A stock system needs no right to read orders to learn what became of its adjustment."""
    sku = shop.product(1)
    with system.client(make_key("inventory:read", "inventory:write")) as client:
        address = Shop(client).adjust(sku, 1, headers={}).headers["location"]

        assert client.get(address).status_code == 200


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/openapi.json", "/docs"])
def test_health_and_the_documents_need_no_key(anybody: httpx.Client, path: str) -> None:
    assert anybody.get(path).status_code == 200


def test_a_revoked_key_is_refused_within_seconds(system: System) -> None:
    # Given a key that works
    made = system.run("keys", "create", fresh("leaver"), "--scope", "orders:read")
    key_id, token = made.split()[1].rstrip("."), made.split()[-1]
    with system.client(token) as client:
        assert client.get("/v1/orders").status_code == 200

        # When it is revoked
        system.run("keys", "revoke", key_id)

        # Then
        eventually(lambda: client.get("/v1/orders").status_code == 401)
        problem(client.get("/v1/orders"), 401)
    listed = next(
        line for line in system.run("keys", "list").splitlines() if line.startswith(key_id)
    )
    assert "revoked" in listed


def test_a_token_is_in_no_log_no_list_and_no_table(
    system: System, scoped: dict[str, str], shop: Shop
) -> None:
    wrong = "hf_a-token-that-somebody-mistyped"
    with system.client(wrong) as client:
        client.get("/v1/orders")
    with system.client(scoped["orders:read"]) as client:
        client.get("/v1/nonsense?" + "x" * 100)
        client.get("/v1/orders", params={"limit": "x"})
    shop.place((fresh(), 1))

    texts = [system.log("web").read_text(), system.log("worker").read_text()]
    texts += [system.run("keys", "list"), str(system.sql("SELECT api_keys::text FROM api_keys"))]

    for token in (*scoped.values(), wrong, API_KEY):
        assert not any(token in text for text in texts)


# --- limits ---


def remaining(answer: httpx.Response) -> int:
    """How many more requests a limited key may send, as its headers say."""
    match = re.search(r"r=(\d+)", answer.headers["ratelimit"])
    assert match
    return int(match[1])


def test_a_limited_key_is_told_how_much_is_left_and_then_refused(
    system: System, make_key: MakeKey
) -> None:
    with system.client(make_key("orders:read", rate_limit="5/hour")) as client:
        answers = [client.get("/v1/orders") for _ in range(7)]

    assert [answer.status_code for answer in answers] == [200] * 5 + [429] * 2
    assert [remaining(answer) for answer in answers] == [4, 3, 2, 1, 0, 0, 0]
    for answer in answers:
        assert "q=5" in answer.headers["ratelimit-policy"]
        assert "w=3600" in answer.headers["ratelimit-policy"]
    for refused in answers[5:]:
        problem(refused, 429, "rate-limited")
        assert 1 <= int(refused.headers["retry-after"]) <= 3600


def test_a_limit_ends_by_itself_and_is_no_one_elses(
    system: System, client: httpx.Client, make_key: MakeKey
) -> None:
    with system.client(make_key("orders:read", rate_limit="3/2 seconds")) as limited:
        eventually(lambda: limited.get("/v1/orders").status_code == 429)
        assert client.get("/v1/orders").status_code == 200
        eventually(lambda: limited.get("/v1/orders").status_code == 200)


def test_every_answer_to_a_limited_key_carries_its_limit(system: System, make_key: MakeKey) -> None:
    with system.client(make_key("orders:read", "orders:write", rate_limit="1000/hour")) as client:
        answers = [
            client.get("/v1/orders", params={"limit": 0}),
            client.get(f"/v1/orders/{ORDER_ID}"),
            client.post("/v1/orders", content=b"{", headers={"Content-Type": "application/json"}),
            client.post("/v1/orders", content=b"{}"),
            client.get("/v1/inventory"),
        ]

    assert [answer.status_code for answer in answers] == [422, 404, 400, 415, 403]
    for answer in answers:
        assert "ratelimit" in answer.headers
        assert "ratelimit-policy" in answer.headers


def test_a_key_without_a_limit_has_no_such_headers(client: httpx.Client) -> None:
    assert "ratelimit" not in client.get("/v1/orders").headers
