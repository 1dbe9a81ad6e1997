"""/docs: the API is read and tried in a browser, and nothing but this host is asked."""

from playwright.sync_api import Locator, Page, expect

from tests.browser.conftest import NewTab
from tests.browser.rig import Tab
from tests.conftest import API_KEY

BACKGROUND = "getComputedStyle(document.body).backgroundColor"


def authorize(page: Page) -> None:
    page.locator("button.authorize").first.click()
    page.locator(".auth-container input").first.fill(API_KEY)
    page.locator(".auth-container button.authorize").first.click()
    page.locator(".auth-container button.btn-done").first.click()


def tried(page: Page, operation: str) -> Locator:
    """An operation, opened and ready to be executed."""
    block = page.locator(f"#operations-{operation}")
    block.locator(".opblock-summary-control").click()
    block.get_by_role("button", name="Try it out").click()
    return block


def status(block: Locator) -> Locator:
    """The status of the service's own answer."""
    return block.locator(".live-responses-table .response .response-col_status")


def test_anybody_reads_the_api_and_who_has_a_key_tries_it(new_tab: NewTab) -> None:
    # Given somebody who is not signed in; what breaks the policy or asks elsewhere is a fault
    page = new_tab("").open("/docs")

    # Then every operation is there, and opens to show its parameters, schemas and examples
    for address in ("/v1/orders", "/v1/order-batches", "/v1/commands/{command_id}", "/readyz"):
        expect(page.locator(f"[data-path='{address}']").first).to_be_visible()
    expect(page.locator(".opblock")).to_have_count(17)

    # When a key is given and the same example is ordered twice, with nothing filled in
    authorize(page)
    placing = tried(page, "Orders-placeOrder")
    expect(placing).to_contain_text("MUG-01")
    for name in ("Idempotency-Key", "traceparent", "Prefer"):
        expect(placing.locator(f"tr[data-param-name='{name}'] input")).to_have_value("")
    placing.get_by_role("button", name="Execute").click()
    expect(status(placing)).to_contain_text("202")
    first = placing.locator(".live-responses-table .microlight").first.inner_text()
    placing.locator("tr[data-param-name='Idempotency-Key'] input").fill("my own")
    placing.get_by_role("button", name="Execute").click()

    # Then each is an order of its own
    expect(placing.locator(".live-responses-table .microlight").first).not_to_have_text(first)
    expect(status(placing)).to_contain_text("202")

    # When the page is loaded anew
    page.reload()
    listing = tried(page, "Orders-listOrders")
    listing.get_by_role("button", name="Execute").click()

    # Then the key is still known, and no filter was filled in
    expect(status(listing)).to_contain_text("200")
    expect(listing.locator(".request-url")).not_to_contain_text("customer_id")
    expect(page.locator(".docs-head")).to_contain_text("stays in this browser")


def test_operations_are_filtered_by_words_from_the_keyboard(new_tab: NewTab) -> None:
    page = new_tab("").open("/docs")
    expect(page.locator(".opblock")).to_have_count(17)

    page.keyboard.press("/")
    page.keyboard.type("post adjust")

    expect(page.locator(".opblock")).to_have_count(1)
    expect(page.locator("#operations-Inventory-adjustStock")).to_be_visible()
    page.get_by_label("Filter operations").fill("")
    expect(page.locator(".opblock")).to_have_count(17)


def test_it_is_dark_where_the_system_is(new_tab: NewTab) -> None:
    tab = new_tab("", color_scheme="dark")
    tab.open("/docs")
    expect(tab.page.locator(".opblock")).to_have_count(17)
    assert brightness(tab) < 100

    tab.page.emulate_media(color_scheme="light")

    expect(tab.page.locator("html.dark-mode")).to_have_count(0)
    assert brightness(tab) > 200


def test_it_has_the_theme_that_was_chosen_on_the_dashboard(new_tab: NewTab) -> None:
    # Given a light system, where somebody chose the dark
    tab = new_tab(color_scheme="light")
    tab.open("/dashboard")
    tab.page.keyboard.press("t")
    expect(tab.page.locator("html[data-theme=dark]")).to_have_count(1)

    # Then the API's page is dark in another tab, too
    docs = Tab(tab.context, tab.base_url, tab.watch)
    docs.open("/docs")
    expect(docs.page.locator(".opblock")).to_have_count(17)
    assert brightness(docs) < 100

    # and follows where another choice is made
    tab.page.keyboard.press("t")
    expect(docs.page.locator("html.dark-mode")).to_have_count(0)
    assert brightness(docs) > 200


def brightness(tab: Tab) -> int:
    """Of the page's background, 0 to 255."""
    red = str(tab.run(BACKGROUND)).partition("(")[2].partition(",")[0]
    return int(red)
