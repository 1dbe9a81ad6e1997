"""Orders and inventory: found, understood, moved and adjusted, each by clicks."""

from playwright.sync_api import Locator, expect

from tests.browser.floor import CATALOGUE, Floor
from tests.browser.rig import Tab
from web.dashboard.query import PAGE_ROWS

ON_HAND = "SELECT on_hand FROM stock WHERE sku = %s"
STATUS = "SELECT status FROM orders WHERE id = %s::uuid"
DONE = "SELECT action, target, key_name, address FROM audit_log ORDER BY at DESC LIMIT 1"


def rows(tab: Tab) -> Locator:
    return tab.page.locator("main table tbody tr")


# --- orders ---


def test_an_order_is_found_by_its_id_customer_sku_and_status(floor: Floor, tab: Tab) -> None:
    tab.open("/dashboard/orders")
    tab.page.get_by_label("Find").fill(floor.confirmed)
    tab.page.keyboard.press("Enter")
    tab.page.wait_for_url(f"**/dashboard/orders/{floor.confirmed}")

    for words in ("customer:c-18", "TWL-01"):
        tab.open("/dashboard/orders")
        tab.page.get_by_label("Find").fill(words)
        tab.page.get_by_role("button", name="Show").click()
        expect(rows(tab).filter(has_text="c-18").last).to_be_visible()
        tab.open(tab.address())
        expect(rows(tab).filter(has_text="c-18").last).to_be_visible()

    tab.open("/dashboard/orders")
    tab.page.get_by_label("Status").select_option("rejected")
    tab.page.get_by_role("button", name="Show").click()
    tab.page.wait_for_url("**status=rejected**")
    rejected = floor.count("SELECT count(*) FROM orders WHERE status = 'rejected'")
    expect(rows(tab)).to_have_count(min(rejected, PAGE_ROWS))


def test_the_page_of_an_order_tells_its_story(floor: Floor, tab: Tab) -> None:
    tab.open(f"/dashboard/orders/{floor.confirmed}")

    main = tab.page.locator("main")
    expect(tab.page.locator("h1")).to_contain_text("confirmed")
    total, currency = floor.system.sql(
        "SELECT total, currency FROM orders WHERE id = %s::uuid", floor.confirmed
    )[0]
    expect(main).to_contain_text(f"{total / 100:,.2f} {currency}")
    for sku, quantity in (("MUG-01", "2"), ("COF-01", "1")):
        line = rows(tab).filter(has_text=sku).first
        expect(line.locator("[data-label=Quantity]")).to_have_text(quantity)
    moved = tab.page.locator("section", has_text="Stock movements").locator("tbody tr")
    expect(moved).to_have_count(2)
    expect(moved.filter(has_text="MUG-01").locator("[data-label=Allocated]")).to_have_text("+2")
    expect(main.locator(".timeline")).to_contain_text("onfirmed")


def test_a_rejected_order_says_why(floor: Floor, tab: Tab) -> None:
    tab.open(f"/dashboard/orders/{floor.rejected}")

    reason = tab.page.locator("section", has_text="Not enough stock").locator("tbody tr")
    expect(reason).to_contain_text("TWL-01")
    expect(reason.locator("[data-label=Asked]")).to_have_text("3")
    expect(reason.locator("[data-label='Was available']")).to_have_text("0")
    expect(tab.page.get_by_role("button", name="Mark as shipped")).to_have_count(0)


def test_an_order_is_moved_through_its_life(floor: Floor, tab: Tab) -> None:
    order_id = floor.place(("POT-01", 2), customer_id="c-life")
    tab.open(f"/dashboard/orders/{order_id}")

    expect(tab.page.locator("form[action$='/move']")).not_to_have_count(0)
    tab.page.get_by_role("button", name="Mark as shipped").click()
    expect(tab.page.locator("#done")).to_contain_text("Done")
    expect(tab.page.locator("h1")).to_contain_text("shipped")
    assert floor.system.sql(DONE) == [
        ("move_order", f"order:{order_id}", "Olga Operator", "127.0.0.1")
    ]
    tab.page.get_by_role("button", name="Mark as delivered").click()
    expect(tab.page.locator("h1")).to_contain_text("delivered")

    # What can't be undone is asked once more
    dialog = tab.page.locator("dialog#confirm")
    tab.page.get_by_role("button", name="Record return").click()
    expect(dialog).to_contain_text("can't be undone")
    expect(dialog.get_by_role("button")).to_have_text(["Leave unchanged", "Record return"])
    dialog.get_by_role("button", name="Leave unchanged").click()
    assert floor.system.sql(STATUS, order_id) == [("delivered",)]
    tab.page.get_by_role("button", name="Record return").click()
    dialog.get_by_role("button", name="Record return").click()
    expect(tab.page.locator("h1")).to_contain_text("returned")
    assert floor.system.sql(STATUS, order_id) == [("returned",)]
    expect(tab.page.locator(".timeline li")).to_have_count(5)
    expect(tab.page.locator("form[action$='/move']")).to_have_count(0)


def test_an_order_that_moved_meanwhile_is_not_moved(floor: Floor, tab: Tab) -> None:
    order_id = floor.place(("POT-01", 1), customer_id="c-meanwhile")
    tab.open(f"/dashboard/orders/{order_id}")
    floor.shop.move(order_id, "shipped")

    tab.page.get_by_role("button", name="Cancel order").click()
    dialog = tab.page.locator("dialog#confirm")
    expect(dialog.get_by_role("button")).to_have_text(["Keep order", "Cancel order"])
    dialog.get_by_role("button", name="Cancel order").click()

    expect(tab.page.locator("#done.banner-rejected")).to_be_visible()
    assert floor.system.sql(STATUS, order_id) == [("shipped",)]


# --- inventory ---


def test_the_inventory_is_that_of_the_database(floor: Floor, tab: Tab) -> None:
    tab.open("/dashboard/inventory")

    assert rows(tab).count() == floor.count("SELECT count(*) FROM products")
    for sku, name, _, _ in CATALOGUE:
        expect(rows(tab).filter(has_text=sku)).to_contain_text(name)
    expect(rows(tab).filter(has_text="KNF-01").locator("[data-label='On hand']")).to_have_text("6")


def test_low_stock_is_found(tab: Tab) -> None:
    tab.open("/dashboard/inventory")

    tab.page.get_by_role("link", name="Low stock").click()

    tab.page.wait_for_url("**low=yes**")
    expect(rows(tab)).to_have_count(2)
    expect(rows(tab).nth(0)).to_contain_text("TWL-01")
    expect(rows(tab).nth(1)).to_contain_text("KNF-01")


def test_a_sku_is_found_by_its_beginning(tab: Tab) -> None:
    tab.open("/dashboard/inventory")

    tab.page.get_by_label("SKU begins with").fill("KNF")
    tab.page.keyboard.press("Enter")

    tab.page.wait_for_url("**q=KNF**")
    expect(rows(tab)).to_have_count(1)
    rows(tab).get_by_role("link").first.click()
    tab.page.wait_for_url("**/dashboard/inventory/KNF-01")


def test_stock_is_adjusted(floor: Floor, tab: Tab) -> None:
    tab.open("/dashboard/inventory/KNF-01")
    before = floor.count(ON_HAND, "KNF-01")
    expect(tab.figure("On hand")).to_have_text(f"{before:,}")

    tab.page.get_by_role("textbox", name="Units").fill("+3")
    tab.page.get_by_label("Reason").select_option("found")
    tab.page.get_by_role("button", name="Adjust").click()

    expect(tab.page.locator("#done")).to_contain_text("Done")
    expect(tab.figure("On hand")).to_have_text(f"{before + 3:,}")
    assert floor.count(ON_HAND, "KNF-01") == before + 3
    expect(tab.page.locator("#ledger tbody tr").first).to_contain_text("found")
    expect(tab.page.locator("#ledger tbody tr").first).to_contain_text("+3")
    assert floor.system.sql(DONE)[0][:3] == ("adjust_stock", "sku:KNF-01", "Olga Operator")


def test_a_refused_adjustment_says_why_and_changes_nothing(floor: Floor, tab: Tab) -> None:
    tab.open("/dashboard/inventory/TWL-01")

    tab.page.get_by_role("textbox", name="Units").fill("-5")
    tab.page.get_by_label("Reason").select_option("lost")
    tab.page.get_by_role("button", name="Adjust").click()

    expect(tab.page.locator("#done.banner-rejected")).to_contain_text("TWL-01")
    assert floor.count(ON_HAND, "TWL-01") == 0
    tab.open("/dashboard/audit")
    expect(rows(tab).first).to_contain_text("rejected")


def test_an_adjustment_that_makes_no_sense_is_marked(floor: Floor, tab: Tab) -> None:
    tab.watch.excuse("answer 422")
    tab.watch.excuse("status of 422")
    tab.open("/dashboard/inventory/KNF-01")
    before = floor.count(ON_HAND, "KNF-01")

    tab.page.get_by_role("textbox", name="Units").fill("many")
    tab.page.get_by_role("button", name="Adjust").click()

    expect(tab.page.get_by_role("textbox", name="Units")).to_have_attribute("aria-invalid", "true")
    expect(tab.page.locator("#delta-error")).not_to_be_empty()
    assert floor.count(ON_HAND, "KNF-01") == before


# --- the audit log ---


def test_the_audit_log_can_be_narrowed(floor: Floor, tab: Tab) -> None:
    order_id = floor.place(("POT-01", 1), customer_id="c-audit")
    tab.open(f"/dashboard/orders/{order_id}")
    tab.page.get_by_role("button", name="Mark as shipped").click()
    expect(tab.page.locator("#done")).to_contain_text("Done")

    tab.open("/dashboard/audit")
    tab.page.get_by_label("Of what").fill(order_id)
    tab.page.get_by_role("button", name="Show").click()

    expect(rows(tab)).to_have_count(1)
    expect(rows(tab)).to_contain_text("Moved an order")
    expect(rows(tab)).to_contain_text("Olga Operator")
    expect(rows(tab)).to_contain_text("127.0.0.1")
    expect(rows(tab)).to_contain_text("applied")
