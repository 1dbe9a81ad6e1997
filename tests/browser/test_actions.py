"""The switches: a queue paused and resumed, a rate limit set and reset, each by clicks."""

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Locator, expect

from tests.browser.conftest import NewTab
from tests.browser.floor import CURSED_SKU, Floor
from tests.browser.rig import Tab
from tests.conftest import eventually
from tests.e2e.shop import NOW

STOCK = "holdfast.skus"
GIVEN_UP = "SELECT count(*) FROM dead_letters WHERE actor = 'adjust_stock'"
ON_HAND = "SELECT on_hand FROM stock WHERE sku = 'POT-01'"


@pytest.fixture(autouse=True)
def all_flows(floor: Floor) -> Iterator[None]:
    """No test leaves a queue paused for the next one."""
    yield
    floor.system.sql("DELETE FROM paused_queues")


def queue_row(tab: Tab, queue: str) -> Locator:
    return tab.page.locator(f"[id='q-{queue}']")


def actor_row(tab: Tab, actor: str) -> Locator:
    return tab.page.locator(f"#a-{actor}")


def pause(tab: Tab, queue: str, reason: str) -> None:
    tab.open("/dashboard/actors")
    queue_row(tab, queue).get_by_role("link", name=f"Pause {queue}").click()
    tab.page.get_by_label("Why", exact=True).fill(reason)
    tab.page.get_by_role("button", name=f"Pause {queue}").click()
    expect(tab.page.locator("#done")).to_contain_text("Done")


def resume(tab: Tab, queue: str) -> None:
    queue_row(tab, queue).get_by_role("link", name=f"Resume {queue}").click()
    tab.page.get_by_role("button", name=f"Resume {queue}").click()
    expect(tab.page.locator("#done")).to_contain_text("Done")


def test_a_paused_queue_holds_and_a_resumed_one_flows(
    floor: Floor, tab: Tab, new_tab: NewTab
) -> None:
    # Given a queue to which nothing comes back to be tried again, and somebody else who looks
    eventually(lambda: floor.count(GIVEN_UP) == 1, within_s=180, what="what failed is given up")
    other = new_tab("reader")
    other.open("/dashboard/actors")
    before = floor.count(ON_HAND)

    # When a queue is paused, then all see it and why
    pause(tab, STOCK, "stocktaking <i>today</i>")
    expect(queue_row(tab, STOCK)).to_contain_text("stocktaking <i>today</i>")
    expect(queue_row(tab, STOCK)).to_contain_text("Olga Operator")
    expect(queue_row(other, STOCK)).to_contain_text("paused")
    # and when no worker takes from it any more, what comes waits
    expect(queue_row(tab, STOCK).locator("[data-label=Consumers]")).to_have_text("0")
    assert floor.shop.adjust("POT-01", 7, headers=NOW).status_code == 202
    expect(queue_row(tab, STOCK).locator("[data-label=Ready]")).to_have_text("1")
    assert floor.count(ON_HAND) == before

    # When it is resumed, then it flows again
    resume(tab, STOCK)
    eventually(lambda: floor.count(ON_HAND) == before + 7)
    expect(queue_row(tab, STOCK).locator("[data-label=Ready]")).to_have_text("0")
    expect(queue_row(other, STOCK)).not_to_contain_text("paused")


def test_a_queue_is_not_paused_without_a_reason(floor: Floor, tab: Tab) -> None:
    tab.open("/dashboard/actors")
    queue_row(tab, "holdfast.transitions").get_by_role(
        "link", name="Pause holdfast.transitions"
    ).click()

    tab.page.get_by_role("button", name="Pause holdfast.transitions").click()

    expect(tab.page.get_by_label("Why", exact=True)).to_be_focused()
    tab.page.keyboard.press("Escape")
    expect(tab.page.locator("dialog#panel")).to_be_hidden()
    assert floor.system.sql("SELECT * FROM paused_queues") == []


def test_the_queue_of_the_switches_can_not_be_paused(tab: Tab) -> None:
    tab.open("/dashboard/actors")

    row = queue_row(tab, "holdfast.operations")

    expect(row).to_contain_text("never paused")
    expect(row.get_by_role("link")).to_have_count(0)


def test_a_rate_limit_is_set_holds_and_is_reset(floor: Floor, tab: Tab) -> None:
    # When a limit is set
    tab.open("/dashboard/actors")
    actor_row(tab, "put_products").get_by_role("link", name=re.compile("Change")).click()
    tab.page.get_by_label("Messages", exact=True).fill("1")
    tab.page.get_by_label("Per", exact=True).select_option("h")
    tab.page.get_by_role("button", name="Set the limit").click()
    expect(tab.page.locator("#done")).to_contain_text("Done")
    limit = actor_row(tab, "put_products").locator("[data-label='Rate limit']")
    expect(limit).to_contain_text("1/h")
    expect(limit).to_contain_text("Olga Operator")

    # Then what is over it waits in its queue, and the page says so
    for _ in range(3):
        floor.shop.put_product(CURSED_SKU, headers=NOW)
    tab.open("/dashboard/actors")
    oldest = queue_row(tab, "holdfast.skus").locator("[data-label='Oldest']")
    expect(oldest).to_contain_text(re.compile(r"\d+ s"))

    # When it is reset, then that of the settings is in force, and it flows again
    actor_row(tab, "put_products").get_by_role("link", name=re.compile("Change")).click()
    tab.page.get_by_role("button", name="Back to the settings").click()
    expect(tab.page.locator("#done")).to_contain_text("Done")
    expect(limit).to_contain_text("none")
    assert floor.system.sql("SELECT * FROM actor_limits WHERE actor = 'put_products'") == []
    expect(oldest).to_have_text("–")
    # and both are on record
    tab.open("/dashboard/audit?action=set_rate_limit")
    rows = tab.page.locator("main tbody tr")
    expect(rows).to_have_count(2)
    expect(rows.nth(0)).to_contain_text("back to the settings")
    expect(rows.nth(1)).to_contain_text("1/h")


def test_a_limit_that_is_none_is_refused(floor: Floor, tab: Tab) -> None:
    tab.open("/dashboard/actors/move_orders/limit")

    tab.page.get_by_label("Messages", exact=True).fill("lots")
    tab.page.get_by_role("button", name="Set the limit").click()

    expect(tab.page.get_by_label("Messages", exact=True)).to_be_focused()
    assert tab.run("document.querySelector('#amount').validity.patternMismatch")
    assert floor.system.sql("SELECT * FROM actor_limits WHERE actor = 'move_orders'") == []
