"""Signing in and out, and what somebody who may only look does not get."""

from playwright.sync_api import expect

from tests.browser.conftest import NewTab
from tests.browser.floor import Floor
from tests.browser.rig import Tab
from tests.browser.sights import PAGES

SEND = """async ([path, form]) => (await fetch(path, {method: "POST", redirect: "manual",
    body: new URLSearchParams({
        csrf: document.querySelector("meta[name=csrf-token]").content, ...form})})).status"""


def sign_in(tab: Tab, key: str) -> None:
    tab.page.get_by_label("API key").fill(key)
    tab.page.get_by_role("button", name="Sign in").click()


def test_a_key_opens_the_dashboard_until_its_owner_signs_out(floor: Floor, new_tab: NewTab) -> None:
    # Given somebody whom a link leads to a page
    tab = new_tab("")
    tab.open("/dashboard/orders?status=confirmed")
    assert tab.page.url.startswith(f"{floor.system.base_url}/dashboard/sign-in")

    # When they sign in, then they are where the link leads
    sign_in(tab, floor.operator)
    tab.page.wait_for_url("**/dashboard/orders?status=confirmed")
    expect(tab.page.locator(".who:visible")).to_contain_text("Olga Operator")

    # When they sign out, then the page is closed to them
    tab.page.get_by_role("button", name="Sign out").locator("visible=true").click()
    tab.page.wait_for_url("**/dashboard/sign-in")
    tab.open("/dashboard/orders")
    expect(tab.page.get_by_label("API key")).to_be_visible()


def test_the_session_can_not_be_read_by_scripts(floor: Floor, tab: Tab) -> None:
    tab.open("/dashboard")

    cookies = tab.context.cookies()

    assert len(cookies) == 1
    assert cookies[0].get("httpOnly")
    assert cookies[0].get("sameSite") in ("Lax", "Strict")
    assert tab.run("document.cookie") == ""
    assert floor.operator not in str(cookies[0].get("value"))


def test_a_wrong_key_opens_nothing(new_tab: NewTab) -> None:
    tab = new_tab("")
    tab.watch.excuse("401", "/dashboard/sign-in")
    tab.open("/dashboard/sign-in")

    sign_in(tab, "hf_not-a-key-that-was-ever-made-0123456789")

    expect(tab.page.get_by_role("alert")).to_contain_text("no such key")
    assert tab.context.cookies() == []
    expect(tab.page.get_by_label("API key")).to_have_value("")


def test_a_key_without_the_scopes_is_told_what_it_lacks(floor: Floor, new_tab: NewTab) -> None:
    key = floor.system.run("keys", "create", "Shop", "--scope=orders:read").split()[-1]
    tab = new_tab("")
    tab.watch.excuse("403", "/dashboard/sign-in")
    tab.open("/dashboard/sign-in")

    sign_in(tab, key)

    expect(tab.page.get_by_role("alert")).to_contain_text("dashboard:read")
    assert tab.context.cookies() == []


def test_a_reader_sees_every_page_and_no_button_that_changes_anything(
    floor: Floor, reader: Tab
) -> None:
    floor.wait_for_failures(1)
    for name, page in PAGES.items():
        reader.open(page.path(floor))
        forms = reader.page.locator("form[method=post]:not([action='/dashboard/sign-out'])")
        assert forms.count() == 0, name
        assert "read only" in reader.page.locator("body").inner_text(), name


def test_a_reader_is_refused_by_the_server(floor: Floor, reader: Tab) -> None:
    # Given somebody who may only look, and knows where an operator's forms go
    reader.watch.excuse("403")
    floor.wait_for_failures(1)
    before = floor.count("SELECT count(*) FROM audit_log")
    reader.open("/dashboard")

    # When they send what such a form sends, with a token of their own session
    for path, form in (
        ("/dashboard/queues/holdfast.orders/pause", {"reason": "curious"}),
        ("/dashboard/actors/place_orders/limit", {"amount": "1", "unit": "h", "do": "set"}),
        ("/dashboard/failures/discard", {"scope": "matching", "up_to_id": "99", "reason": "no"}),
        (f"/dashboard/orders/{floor.confirmed}/move", {"to": "cancelled", "version": "1"}),
        ("/dashboard/inventory/MUG-01/adjust", {"delta": "1", "reason": "found"}),
    ):
        assert reader.run(SEND, [path, form]) == 403, path

    # Then nothing is done
    assert floor.count("SELECT count(*) FROM audit_log") == before
    assert floor.system.sql("SELECT queue FROM paused_queues") == []


def test_without_the_sessions_token_nothing_is_done(floor: Floor, tab: Tab) -> None:
    tab.watch.excuse("403")
    tab.open("/dashboard")

    form = {"reason": "forged", "csrf": "made-up"}
    assert tab.run(SEND, ["/dashboard/queues/holdfast.orders/pause", form]) == 403

    assert floor.system.sql("SELECT queue FROM paused_queues") == []
