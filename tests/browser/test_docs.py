"""/docs: the API is read and tried in a browser, and nothing but this host is asked."""

from playwright.sync_api import expect

from tests.browser.conftest import NewTab
from tests.conftest import API_KEY


def test_anybody_reads_the_api_and_who_has_a_key_tries_it(new_tab: NewTab) -> None:
    # Given somebody who is not signed in; what breaks the policy or asks elsewhere is a fault
    tab = new_tab("")
    page = tab.open("/docs")

    # Then every operation is there, and opens to show its parameters, schemas and examples
    for address in ("/v1/orders", "/v1/order-batches", "/v1/commands/{command_id}", "/readyz"):
        expect(page.locator(f"[data-path='{address}']").first).to_be_visible()
    expect(page.locator(".opblock")).to_have_count(17)
    page.locator("#operations-Orders-placeOrder .opblock-summary-control").click()
    expect(page.locator("#operations-Orders-placeOrder")).to_contain_text("Idempotency-Key")
    expect(page.locator("#operations-Orders-placeOrder")).to_contain_text("MUG-01")

    # When a key is given and a list is asked for
    page.locator("button.authorize").first.click()
    page.locator(".auth-container input").first.fill(API_KEY)
    page.locator(".auth-container button.authorize").first.click()
    page.locator(".auth-container button.btn-done").first.click()
    listing = page.locator("#operations-Inventory-listInventory")
    listing.locator(".opblock-summary-control").click()
    listing.get_by_role("button", name="Try it out").click()
    listing.get_by_role("button", name="Execute").click()

    # Then the service's own answer is shown
    answer = listing.locator(".live-responses-table")
    expect(answer.locator(".response-col_status").last).to_contain_text("200")
    expect(answer).to_contain_text("next_cursor")
