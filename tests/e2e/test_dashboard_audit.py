"""The audit log, who may do what, and what may come from outside: at the dashboard."""

import httpx
import pytest

from tests.e2e.desk import Desk
from tests.e2e.operators import HOSTILE
from tests.e2e.shop import fresh


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
