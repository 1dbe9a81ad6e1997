"""The lists of orders and of the audit log as CSV: by the list's filters, whole, no formulas."""

import csv
import io

import pytest

from tests.e2e.desk import Desk
from tests.e2e.shop import fresh


def rows(desk: Desk, path: str, **query: str) -> list[dict[str, str]]:
    answer = desk.reader.client.get(path, params=query or None)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-disposition"].startswith("attachment; filename=")
    return list(csv.DictReader(io.StringIO(answer.text)))


def test_orders_are_exported_by_the_filters_of_their_list(desk: Desk) -> None:
    sku, customer = desk.shop.product(50), f"=SUM({fresh('A')})"
    first = desk.shop.confirmed((sku, 2), customer_id=customer)
    second = desk.shop.place((sku, 1_000), customer_id=customer).json()
    desk.shop.confirmed((sku, 1), customer_id=fresh("another"))

    look = desk.reader.look("/dashboard/orders", customer=customer)
    (link,) = [link for link in look.links if "export.csv" in link]
    found = rows(desk, link)

    assert [row["id"] for row in found] == [second["id"], first["id"]]
    # A spreadsheet takes it for text
    assert {row["customer_id"] for row in found} == {f"'{customer}"}
    assert found[1]["total"] == "25.00"
    assert found[1]["total_minor_units"] == str(first["total"])
    assert found[1]["lines"] == f"2 x {sku}"
    assert found[0]["status"] == "rejected"
    assert sku in found[0]["rejection"]
    confirmed = rows(desk, "/dashboard/orders/export.csv", customer=customer, status="confirmed")
    assert [row["id"] for row in confirmed] == [first["id"]]


def test_an_export_of_orders_goes_beyond_a_page_and_a_piece(desk: Desk) -> None:
    sku, customer = desk.shop.product(5_000), fresh("many")
    orders = [{"customer_id": customer, "lines": [{"sku": sku, "quantity": 1}]} for _ in range(300)]
    for _ in range(2):
        answer = desk.shop.client.post("/v1/order-batches", json={"orders": orders})
        assert answer.status_code == 202
    ids = {order["id"] for order in answer.json()["orders"]}
    desk.reader.until(f"/dashboard/orders/{max(ids)}", "confirmed")
    desk.shop.confirmed((sku, 1), customer_id=customer)

    found = [row["id"] for row in rows(desk, "/dashboard/orders/export.csv", customer=customer)]

    assert len(found) == len(set(found)) == 601
    assert ids <= set(found)


def test_the_audit_log_is_exported_by_the_filters_of_its_page(desk: Desk) -> None:
    order_id = desk.shop.confirmed((desk.shop.product(5), 1))["id"]
    look = desk.operator.look(f"/dashboard/orders/{order_id}")
    desk.operator.submit(look, f"/dashboard/orders/{order_id}/move")

    (row,) = rows(desk, "/dashboard/audit/export.csv", target=order_id)

    assert row["action"] == "move_order"
    assert row["target"] == f"order:{order_id}"
    assert row["key_name"] == "Olga"
    assert row["result"] == "applied"
    assert '"to":"shipped"' in row["details"].replace(" ", "")
    log = desk.reader.look("/dashboard/audit", target=order_id)
    assert [link for link in log.links if link.startswith("/dashboard/audit/export.csv?target=")]


@pytest.mark.parametrize("path", ["orders", "audit"])
def test_a_filter_that_cant_be_read_exports_nothing_and_is_named(desk: Desk, path: str) -> None:
    look = desk.reader.look(f"/dashboard/{path}/export.csv", after="yesterday")

    assert look.status == 422
    assert look.says("after: a time such as 2026-11-23T14:00")
