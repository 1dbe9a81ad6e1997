"""The audit log, who may do what, and what may come from outside: at the dashboard."""

import csv
import io
from collections.abc import Sequence

import httpx
import pytest

from tests.e2e.desk import Desk
from tests.e2e.operators import HOSTILE
from tests.e2e.shop import fresh
from tests.seeding import FAILED_ORDERS


def test_the_audit_log_is_narrowed_by_who_what_and_when(desk: Desk) -> None:
    order_id = desk.shop.confirmed((desk.shop.product(1), 1))["id"]
    look = desk.operator.look(f"/dashboard/orders/{order_id}")
    desk.operator.submit(look, f"/dashboard/orders/{order_id}/move")

    def rows(**query: str) -> list[str]:
        return desk.reader.look("/dashboard/audit", **query).rows[1:]

    (row,) = rows(target=order_id)
    assert "Moved an order" in row
    assert "to shipped" in row
    assert "a test's browser" in row
    assert rows(target=f"order:{order_id}", who="Olga", action="move_order")
    assert not rows(target=order_id, who="Rita")
    assert not rows(target=order_id, action="adjust_stock")
    assert not rows(target=order_id, before="2020-01-01T00:00")
    assert rows(target=order_id, after="2020-01-01T00:00")
    assert desk.reader.look("/dashboard/audit", after="x").status == 422
    assert desk.reader.look("/dashboard/audit", who="nobody").says("Nobody did that")


def test_readers_see_no_buttons_and_are_refused(desk: Desk) -> None:
    sku = desk.shop.product(5)
    order_id = desk.shop.confirmed((sku, 1))["id"]
    csrf = dict(desk.reader.look("/dashboard/orders").form("/dashboard/sign-out").fields)["csrf"]
    for path, action, data in (
        (f"/dashboard/orders/{order_id}", "move", {"to": "shipped", "version": "1"}),
        (f"/dashboard/inventory/{sku}", "adjust", {"delta": "1", "reason": "found"}),
    ):
        assert desk.reader.look(path).may_do() == []
        answer = desk.reader.client.post(f"{path}/{action}", data={**data, "csrf": csrf})
        assert answer.status_code == 403
    assert desk.shop.order(order_id)["status"] == "confirmed"
    assert desk.shop.stock(sku) == (5, 1, 4)


def test_a_bulk_action_that_others_were_ahead_of_says_what_became_of_each(desk: Desk) -> None:
    # Given five failures that one page shows, and three of them retried from another one
    sku = desk.shop.product(50)
    desk.system.sql(FAILED_ORDERS, sku, 5)
    ids = desk.system.sql("SELECT id FROM dead_letters WHERE subjects @> ARRAY[%s]", f"sku:{sku}")
    csrf = dict(desk.operator.look("/dashboard/orders").form("/dashboard/sign-out").fields)["csrf"]

    def settle(verb: str, chosen: Sequence[tuple[int]]) -> str:
        form = {"scope": "selected", "csrf": csrf, "reason": "noise", "ids": [i for (i,) in chosen]}
        answer = desk.operator.client.post(f"/dashboard/failures/{verb}", data=form)
        return str(answer.headers["location"])

    desk.operator.until(settle("retry", ids[:3]), "3 failures retried")

    # When all five are discarded
    address = settle("discard", ids)

    # Then the page and the log say what became of them
    others = "3 were retried by someone else meanwhile"
    desk.operator.until(address, "2 failures discarded", others)
    (row,) = desk.reader.look("/dashboard/audit", command_id=address.rpartition("/")[2]).rows[1:]
    assert f"applied to 2 of 5: {others}" in " ".join(row.split())
    # and the log as a file says the same
    log = desk.reader.client.get(
        "/dashboard/audit/export.csv", params={"command_id": address.rpartition("/")[2]}
    )
    (entry,) = csv.DictReader(io.StringIO(log.text))
    assert entry["result"] == "applied"
    assert entry["outcome"] == f"applied to 2 of 5: {others}"


def test_who_is_not_signed_in_is_led_to_the_door_and_back(desk: Desk) -> None:
    with httpx.Client(base_url=desk.system.base_url) as nobody:
        answer = nobody.get("/dashboard/orders?status=failed")
    assert answer.status_code == 303
    assert answer.headers["location"].startswith("/dashboard/sign-in?next=")


def test_what_came_from_outside_is_shown_as_text(desk: Desk) -> None:
    sku = desk.shop.product(5, sku=fresh("-._"))
    desk.shop.put_product(sku, name=HOSTILE)
    order_id = desk.shop.confirmed((sku, 1), customer_id=HOSTILE[:60], metadata={HOSTILE: HOSTILE})[
        "id"
    ]
    for path in (
        f"/dashboard/orders/{order_id}",
        "/dashboard/orders",
        f"/dashboard/inventory/{sku}",
        "/dashboard/inventory?q=-",
    ):
        look = desk.reader.look(path)
        # No handler, no inline style: Look asserts it of every tag.
        assert look.says("<script>window.owned=1</script>")
        assert "<script>window.owned" not in look.answer.text
    for path in ("orders?customer=", "audit?who=", "inventory?q=", "failures?q="):
        look = desk.reader.look(f"/dashboard/{path}%22%3E%3Cscript%3Ewindow.owned=2%3C/script%3E")
        # Some of it is no search at all, which the page says.
        assert look.status in (200, 422)
        assert "<script>window.owned" not in look.answer.text


@pytest.mark.parametrize("page", ["orders", "audit", "failures?view=list", "inventory"])
def test_a_cursor_that_was_made_up_is_refused(desk: Desk, page: str) -> None:
    for cursor in ("x", "e30", "WzEsMiwzLDRd"):
        mark = "&" if "?" in page else "?"
        assert desk.reader.look(f"/dashboard/{page}{mark}cursor={cursor}").status == 422
