"""What a client asks for, how it asks, and what the answer lets it know."""

import json
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from typing import Any, Final

from tests.torture.history import Asked, Told
from tests.torture.rig import API_KEY

TIMEOUT_S: Final = 8.0
#: How the front door begins when it has sent something and heard nothing.
UNCERTAIN: Final = "We could not confirm that the request was accepted"

Ask = Callable[[str, str, Any, dict[str, str]], tuple[int, dict[str, Any], dict[str, str]]]


@dataclass(frozen=True)
class Wanted:
    """A change that a client wants, however many attempts it takes. See history.Asked."""

    kind: str
    method: str
    path: str
    body: Any
    names: list[str]
    units: list[dict[str, int]] = field(default_factory=list)
    to: str | None = None
    if_version: list[int] = field(default_factory=list)
    delta: int = 0
    price: int = 0
    key: str | None = None
    wait: bool = False
    chain: str = ""

    def headers(self) -> dict[str, str]:
        """What the request says beside its body."""
        headers = {"Prefer": "wait=5"} if self.wait else {}
        if self.key is not None:
            headers["Idempotency-Key"] = self.key
        if self.if_version:
            headers["If-Match"] = ", ".join(f'"{version}"' for version in self.if_version)
        return headers


def an_order(customer: str, units: dict[str, int], key: str | None = None) -> Wanted:
    """One order. units: wanted of each SKU."""
    lines = [{"sku": sku, "quantity": quantity} for sku, quantity in units.items()]
    body = {"customer_id": customer, "lines": lines}
    return Wanted("order", "POST", "/v1/orders", body, [customer], [units], key=key)


def a_product(sku: str, price: int, key: str | None = None, name: str = "") -> Wanted:
    """A product, created or replaced. price: minor units."""
    body = {"name": name or sku, "unit_price": price, "currency": "EUR"}
    return Wanted("product", "PUT", f"/v1/products/{sku}", body, [sku], price=price, key=key)


def a_change_of_stock(sku: str, delta: int, key: str | None = None) -> Wanted:
    """Units put on hand, or taken off."""
    path, body = ("adjustments", {"delta": delta, "reason": "received"}) if delta > 0 else (
        "reductions", {"quantity": -delta, "reason": "damaged"})  # fmt: skip
    return Wanted("stock", "POST", f"/v1/inventory/{sku}/{path}", body, [sku], delta=delta, key=key)


def a_move(
    order_id: str, to: str, key: str | None = None, if_version: list[int] | None = None
) -> Wanted:
    """An order moved to another status."""
    return Wanted("move", "PATCH", f"/v1/orders/{order_id}", {"status": to}, [order_id], to=to,
                  if_version=if_version or [], key=key)  # fmt: skip


def asked_for(
    wanted: Wanted, began_s: float, ended_s: float, answer: tuple[int, Any, dict[str, str]]
) -> Asked:
    """An attempt, for the history."""
    status, body, headers = answer
    return Asked(
        kind=wanted.kind, began_s=began_s, ended_s=ended_s, told=told(status, body),
        status=status, names=wanted.names, units=wanted.units, ids=_ids(body), key=wanted.key,
        to=wanted.to, if_version=wanted.if_version, delta=wanted.delta, price=wanted.price,
        replayed="idempotent-replayed" in headers, final=_final(status, body), chain=wanted.chain,
    )  # fmt: skip


@contextmanager
def client(port: int) -> Iterator[Ask]:
    """A connection that is made again when it breaks; status 0: it broke, nobody knows."""
    connection = HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_S)

    def ask(
        method: str, path: str, body: Any, headers: dict[str, str]
    ) -> tuple[int, dict[str, Any], dict[str, str]]:
        sent = {
            "Authorization": f"Bearer {API_KEY}", "Content-Type": "application/json", **headers,
        }  # fmt: skip
        try:
            connection.request(method, path, json.dumps(body), sent)
            with connection.getresponse() as answer:
                found = {name.lower(): value for name, value in answer.getheaders()}
                return answer.status, json.loads(answer.read()), found
        except (OSError, HTTPException, ValueError):
            connection.close()
            return 0, {}, {}

    with closing(connection):
        yield ask


def told(status: int, body: dict[str, Any]) -> Told:
    """What an answer lets a client know. 409: it was taken, and decided against.

    503: refused, unless it says that publishing had begun.
    """
    if 200 <= status < 300 or (status == 409 and "id" in body):
        return Told.OK
    uncertain = status != 503 or str(body.get("detail", "")).startswith(UNCERTAIN)
    return Told.REFUSED if 400 <= status < 500 or not uncertain else Told.UNKNOWN


def _ids(body: dict[str, Any]) -> list[str]:
    if "orders" in body:
        return [order["id"] for order in body["orders"]]
    return [body["id"]] if "id" in body else []


def _final(status: int, body: dict[str, Any]) -> str | None:
    if status == 409:
        return "rejected"
    return str(body["status"]) if status in (200, 201) and "status" in body else None
