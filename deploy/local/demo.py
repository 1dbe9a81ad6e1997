"""A small catalogue to play with, and one order: over HTTP only, as any client would."""

import json
import secrets
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from deploy.local.errors import CannotRunError
from models.rules.currencies import format_amount

# SKU, name, price in cents, pieces received.
CATALOGUE = (
    ("MUG-01", "Enamel mug, 350 ml, cream", 1450, 480),
    ("MUG-02", "Stoneware mug, 400 ml, slate", 1890, 320),
    ("POT-01", "Moka pot, 6 cups", 3490, 150),
    ("POT-02", "Cast-iron casserole, 4.5 l", 12900, 60),
    ("KNF-01", "Chef's knife, 20 cm", 8900, 90),
    ("KNF-02", "Paring knife, 9 cm", 2450, 240),
    ("BRD-01", "Oak chopping board, 40 x 30 cm", 4200, 130),
    ("TWL-01", "Linen tea towel, set of 3", 2790, 400),
    ("APR-01", "Canvas apron, navy", 3900, 180),
    ("GLS-01", "Water glass, 300 ml, set of 6", 2990, 210),
    ("GLS-02", "Carafe with cork, 1 l", 2190, 160),
    ("JAR-01", "Preserving jar, 750 ml", 690, 900),
    ("SPN-01", "Beechwood spoon, 32 cm", 790, 650),
    ("SCL-01", "Kitchen scale, 5 kg", 3290, 110),
    ("TIM-01", "Kitchen timer, mechanical", 1590, 270),
    ("KTL-01", "Stovetop kettle, 2 l", 5490, 75),
    ("TEA-01", "Darjeeling first flush, 100 g", 1690, 340),
    ("COF-01", "Espresso beans, 1 kg", 2390, 520),
    ("HON-01", "Lime blossom honey, 500 g", 990, 430),
    ("OIL-01", "Olive oil, extra virgin, 750 ml", 1790, 380),
)
SAMPLE_LINES = (("MUG-01", 2), ("COF-01", 1))
CURRENCY = "EUR"
DECIDED_SECONDS_MAX = 30.0


class DemoError(CannotRunError):
    """The service answered otherwise than its contract says."""


@dataclass(frozen=True)
class Answer:
    status: int
    body: dict[str, Any]


@dataclass(frozen=True)
class Client:
    """The few requests that a first look needs."""

    address: str
    key: str

    def ask(self, method: str, path: str, body: object = None, **headers: str) -> Answer:
        """Send a request; names of headers are written with `_` for `-`."""
        request = urllib.request.Request(  # noqa: S310 (the address is ours)
            self.address + path,
            data=None if body is None else json.dumps(body).encode(),
            method=method,
            headers={
                "Authorization": f"Bearer {self.key}",
                "Content-Type": "application/json",
                **{name.replace("_", "-"): value for name, value in headers.items()},
            },
        )
        try:
            with urllib.request.urlopen(request, timeout=40) as answer:  # noqa: S310  # nosec B310
                return Answer(answer.status, json.loads(answer.read() or b"{}"))
        except urllib.error.HTTPError as error:
            return Answer(error.code, json.loads(error.read() or b"{}"))

    def change(self, method: str, path: str, body: object, idempotency_key: str) -> Answer:
        """Ask for a change and wait until it is decided."""
        headers = {"Prefer": "wait=10", "Idempotency-Key": idempotency_key}
        answer = self.ask(method, path, body, **headers)
        waited = time.monotonic()
        while answer.status == HTTPStatus.ACCEPTED:
            if time.monotonic() - waited > DECIDED_SECONDS_MAX:
                raise DemoError(f"{method} {path} is still undecided")
            # The same key and body again: the same change, and another wait for its decision.
            answer = self.ask(method, path, body, **headers)
        return answer

    def is_ready(self) -> bool:
        """Whether orders can be taken."""
        try:
            return self.ask("GET", "/readyz").status == HTTPStatus.OK
        except (OSError, ValueError):
            return False


def ensure_catalogue(client: Client) -> int:
    """Create the demo products that are missing, with their stock; returns how many were."""
    return sum(ensure_product(client, *product) for product in CATALOGUE)


def ensure_product(client: Client, sku: str, name: str, price: int, pieces: int) -> bool:
    """Whether the product was missing.

    One without any stock is one whose first delivery was cut short. Its delivery has a fixed key,
    so that it counts once.
    """
    found = client.ask("GET", f"/v1/inventory/{sku}")
    missing = found.status == HTTPStatus.NOT_FOUND
    if missing:
        product = {"name": name, "unit_price": price, "currency": CURRENCY}
        key = f"demo-product-{sku}-{secrets.token_hex(4)}"
        expect(client.change("PUT", f"/v1/products/{sku}", product, key), HTTPStatus.OK)
    else:
        expect(found, HTTPStatus.OK)
    if missing or found.body["on_hand"] == 0:
        delivery = {"delta": pieces, "reason": "received"}
        path = f"/v1/inventory/{sku}/adjustments"
        expect(client.change("POST", path, delivery, f"demo-stock-{sku}"), HTTPStatus.OK)
    return missing


def sample_order() -> dict[str, Any]:
    lines = [{"sku": sku, "quantity": quantity} for sku, quantity in SAMPLE_LINES]
    return {"customer_id": "c-17", "lines": lines, "metadata": {"channel": "demo"}}


def place_sample_order(client: Client) -> dict[str, Any]:
    """Place an order and return it, decided."""
    key = f"demo-order-{secrets.token_hex(8)}"
    return expect(client.change("POST", "/v1/orders", sample_order(), key), HTTPStatus.CREATED)


def expect(answer: Answer, status: HTTPStatus) -> dict[str, Any]:
    if answer.status != status:
        raise DemoError(f"expected {status}, got {answer.status}: {json.dumps(answer.body)}")
    return answer.body


def in_words(order: dict[str, Any]) -> str:
    """An order as a person would tell it."""
    names = {sku: name for sku, name, _, _ in CATALOGUE}
    lines = ", ".join(
        f"{line['quantity']} × {names.get(line['sku'], line['sku'])}" for line in order["lines"]
    )
    total = format_amount(order["total"], order["currency"])
    return f"{order['status']}: {lines}; {total}"
