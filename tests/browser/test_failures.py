"""Failures: found, understood, put back or discarded, each by clicks.

The tests of this file come in this order: the first ones look at what the later ones mend.
"""

import csv
import io
import json
from typing import Any

import pytest
from playwright.sync_api import Locator, expect

from tests.browser.conftest import NewTab
from tests.browser.floor import (
    BUG,
    CURSED_CUSTOMERS,
    CURSED_SKU,
    HOSTILE_CUSTOMER,
    HOSTILE_ERROR,
    Floor,
)
from tests.browser.rig import Tab
from tests.conftest import eventually

OF_ORDER = "SELECT id FROM dead_letters WHERE command_ids[1] = %s::uuid ORDER BY id DESC LIMIT 1"
GROUPS = """
SELECT error_class, actor, count(*) FROM dead_letters WHERE state = 'failed'
GROUP BY error_class, actor
"""
STATE = "SELECT state, discard_reason FROM dead_letters WHERE id = %s"
DONE = "SELECT action, target, key_name FROM audit_log ORDER BY at DESC LIMIT 1"


@pytest.fixture(autouse=True)
def failed(floor: Floor) -> None:
    """Some failures are there to be seen."""
    if not floor.count("SELECT count(*) FROM dead_letters WHERE state <> 'failed'"):
        floor.wait_for_failures(len(floor.cursed) + 1)


@pytest.fixture
def mended(floor: Floor) -> None:
    """The bug is gone: what is put back now succeeds."""
    floor.lift_curse()


def orders_of(floor: Floor, customer: str) -> list[str]:
    """The cursed orders of one of the customers."""
    first = CURSED_CUSTOMERS.index(customer)
    return floor.cursed[first :: len(CURSED_CUSTOMERS)]


def failure_of(floor: Floor, order_id: str) -> int:
    return floor.count(OF_ORDER, order_id)


def rows(tab: Tab) -> Locator:
    return tab.page.locator("main table tbody tr")


# --- looking ---


def test_groups_are_those_of_the_database(floor: Floor, tab: Tab) -> None:
    tab.open("/dashboard/failures")

    for error_class, actor, count in floor.system.sql(GROUPS):
        row = rows(tab).filter(has_text=error_class)
        expect(row).to_contain_text(actor)
        expect(row.locator("[data-label=Failures]")).to_have_text(str(count))
    assert rows(tab).count() == len(floor.system.sql(GROUPS))
    expect(tab.page.locator("main .lead")).to_contain_text(f"{floor.open_failures()} failures")


def test_a_group_leads_to_its_failures_and_one_of_them_to_its_traceback(
    floor: Floor, tab: Tab
) -> None:
    tab.open("/dashboard/failures")

    tab.page.get_by_role("link", name="DataError", exact=True).click()
    tab.page.wait_for_url("**error_class=DataError**")
    expect(rows(tab)).to_have_count(1)
    tab.page.get_by_role("link", name="DataError", exact=True).click()

    traceback = tab.page.locator("div.traceback")
    expect(traceback).to_contain_text("Traceback (most recent call last)")
    expect(traceback).to_contain_text("the scales are broken")
    expect(traceback).to_contain_text("actors/inventory.py")
    expect(tab.page.locator("#arguments")).to_contain_text(CURSED_SKU)
    expect(tab.page.locator("main")).to_contain_text("adjust_stock")


@pytest.mark.parametrize(
    ("words", "customer"),
    [("customer:cursed-1", "cursed-1"), ("scales broken", ""), (CURSED_SKU, "")],
)
def test_failures_are_found_and_the_address_says_how(
    floor: Floor, tab: Tab, words: str, customer: str
) -> None:
    wanted = len(orders_of(floor, customer)) if customer else 1
    tab.open("/dashboard/failures")

    tab.page.get_by_label("Search", exact=True).fill(words)
    tab.page.get_by_role("button", name="Show").click()

    tab.page.wait_for_url("**/dashboard/failures?**")
    expect(rows(tab)).to_have_count(wanted)
    # and whoever gets the address sees the same
    address = tab.address()
    tab.open(address)
    expect(rows(tab)).to_have_count(wanted)
    expect(tab.page.get_by_label("Search", exact=True)).to_have_value(words)


def test_a_failure_is_found_by_its_order(floor: Floor, tab: Tab) -> None:
    order_id = orders_of(floor, "cursed-2")[0]
    tab.open("/dashboard/failures")

    tab.page.get_by_label("Search", exact=True).fill(order_id)
    tab.page.keyboard.press("Enter")

    expect(rows(tab)).to_have_count(1)
    tab.page.locator("main tbody th a").click()
    tab.page.wait_for_url(f"**/dashboard/failures/{failure_of(floor, order_id)}")


def test_what_came_from_outside_is_text(floor: Floor, tab: Tab) -> None:
    order_id = orders_of(floor, HOSTILE_CUSTOMER)[0]
    for path in (
        "/dashboard/failures",
        "/dashboard/failures?view=list",
        f"/dashboard/failures/{failure_of(floor, order_id)}",
        f"/dashboard/orders/{order_id}",
        "/dashboard/orders",
        "/dashboard/inventory",
        "/dashboard/inventory/XSS-01",
        f"/dashboard/orders/{floor.hostile}",
    ):
        tab.open(path)
        assert tab.run("window.owned === undefined"), path
        assert tab.page.locator("main :is(script, img, svg[onload], #owned)").count() == 0, path
    tab.open(f"/dashboard/failures/{failure_of(floor, order_id)}")
    expect(tab.page.locator("main .lead")).to_contain_text(HOSTILE_ERROR)
    expect(tab.page.locator("#arguments")).to_contain_text("<img src=x onerror=window.owned=2>")
    expect(tab.page.get_by_role("link", name=HOSTILE_CUSTOMER)).to_be_visible()


def test_hostile_words_in_an_address_are_text(tab: Tab) -> None:
    words = "%3Cscript%3Ewindow.owned%3D5%3C%2Fscript%3E%22%27%3E"
    for page in ("failures", "orders", "inventory", "audit"):
        field = {"audit": "who"}.get(page, "q")
        tab.open(f"/dashboard/{page}?{field}={words}")
        assert tab.run("window.owned === undefined"), page
        assert tab.page.locator("main script").count() == 0


def test_failures_can_be_taken_away_as_csv_and_json(floor: Floor, tab: Tab) -> None:
    tab.open("/dashboard/failures?customer=cursed-1")
    ids = {failure_of(floor, order_id) for order_id in orders_of(floor, "cursed-1")}

    as_csv = list(csv.DictReader(io.StringIO(taken_away(tab, "CSV"))))
    as_json: list[dict[str, Any]] = json.loads(taken_away(tab, "JSON"))

    assert {int(row["id"]) for row in as_csv} == ids
    assert {row["id"] for row in as_json} == ids
    assert all(BUG in row["error"] for row in as_csv)
    assert all("Traceback" in row["traceback"] for row in as_json)


def taken_away(tab: Tab, name: str) -> str:
    """What a download link gives."""
    with tab.page.expect_download() as waiting:
        tab.page.get_by_role("link", name=name).click()
    path = waiting.value.path()
    return path.read_text()


# --- acting ---


def test_one_is_discarded_with_a_reason(floor: Floor, tab: Tab) -> None:
    id_ = floor.count("SELECT id FROM dead_letters WHERE actor = 'adjust_stock'")
    tab.open(f"/dashboard/failures/{id_}")

    tab.page.get_by_label("Reason").fill("the scales were <b>repaired</b>")
    tab.page.get_by_role("button", name="Discard").click()

    expect(tab.page.locator("#done")).to_contain_text("Done")
    expect(tab.page.locator("main")).to_contain_text("the scales were <b>repaired</b>")
    assert floor.system.sql(STATE, id_) == [("discarded", "the scales were <b>repaired</b>")]
    assert floor.system.sql(DONE)[0][::2] == ("discard_failures", "Olga Operator")
    tab.open("/dashboard/failures?state=discarded&view=list")
    expect(rows(tab)).to_contain_text("the scales were <b>repaired</b>")


def test_discarding_needs_a_reason(floor: Floor, tab: Tab) -> None:
    before = floor.open_failures()
    tab.open("/dashboard/failures/discard?customer=cursed-2")

    tab.page.get_by_role("button", name="Discard").click()

    expect(tab.page.get_by_label("Reason")).to_be_focused()
    assert tab.run("document.querySelector('#reason').validity.valueMissing")
    assert floor.open_failures() == before


def test_one_is_put_back_and_its_order_is_decided(floor: Floor, tab: Tab, mended: None) -> None:
    order_id = orders_of(floor, "cursed-2")[0]
    tab.open(f"/dashboard/orders/{order_id}")
    expect(tab.page.locator("h1")).to_contain_text("failed")
    tab.page.get_by_role("link", name="See the failure and put it back").click()
    tab.page.locator("main tbody th a").click()

    tab.page.get_by_role("button", name="Retry", exact=True).click()

    expect(tab.page.locator("#done")).to_contain_text("Done")
    expect(tab.page.locator("h1")).to_contain_text("retried")
    eventually(lambda: floor.statuses([order_id]) == {"confirmed"})
    tab.open(f"/dashboard/orders/{order_id}")
    expect(tab.page.locator("h1")).to_contain_text("confirmed")
    expect(tab.page.locator("main .timeline")).to_contain_text("Put back")


def test_a_selection_is_put_back(floor: Floor, tab: Tab, mended: None) -> None:
    chosen = orders_of(floor, "cursed-2")[1:3]
    tab.open("/dashboard/failures?view=list")
    expect(tab.page.get_by_role("button", name="Retry the ticked")).to_be_disabled()

    for order_id in chosen:
        label = f"Tick failure {failure_of(floor, order_id)}"
        tab.page.get_by_label(label, exact=True).check()
    expect(tab.page.locator("[data-ticked-count]")).to_contain_text("2")
    tab.page.get_by_role("button", name="Retry the ticked").click()

    tab.page.wait_for_url("**/dashboard/operations/**")
    expect(tab.page.locator("h1")).to_have_text("2 failures retried")
    eventually(lambda: floor.statuses(chosen) == {"confirmed"})
    left = orders_of(floor, "cursed-2")[3]
    assert floor.system.sql(STATE, failure_of(floor, left)) == [("failed", None)]


def test_everything_that_matches_is_put_back_after_a_look_at_it(
    floor: Floor, tab: Tab, mended: None
) -> None:
    # Given a filter, and how many match it
    chosen = orders_of(floor, "cursed-1")
    before = floor.open_failures()
    tab.open("/dashboard/failures?customer=cursed-1")

    # When the operator asks for all of them, then they are told how many, and nothing has happened
    tab.page.get_by_role("link", name="Retry everything that matches").click()
    expect(tab.page.locator(".dry-run-count")).to_have_text(str(len(chosen)))
    expect(tab.page.locator("main")).to_contain_text("about the customer cursed-1")
    assert floor.open_failures() == before

    # When they say yes, then these are put back, and no others
    tab.page.get_by_role("button", name=f"Retry {len(chosen)} failures").click()
    tab.page.wait_for_url("**/dashboard/operations/**")
    expect(tab.page.locator("h1")).to_have_text(f"{len(chosen)} failures retried")
    assert tab.run("document.querySelector('progress').position") == 1
    eventually(lambda: floor.statuses(chosen) == {"confirmed"})
    assert floor.open_failures() == before - len(chosen)
    # and the log says who did it
    tab.page.get_by_role("link", name="Audit log").locator("visible=true").last.click()
    expect(rows(tab).first).to_contain_text("Retried failures")
    expect(rows(tab).first).to_contain_text("Olga Operator")
    expect(rows(tab).first).to_contain_text("applied")


def test_two_people_put_the_same_one_back_and_it_goes_once(
    floor: Floor, new_tab: NewTab, mended: None
) -> None:
    order_id = orders_of(floor, HOSTILE_CUSTOMER)[0]
    id_ = failure_of(floor, order_id)
    one, other = new_tab(), new_tab()
    for tab in (one, other):
        tab.open(f"/dashboard/failures/{id_}")

    one.page.get_by_role("button", name="Retry", exact=True).click()
    expect(one.page.locator("#done")).to_contain_text("Done")
    other.page.get_by_role("button", name="Retry", exact=True).click()

    expect(other.page.locator("#done")).to_contain_text("No open failure matches")
    assert floor.count("SELECT count(*) FROM operations WHERE last_id = %s", id_) == 1
    eventually(lambda: floor.statuses([order_id]) == {"confirmed"})
    # and who goes back finds it as it is, with nothing left to press
    one.page.go_back()
    expect(one.page.locator("h1")).to_contain_text("retried")
    expect(one.page.get_by_role("button", name="Retry", exact=True)).to_have_count(0)
