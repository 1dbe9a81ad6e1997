"""One order, from the request to the row."""

import httpx

WAIT = {"Prefer": "wait=10"}


def test_an_order_is_decided(client: httpx.Client) -> None:
    client.put(
        "/v1/products/SMOKE-1",
        json={"name": "Mug", "unit_price": 1250, "currency": "EUR"},
        headers=WAIT,
    ).raise_for_status()
    client.post(
        "/v1/inventory/SMOKE-1/adjustments",
        json={"delta": 10, "reason": "received"},
        headers=WAIT,
    ).raise_for_status()

    placed = client.post(
        "/v1/orders",
        json={"customer_id": "c-17", "lines": [{"sku": "SMOKE-1", "quantity": 2}]},
        headers=WAIT,
    )

    assert placed.status_code == 201
    assert placed.json()["status"] == "confirmed"
    assert placed.json()["total"] == 2500
    assert client.get("/v1/inventory/SMOKE-1").json()["available"] == 8
