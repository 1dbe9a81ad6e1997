"""Failures at the dashboard: found, understood, taken along."""

import csv
import io
import re

import pytest

from tests.e2e.operators import HOSTILE, Look
from tests.e2e.scene import CURSED, Scene

MANY = 120


def failures_of(look: Look) -> set[str]:
    """The failures that a page links to."""
    return {link for link in look.links if re.fullmatch("/dashboard/failures/[0-9]+", link)}


def first_of(look: Look, start: str) -> str:
    return next(link for link in look.links if link.startswith(start))


def test_failures_are_grouped_with_counts_and_a_trend(scene: Scene) -> None:
    look = scene.reader.look("/dashboard/failures")

    assert look.status == 200
    (row,) = [row for row in look.rows if "IntegrityError" in row]
    assert f"{scene.open():,}" in row
    assert "place_orders" in row
    assert "svg" in look.tags
    of_group = first_of(look, "/dashboard/failures?actor=")
    assert scene.reader.look(of_group).says("IntegrityError", f"{CURSED}-many")


def test_one_failure_shows_all_there_is_to_know(scene: Scene) -> None:
    order_id = scene.many[0]
    look = scene.reader.look(f"/dashboard/failures/{scene.failure(order_id)}")

    assert look.says(
        "IntegrityError", "Traceback (most recent call last)", order_id, scene.sku, "place_orders",
        "holdfast.orders", order_id.replace("-", ""), f'"customer_id": "{CURSED}-many"',
    )  # fmt: skip
    assert f"/dashboard/orders/{order_id}" in look.links
    assert f"/dashboard/inventory/{scene.sku}" in look.links
    assert look.says("Attempts 6")


def test_what_came_from_outside_is_shown_as_text(scene: Scene) -> None:
    number = scene.failure(scene.hostile)
    for path in (f"/dashboard/failures/{number}", f"/dashboard/failures?order={scene.hostile}"):
        look = scene.operator.look(path)
        # No handler, no inline style: Look asserts it of every tag. Words come back as they were.
        assert look.says("<script>window.owned=1</script>")
        assert "<script>window.owned" not in look.answer.text
    look = scene.operator.look(f"/dashboard/orders/{scene.hostile}")
    assert look.says(CURSED + "<script>")
    assert "<script>window.owned" not in look.answer.text


@pytest.mark.parametrize("box", ["order", "order:", "customer:cursed-many", "sku", "cmd for"])
def test_one_box_finds_orders_skus_customers_and_words(scene: Scene, box: str) -> None:
    order_id = scene.many[1]
    asked = {"order": order_id, "order:": f"order:{order_id}", "sku": scene.sku}.get(box, box)

    look = scene.reader.look("/dashboard/failures", q=asked)

    ours = scene.failure(order_id)
    if box.startswith("order"):
        assert [row for row in look.rows if "IntegrityError" in row] == look.rows[1:]
        assert f"/dashboard/failures/{ours}" in look.links
        assert len(look.rows) == 2
    else:
        assert len(look.rows) > 2
    assert not scene.reader.look("/dashboard/failures", q="customer:nobody").rows
    assert scene.reader.look("/dashboard/failures", q="nothing like it").says("Nothing matches")


def test_every_filter_is_in_the_address_and_in_the_form_again(scene: Scene) -> None:
    query = {
        "q": "customer:cursed-many", "state": "failed", "actor": "place_orders", "view": "list",
        "queue": "holdfast.orders", "error_class": "IntegrityError", "text": "cmd",
        "after": "2026-01-01T00:00:00", "before": "2099-01-01T00:00:00",
    }  # fmt: skip
    look = scene.reader.look("/dashboard/failures", **query)
    (form,) = (form for form in look.forms if form.action == "/dashboard/failures")
    again = dict(form.fields)
    assert again == {name: value for name, value in query.items() if name != "view"}
    assert len(look.rows) == 51
    # The pager keeps the filter and goes on where the page ends.
    older = next(link for link in look.links if "cursor=" in link)
    following = scene.reader.look(f"/dashboard/failures{older}")
    assert len(following.rows) == 51
    assert not failures_of(look) & failures_of(following)


def test_a_filter_that_cannot_be_read_is_marked_and_never_ignored(scene: Scene) -> None:
    look = scene.operator.look("/dashboard/failures", after="yesterday", actor="place_orders")

    assert look.status == 422
    assert look.says("a time such as", "A filter can't be read")
    assert scene.operator.look("/dashboard/failures/retry", after="yesterday").status == 422
    assert scene.operator.client.get("/dashboard/failures/export.csv?after=x").status_code == 422


@pytest.mark.parametrize("field", ["q", "text"])
def test_a_search_for_words_that_are_not_there_is_refused(scene: Scene, field: str) -> None:
    look = scene.operator.look("/dashboard/failures", **{field: "-boom"})

    assert look.status == 422
    assert look.says("at least one word that must occur")
    assert scene.operator.look("/dashboard/failures/retry", **{field: "-boom"}).status == 422


@pytest.mark.parametrize(
    "query", [{"q": "sku:"}, {"q": "a" * 200, "text": "b" * 200}, {"q": "a" * 301}]
)
def test_a_search_that_would_have_to_be_cut_is_refused(scene: Scene, query: dict[str, str]) -> None:
    look = scene.operator.look("/dashboard/failures", **query)

    assert look.status == 422
    assert 'id="e-q"' in look.answer.text
    assert scene.operator.look("/dashboard/failures/retry", **query).status == 422


def test_there_is_nothing_at_a_made_up_failure(scene: Scene) -> None:
    for name in ("0", "999999999999999", "9" * 40, "x", "-1"):
        assert scene.reader.look(f"/dashboard/failures/{name}").status == 404


def test_export_as_csv_is_whole_and_harmless_in_a_spreadsheet(scene: Scene) -> None:
    answer = scene.reader.client.get("/dashboard/failures/export.csv")

    assert answer.headers["content-type"].startswith("text/csv")
    assert "attachment" in answer.headers["content-disposition"]
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert len(rows) == scene.open()
    assert {row["error"][:5] for row in rows} == {"'=cmd"}
    assert all(cell[:1] not in tuple("=+-@\t\r") for row in rows for cell in row.values())
    assert {row["command_ids"] for row in rows} == {*scene.many, scene.hostile}
    assert HOSTILE in next(row for row in rows if row["command_ids"] == scene.hostile)["error"]


def test_export_as_json_has_the_arguments_of_what_matches(scene: Scene) -> None:
    answer = scene.reader.client.get(
        "/dashboard/failures/export.json", params={"order": scene.many[2]}
    )
    nothing = scene.reader.client.get("/dashboard/failures/export.json?q=customer:nobody")

    (row,) = answer.json()
    assert row["message"]["kwargs"]["commands"][0]["id"] == scene.many[2]
    assert row["state"] == "failed"
    assert nothing.json() == []
