"""Orders and inventory at the dashboard, as a browser without JavaScript."""

import re

import pytest

from tests.conftest import eventually
from tests.e2e.desk import Desk
from tests.e2e.operators import Look
from tests.e2e.shop import NOW, fresh, paused_workers
from web.ids import ORDER, IdMint

#: A fault that passes: the order of one customer can't be written for a while.
STUCK = """
CREATE FUNCTION stuck() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
RAISE EXCEPTION 'no clerk is free' USING ERRCODE = 'serialization_failure'; END $$;
CREATE TRIGGER stuck BEFORE INSERT ON orders FOR EACH ROW WHEN (NEW.customer_id = 'c-stuck')
EXECUTE FUNCTION stuck();
"""

#: An order that failed, and could not even be recorded as one that did.
FAILED = """
WITH decided AS (
    INSERT INTO commands (id, kind, status, placed_at, decided_at)
    VALUES (%s, 'place_order', 'failed', now(), now())
)
INSERT INTO dead_letters (message_id, queue, actor, attempts, error_class, error, traceback, body,
                          command_ids, failed_at, subjects)
VALUES ('without a row', 'holdfast.orders', 'place_orders', 6, 'AnyError',
        E'no price\\nCONTEXT:  a function', '', '{}', ARRAY[%s]::uuid[], now(), ARRAY[%s])
"""

# --- orders ---


def test_an_id_leads_straight_to_its_order(desk: Desk) -> None:
    order_id = desk.shop.confirmed((desk.shop.product(5), 2), customer_id="c-direct")["id"]

    look = desk.reader.look("/dashboard/orders", q=f" {order_id.upper()} ")

    assert look.url.path == f"/dashboard/orders/{order_id}"
    assert look.says("confirmed", "c-direct", "25.00 EUR", "Confirmed: stock was allocated")


def test_a_made_up_order_is_not_there(desk: Desk) -> None:
    made_up = IdMint(b"another key, at least as long as that").new(ORDER)
    for name in (made_up, "x", "0" * 36):
        assert desk.reader.look(f"/dashboard/orders/{name}").status == 404
    look = desk.reader.look("/dashboard/orders", q=made_up)
    assert look.status == 422
    assert look.says("none was ever accepted")


def test_an_accepted_order_is_pending_until_it_is_decided(desk: Desk) -> None:
    sku = desk.shop.product(5)
    with paused_workers(desk.system):
        order_id = desk.shop.place((sku, 1), headers=NOW).json()["id"]
        look = desk.operator.look(f"/dashboard/orders/{order_id}")
        assert look.status == 200
        assert look.says("Accepted, not decided yet", "pending", "Where it waits", "UTC")
        assert look.says("no worker has tried it")
        assert look.may_do() == []
    desk.operator.until(f"/dashboard/orders/{order_id}", "confirmed", "12.50 EUR")


def test_a_pending_order_says_what_is_known_of_it_and_what_stops_it(desk: Desk) -> None:
    sku = desk.shop.product(5)
    desk.shop.put_product(sku, name="Kettle, 2 l")
    desk.system.sql(STUCK)
    try:
        order_id = desk.shop.place((sku, 3), customer_id="c-stuck", headers=NOW).json()["id"]
        path = f"/dashboard/orders/{order_id}"
        # One that looks while the first attempt is noted may see only a part of it.
        look = desk.reader.until(path, "no clerk is free", "c-stuck")
    finally:
        desk.system.sql("DROP TRIGGER stuck ON orders; DROP FUNCTION stuck()")

    assert look.says("pending", "c-stuck", sku, "Kettle, 2 l", "holdfast.orders", "Attempts")
    assert "/dashboard/orders?customer=c-stuck" in look.links
    assert [link for link in look.links if link.startswith("/dashboard/delayed#m-")]
    decided = desk.reader.until(path, "Confirmed: stock was allocated")
    assert not decided.says("Where it waits")
    assert decided.says("Kettle, 2 l")


def test_a_move_that_waits_for_its_order_is_shown_with_it_and_among_the_delayed(
    desk: Desk,
) -> None:
    sku = desk.shop.product(5)
    desk.system.sql(STUCK)
    try:
        order_id = desk.shop.place((sku, 3), customer_id="c-stuck", headers=NOW).json()["id"]
        path = f"/dashboard/orders/{order_id}"
        command_id = desk.shop.move(order_id, "shipped", headers=NOW).json()["id"]
        look = desk.reader.until(path, "Moves that wait for its decision")
        delayed = desk.reader.until("/dashboard/delayed", command_id[:8])
        assert desk.shop.command(command_id)["status"] == "pending"
    finally:
        desk.system.sql("DROP TRIGGER stuck ON orders; DROP FUNCTION stuck()")

    assert look.says("pending", "shipped", command_id[:8])
    assert path in delayed.links
    moved = desk.reader.until(path, "Shipped")
    assert not moved.says("Moves that wait for its decision")


def test_a_failed_order_without_a_row_leads_to_its_message(desk: Desk) -> None:
    order_id = IdMint(desk.system.environment["SECRET_KEY"].encode()).new(ORDER)
    desk.system.sql(FAILED, order_id, order_id, f"order:{order_id}")

    look = desk.reader.look("/dashboard/search", q=order_id)

    assert look.says("failed", "Not recorded", "no price")
    for words in ("not known yet", "when it is decided", "CONTEXT"):
        assert not look.says(words)
    listed = desk.reader.look("/dashboard/failures", q=f"order:{order_id}", view="list")
    assert listed.says("no price")
    assert not listed.says("CONTEXT")
    desk.system.sql("DELETE FROM dead_letters WHERE message_id = 'without a row'")


def test_orders_are_found_by_customer_sku_status_and_time(desk: Desk) -> None:
    sku, customer = desk.shop.product(50), fresh("customer")
    ids = [desk.shop.confirmed((sku, 1), customer_id=customer)["id"] for _ in range(3)]
    rejected = desk.shop.place((sku, 1_000), customer_id=customer).json()["id"]

    def found(**query: str) -> set[str]:
        look = desk.reader.look("/dashboard/orders", **query)
        prefix = "/dashboard/orders/"
        ids = {link.removeprefix(prefix) for link in look.links if link.startswith(prefix)}
        return {id_ for id_ in ids if not id_.startswith("export.csv")}

    assert found(customer=customer) == {*ids, rejected}
    assert found(q=customer) == {*ids, rejected}
    assert found(q=sku) == {*ids, rejected}
    assert found(sku=sku, status="confirmed") == set(ids)
    assert found(q=f"customer:{customer}", status="rejected") == {rejected}
    assert found(customer=customer, after="2099-01-01T00:00") == set()
    assert found(customer=customer, before="2099-01-01T00:00Z") == {*ids, rejected}
    assert desk.reader.look("/dashboard/orders", status="lost").status == 422
    for query in ({"sku": "a mug"}, {"q": "sku:a mug"}):
        no_sku = desk.reader.look("/dashboard/orders", **query)
        assert (no_sku.status, no_sku.says("A SKU has 1 to 64 characters")) == (422, True)
    nobody = desk.reader.look("/dashboard/orders", customer="nobody")
    assert nobody.says("No order matches", "see all orders")


def test_the_pages_of_a_list_hold_each_order_once(desk: Desk) -> None:
    sku, customer = desk.shop.product(1_000), fresh("customer")
    orders = [{"customer_id": customer, "lines": [{"sku": sku, "quantity": 1}]}] * 60
    taken = desk.shop.client.post("/v1/order-batches", json={"orders": orders}).json()["orders"]
    for one in taken:
        desk.shop.decided(one["id"])

    first = desk.reader.look("/dashboard/orders", customer=customer)
    following = next(link for link in first.links if "cursor=" in link)
    second = desk.reader.look(f"/dashboard/orders{following}")

    assert (len(first.rows), len(second.rows)) == (51, 11)
    seen = {link for look in (first, second) for link in look.links if "/orders/0" in link}
    assert {link.rpartition("/")[2] for link in seen} >= {one["id"] for one in taken}


def test_a_rejection_is_told_in_words_with_a_way_to_the_product(desk: Desk) -> None:
    sku = desk.shop.product(1)
    order_id = desk.shop.place((sku, 3)).json()["id"]

    look = desk.operator.look(f"/dashboard/orders/{order_id}")

    assert look.says("Not enough stock", f"3 of {sku} asked, 1 available", "It touched no stock")
    assert f"/dashboard/inventory/{sku}" in look.links
    assert look.may_do() == []


def test_an_order_is_moved_along_and_its_whole_story_is_told(desk: Desk) -> None:
    sku = desk.shop.product(9)
    order_id = desk.shop.confirmed((sku, 2))["id"]
    path, move = f"/dashboard/orders/{order_id}", f"/dashboard/orders/{order_id}/move"
    look = desk.operator.look(path)
    assert sorted(look.may_do()) == [move, move]

    shipped = desk.operator.submit(look, move)
    assert shipped.says("Done.", "Mark as delivered", "Record return")
    # What that page showed is out of date now: its button is refused, in words.
    stale = desk.operator.submit(look, move, key=fresh("key"))
    assert stale.says(
        "Someone else changed this order. This is its current state", "Mark as delivered"
    )
    assert not stale.says("If-Match")
    taken_back = Look(
        desk.operator.client.post(
            move,
            data={**dict(shipped.form(move).fields), "to": "returned", "restock": ""},
            follow_redirects=True,
        )
    )

    assert desk.shop.order(order_id)["status"] == "returned"
    assert desk.shop.stock(sku) == (7, 0, 7)
    assert taken_back.says(
        "Accepted by the front door", "Confirmed: stock was allocated", "Shipped", "by Olga",
        "The move to shipped was refused", "Returned", "Not put back on hand.",
    )  # fmt: skip
    assert taken_back.may_do() == []
    movements = [row.split() for row in taken_back.rows if "main" in row and sku in row]
    assert [sku, "placed", "0", "+2", "main"] in [row[:5] for row in movements]
    assert [sku, "shipped", "−2", "−2", "main"] in [row[:5] for row in movements]


def test_without_a_script_what_cannot_be_undone_is_asked_in_the_form(desk: Desk) -> None:
    order_id = desk.shop.confirmed((desk.shop.product(9), 2))["id"]

    page = desk.operator.client.get(f"/dashboard/orders/{order_id}").text

    asked = re.findall(r"<noscript>(.*?)</noscript>", page, re.DOTALL)
    assert len(asked) == page.count('value="cancelled"') + page.count('value="returned"') == 1
    assert all(re.search(r'<input type="checkbox" [^>]*required', one) for one in asked)


def test_a_form_sent_again_with_other_values_is_told_so_in_plain_words(desk: Desk) -> None:
    sku = desk.shop.product(5)
    look = desk.operator.look(f"/dashboard/inventory/{sku}")
    adjust = f"/dashboard/inventory/{sku}/adjust"
    desk.operator.submit(look, adjust, delta="3", reason="found")

    again = desk.operator.submit(look, adjust, delta="4", reason="found")

    assert again.status == 422
    assert again.says("This form was sent before with other values", "Open the page again")
    assert not again.says("fresh key")
    assert f"/dashboard/inventory/{sku}" in again.links
    assert desk.shop.stock(sku) == (8, 0, 8)


@pytest.mark.parametrize("q", ["Order:xyz", "order:", "ORDER: ", "customer:", "sku: ", "x" * 301])
def test_a_search_for_orders_that_is_wrong_shows_none(desk: Desk, q: str) -> None:
    desk.shop.confirmed((desk.shop.product(5), 1))

    look = desk.reader.look("/dashboard/orders", q=q)

    assert look.status == 422
    assert look.rows == []
    assert 'id="e-q"' in look.answer.text


def test_an_order_is_found_however_its_kind_is_written(desk: Desk) -> None:
    order_id = desk.shop.confirmed((desk.shop.product(5), 1))["id"]

    look = desk.reader.look("/dashboard/orders", q=f"Order: {order_id}")

    assert look.url.path == f"/dashboard/orders/{order_id}"


def test_a_customer_whose_id_ends_in_spaces_is_found_and_nobody_else(desk: Desk) -> None:
    sku, name = desk.shop.product(50), fresh("customer")
    ids = {
        customer: desk.shop.confirmed((sku, 1), customer_id=customer)["id"]
        for customer in (name, f"{name} ", f"  {name}", "   ")
    }

    for customer, order_id in ids.items():
        for query in ({"customer": customer}, {"q": f"customer:{customer}"}):
            look = desk.reader.look("/dashboard/orders", **query)
            assert len(look.rows) == 2, query
            assert f"/dashboard/orders/{order_id}" in look.links
    # What the page shows leads there again, with its spaces in sight
    assert f"/dashboard/orders?customer={name}%20" in desk.reader.look(
        "/dashboard/orders", customer=f"{name} "
    ).links  # fmt: skip
    page = desk.reader.look(f"/dashboard/orders/{ids[f'  {name}']}").answer.text
    assert '<span class="space" title="2 spaces">  </span>' in page
    found = desk.reader.look("/dashboard/search", q=f"  {name}")
    assert f"/dashboard/orders?customer=%20%20{name}" in found.links
    assert f"/dashboard/orders?customer={name}" in found.links
    # Who wrote one too many is told
    nobody = desk.reader.look("/dashboard/orders", customer=f" {name}")
    assert nobody.says("No order matches", "with the spaces you typed")
    assert f"/dashboard/orders?customer={name}" in nobody.links


def test_a_double_click_acts_once(desk: Desk) -> None:
    sku = desk.shop.product(5)
    look = desk.operator.look(f"/dashboard/inventory/{sku}")
    adjust = f"/dashboard/inventory/{sku}/adjust"

    for _ in range(2):
        assert desk.operator.submit(look, adjust, delta="3", reason="found").says("Done.")

    assert desk.shop.stock(sku) == (8, 0, 8)


# --- inventory ---


def test_products_are_listed_by_the_start_of_their_sku(desk: Desk) -> None:
    start = fresh("list")
    skus = [desk.shop.product(units, sku=f"{start}.{units}") for units in (3, 20, 1)]

    look = desk.reader.look("/dashboard/inventory", q=start)

    assert [row.split()[0] for row in look.rows[1:]] == sorted(skus)
    assert desk.reader.look("/dashboard/inventory", q="no such").says("No SKU begins with that")


def test_low_stock_is_what_the_settings_or_the_operator_call_low(desk: Desk) -> None:
    start = fresh("low")
    for units in (3, 20, 1):
        desk.shop.product(units, sku=f"{start}.{units}")

    def low(**query: str) -> list[str]:
        look = desk.reader.look("/dashboard/inventory", q=start, low="yes", **query)
        return [row.split()[0] for row in look.rows[1:]]

    assert low() == [f"{start}.1", f"{start}.3"]
    assert low(below="21") == [f"{start}.1", f"{start}.3", f"{start}.20"]
    assert low(below="2") == [f"{start}.1"]
    assert desk.reader.look("/dashboard/inventory", low="yes", below="x").says("a whole number")


@pytest.mark.parametrize(
    ("query", "marked"),
    [
        ({"q": "x" * 301}, "e-q"),
        ({"low": "no"}, "is “yes” or left out"),
        ({"below": "abc"}, "e-below"),
        ({"low": "yes", "below": "1,5"}, "e-below"),
    ],
)
def test_a_filter_of_the_inventory_that_is_wrong_shows_nothing(
    desk: Desk, query: dict[str, str], marked: str
) -> None:
    desk.shop.product(1)

    look = desk.reader.look("/dashboard/inventory", **query)

    assert look.status == 422
    assert look.rows == []
    assert marked in look.answer.text


def test_a_product_shows_its_level_its_ledger_and_a_chart(desk: Desk) -> None:
    sku = desk.shop.product(30)
    for _ in range(55):
        desk.shop.place((sku, 1), headers=NOW)
    eventually(lambda: desk.shop.stock(sku)[1] == 30, what="all is allocated")

    look = desk.reader.look(f"/dashboard/inventory/{sku}")
    data = desk.reader.client.get(f"/dashboard/inventory/{sku}/levels.json?window=1h").json()

    assert look.says("On hand 30", "Allocated 30", "Available 0", "none available")
    assert "polyline" in look.tags
    assert len(look.rows) == 32
    assert [line["label"] for line in data["lines"]] == ["on hand", "available"]
    times, on_hand, available = data["data"]
    assert times == sorted(times)
    assert (on_hand[0], on_hand[-1], available[-1]) == (0, 30, 0)
    assert desk.reader.look("/dashboard/inventory/no-such-product").status == 404


@pytest.mark.parametrize(
    ("delta", "reason", "said"),
    [
        ("", "found", "How many units?"),
        ("0", "found", "0 would change nothing"),
        ("1.5", "found", "A whole number"),
        ("1,5", "found", "A whole number"),
        ("9999999999", "found", "A whole number"),
        ("5", "", "Why?"),
        ("5", "theft", "Why?"),
        ("5", "lost", "received, returned, found, correction"),
        ("-1", "received", "damaged, lost, correction"),
    ],
)
def test_an_adjustment_that_makes_no_sense_is_told_beside_its_field(
    desk: Desk, delta: str, reason: str, said: str
) -> None:
    sku = desk.shop.product(5)
    look = desk.operator.look(f"/dashboard/inventory/{sku}")
    action = f"/dashboard/inventory/{sku}/adjust"

    again = Look(desk.operator.send(look, action, delta=delta, reason=reason))

    assert again.status == 422
    assert again.says(said)
    kept = dict(again.form(action).fields)
    assert kept["delta"] == delta
    assert kept.get("reason", "") == ("" if reason == "theft" else reason)
    assert desk.shop.stock(sku) == (5, 0, 5)


def test_an_adjustment_that_is_refused_says_why_and_is_on_record(desk: Desk) -> None:
    sku = desk.shop.product(5)
    desk.shop.confirmed((sku, 4))
    look = desk.operator.look(f"/dashboard/inventory/{sku}")
    action = f"/dashboard/inventory/{sku}/adjust"

    refused = desk.operator.submit(look, action, delta="-2", reason="lost")
    done = desk.operator.submit(refused, action, delta="\N{MINUS SIGN}1", reason="lost")

    assert refused.says("Not enough stock", "2 of", "1 available")
    assert done.says("Done.", "On hand 4")
    audit = desk.reader.look("/dashboard/audit", target=sku)
    results = [row for row in audit.rows if sku in row]
    assert len(results) == 2
    assert all("Olga" in row and "127.0.0.1" in row for row in results)
    assert ["applied" in row for row in results] == [True, False]
    assert "rejected" in results[1]
    assert "-2, lost" in results[1]
