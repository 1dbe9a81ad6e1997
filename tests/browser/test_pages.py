"""What the pages show is so: beside the database and the broker."""

import socket

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import NewTab
from tests.browser.floor import Floor
from tests.browser.rig import Tab
from tests.browser.sights import PAGES
from tests.conftest import eventually

ALIVE = "SELECT count(*) FROM workers WHERE seen_at > now() - interval '15 seconds'"


def figure_max(floor: Floor) -> float:
    """As many orders a second as there can have been; a figure covers 50 to 60 s."""
    return floor.count("SELECT count(*) FROM orders") / 50 + 0.1


@pytest.mark.parametrize("path", ["/", "/dashboard/"])
def test_the_root_leads_to_the_dashboard(path: str, tab: Tab) -> None:
    tab.open(path)

    assert tab.address() == "/dashboard"


def test_what_is_not_there_is_said_on_a_page(tab: Tab) -> None:
    tab.watch.excuse("404")
    for path in ("/dashboard/failures/999999999", "/dashboard/inventory/NO-SUCH-SKU"):
        tab.page.goto(tab.base_url + path)
        expect(tab.page.locator("main")).to_contain_text("There is no")
        expect(tab.page.locator("nav:visible").first).to_be_visible()


def test_the_overview_tells_what_is_so(floor: Floor, tab: Tab) -> None:
    floor.wait_for_failures(1)
    tab.open("/dashboard")

    expect(tab.figure("Workers")).to_have_text(str(floor.count(ALIVE)))
    decided = float(tab.figure("Orders decided").inner_text().split()[0])
    assert 0 < decided <= figure_max(floor)
    for queue in ("orders", "transitions", "skus", "operations"):
        expect(tab.page.locator(f"[id='o-holdfast.{queue}']")).to_contain_text("consuming")
    reason = tab.page.locator("#verdict a", has_text="failure")

    def shows_the_failures() -> bool:
        # More of them come while the page looks.
        count = str(floor.open_failures())
        return tab.figure("Failures").inner_text() == count and count in reason.inner_text()

    eventually(shows_the_failures)
    reason.click()
    tab.page.wait_for_url("**/dashboard/failures*")


def test_the_actors_are_those_that_work(floor: Floor, tab: Tab) -> None:
    tab.open("/dashboard/actors")

    for actor, queue in (
        ("place_orders", "orders"), ("move_orders", "transitions"), ("put_products", "skus"),
        ("adjust_stock", "skus"), ("operate", "operations"),
    ):  # fmt: skip
        expect(tab.page.locator(f"#a-{actor}")).to_contain_text(f"holdfast.{queue}")
        expect(tab.page.locator(f"[id='q-holdfast.{queue}']")).to_contain_text(actor)
    orders = tab.page.locator("#a-place_orders")
    rate = float(orders.locator("[data-label=Decided]").inner_text().split()[0])
    assert 0 < rate <= figure_max(floor)
    expect(orders.locator("[data-label='Accepted to decided']")).to_contain_text("ms")


def test_the_workers_are_those_that_run(floor: Floor, tab: Tab) -> None:
    rows = floor.system.sql("SELECT id, pid, threads, version FROM workers")
    tab.open("/dashboard/workers")

    expect(tab.page.locator("#workers tbody tr")).to_have_count(len(rows))
    for id_, pid, threads, version in rows:
        row = tab.page.locator(f"[id='w-{id_}']")
        expect(row).to_contain_text(socket.gethostname())
        expect(row).to_contain_text(f"process {pid}")
        expect(row).to_contain_text(f"of {threads}")
        expect(row.locator("[data-label=Version]")).to_have_text(version)
        expect(row.locator("[data-label=Memory]")).to_contain_text("MiB")
        expect(row.locator("[data-label=State]")).to_have_text("alive")


def test_no_page_needs_a_script(floor: Floor, new_tab: NewTab) -> None:
    floor.wait_for_failures(1)
    tab = new_tab(java_script_enabled=False)
    for name, page in PAGES.items():
        tab.open(page.path(floor))
        expect(tab.page.get_by_role("heading", level=1)).to_contain_text(page.title)
        assert len(tab.text()) > 80, name
        assert tab.page.locator(".needs-js:visible").count() == 0, name
        expect(tab.page.get_by_role("link", name="Failures").first).to_be_visible()
    # Charts are drawn by the server then
    tab.open("/dashboard?window=1h")
    expect(tab.page.locator("figure[data-chart] svg")).to_have_count(4)


def test_actions_need_no_script(floor: Floor, new_tab: NewTab) -> None:
    # Given somebody who signs in without scripts
    tab = new_tab("", java_script_enabled=False)
    tab.open("/dashboard/actors")
    tab.page.get_by_label("API key").fill(floor.operator)
    tab.page.get_by_role("button", name="Sign in").click()

    # When they pause a queue and resume it
    tab.page.get_by_role("link", name="Pause holdfast.transitions").click()
    tab.page.get_by_label("Why", exact=True).fill("no script here")
    tab.page.get_by_role("button", name="Pause holdfast.transitions").click()
    expect(tab.page.locator("#done")).to_contain_text("Done")
    assert floor.system.sql("SELECT reason FROM paused_queues") == [("no script here",)]
    tab.page.goto(f"{tab.base_url}/dashboard/queues/holdfast.transitions/resume")
    tab.page.get_by_role("button", name="Resume holdfast.transitions").click()
    expect(tab.page.locator("#done")).to_contain_text("Done")
    assert floor.system.sql("SELECT reason FROM paused_queues") == []

    # and they adjust stock and look at the dry run of a retry
    tab.open("/dashboard/inventory/COF-01")
    tab.page.get_by_role("textbox", name="Units").fill("2")
    tab.page.get_by_label("Reason").select_option("found")
    tab.page.get_by_role("button", name="Adjust").click()
    expect(tab.page.locator("#done")).to_contain_text("Done")
    floor.wait_for_failures(1)
    tab.open("/dashboard/failures")
    tab.page.get_by_role("link", name="Retry everything").click()

    def counts_the_failures() -> bool:
        tab.page.reload()
        return tab.page.locator(".dry-run-count").inner_text() == str(floor.open_failures())

    eventually(counts_the_failures)
