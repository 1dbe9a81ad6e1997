"""The search box of every page, as a browser without JavaScript."""

import re

import pytest

from tests.e2e.desk import Desk
from tests.e2e.operators import Look
from tests.e2e.shop import NOW, fresh, paused_workers


def search(desk: Desk, text: str) -> Look:
    return desk.reader.look("/dashboard/search", q=text)


def orders(look: Look) -> set[str]:
    prefix = "/dashboard/orders/"
    return {link.removeprefix(prefix) for link in look.links if link.startswith(prefix)}


def test_every_page_has_a_form_that_searches_without_a_script(desk: Desk) -> None:
    for path in ("/dashboard", "/dashboard/audit", "/dashboard/search"):
        text = desk.reader.look(path).answer.text
        assert re.search(r'<form[^>]*method="get" action="/dashboard/search"', text), path


def test_a_whole_id_leads_straight_to_its_order_decided_or_not(desk: Desk) -> None:
    sku = desk.shop.product(5)
    order_id = desk.shop.confirmed((sku, 1))["id"]
    with paused_workers(desk.system):
        pending = desk.shop.place((sku, 1), headers=NOW).json()["id"]

        for id_ in (order_id, pending, f" {order_id.upper()} "):
            look = search(desk, id_)
            assert look.url.path == f"/dashboard/orders/{id_.strip().lower()}"


def test_a_part_of_an_id_finds_the_order(desk: Desk) -> None:
    order_id = desk.shop.confirmed((desk.shop.product(5), 1))["id"]
    # As lists shorten it, its beginning, and a part from its middle
    for part in (f"{order_id[:8]}…{order_id[-5:]}", order_id[:23], order_id[9:31]):
        look = search(desk, part)
        assert look.url.path == f"/dashboard/orders/{order_id}" or order_id in orders(look), part


def test_customers_products_and_metadata_are_found_by_kind(desk: Desk) -> None:
    word = fresh("zebra")
    sku = desk.shop.product(50, sku=f"{word.upper()}-1")
    desk.shop.put_product(f"{word.upper()}-2", name="Plain")
    desk.shop.put_product(fresh("other"), name=f"A {word.title()} striped mug")
    by_customer = desk.shop.confirmed((sku, 1), customer_id=f"{word}-customer")["id"]
    body = {
        "customer_id": "c-1",
        "lines": [{"sku": sku, "quantity": 1}],
        "metadata": {"campaign": f"Spring {word} sale"},
    }
    answer = desk.shop.client.post("/v1/orders", json=body, headers={"Prefer": "wait=20"})
    by_metadata = answer.json()["id"]

    look = search(desk, word)

    assert orders(look) == {by_metadata}
    assert look.says(f"campaign: Spring {word} sale", f"{word}-customer", "striped mug")
    assert f"/dashboard/orders?customer={word}-customer" in look.links
    skus = {f"/dashboard/inventory/{word.upper()}-{n}" for n in (1, 2)}
    assert skus <= set(look.links)
    assert look.says("The metadata of all orders was searched")
    assert by_customer != by_metadata


@pytest.mark.parametrize("exact", [True, False])
def test_what_is_found_alone_is_led_to(desk: Desk, exact: bool) -> None:
    sku = desk.shop.product(5, sku=f"{fresh('LONELY').upper()}-END")
    customer = f"{fresh('hermit')} & son"
    desk.shop.confirmed((sku, 1), customer_id=customer)

    found = search(desk, sku if exact else sku[:-1].lower())
    assert found.url.path == f"/dashboard/inventory/{sku}"
    of_customer = search(desk, customer if exact else customer[:-1])
    assert of_customer.url.path == "/dashboard/orders"
    assert of_customer.says(customer)


def test_what_is_not_there_is_said(desk: Desk) -> None:
    assert search(desk, fresh("nothing")).says("Nothing was found", "search the failures")
    assert search(desk, "x").says("Enter at least 2 characters")
    assert search(desk, "").says("Enter at least 2 characters")
    assert search(desk, "x" * 301).status == 422
    assert search(desk, "100%_\\' \" \N{RIGHT-TO-LEFT OVERRIDE}").says("Nothing was found")
