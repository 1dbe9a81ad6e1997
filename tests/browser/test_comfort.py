"""What makes the pages pleasant: keys, themes, times, a phone's menu."""

import re
from datetime import UTC

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import NewTab
from tests.browser.floor import Floor
from tests.browser.rig import PHONE, Tab
from tests.conftest import eventually

THEME = "getComputedStyle(document.body).backgroundColor"
KEYS = {
    "o": "/dashboard",
    "a": "/dashboard/actors",
    "f": "/dashboard/failures",
    "r": "/dashboard/orders",
    "i": "/dashboard/inventory",
    "w": "/dashboard/workers",
    "d": "/dashboard/delayed",
    "l": "/dashboard/audit",
}


def test_keys_lead_everywhere(tab: Tab) -> None:
    tab.open("/dashboard")
    for key, path in [*list(KEYS.items())[1:], ("o", "/dashboard")]:
        tab.page.keyboard.press("g")
        tab.page.keyboard.press(key)
        tab.page.wait_for_url(tab.base_url + path)


def test_the_help_panel_names_the_keys_and_closes(tab: Tab) -> None:
    tab.open("/dashboard")
    panel = tab.page.locator("dialog#help")

    tab.page.keyboard.press("?")

    expect(panel).to_be_visible()
    for words in ("Overview", "Failures", "Search", "Dark or light"):
        expect(panel).to_contain_text(words)
    tab.page.keyboard.press("Escape")
    expect(panel).to_be_hidden()


def test_keys_typed_into_a_field_are_text(tab: Tab) -> None:
    tab.open("/dashboard/orders")
    tab.page.keyboard.press("/")
    field = tab.page.get_by_label("Search orders, customers and products").locator("visible=true")
    expect(field).to_be_focused()

    field.press_sequentially("g?t")

    expect(field).to_have_value("g?t")
    expect(tab.page.locator("dialog#help")).to_be_hidden()
    assert tab.address() == "/dashboard/orders"


def test_the_theme_is_the_systems_until_it_is_chosen_and_then_kept(new_tab: NewTab) -> None:
    # Given a system in the dark
    tab = new_tab(color_scheme="dark")
    tab.open("/dashboard")
    dark = tab.run(THEME)

    # When the light is switched on
    tab.page.keyboard.press("t")

    # Then it is light, on other pages and after a reload, too
    eventually(lambda: tab.run(THEME) != dark)
    light = tab.run(THEME)
    tab.open("/dashboard/orders")
    assert tab.run(THEME) == light
    tab.page.reload()
    assert tab.run(THEME) == light
    # and the button leads back
    tab.page.get_by_role("button", name=re.compile("dark and light")).locator(
        "visible=true"
    ).click()
    eventually(lambda: tab.run(THEME) == dark)


def test_times_are_relative_with_the_exact_one_beside_them(floor: Floor, tab: Tab) -> None:
    tab.open(f"/dashboard/orders/{floor.confirmed}")
    placed_at = floor.system.sql(
        "SELECT placed_at FROM orders WHERE id = %s::uuid", floor.confirmed
    )[0][0]
    at = placed_at.astimezone(UTC).replace(tzinfo=None)

    time = tab.page.locator(f"main time[datetime='{at.isoformat(timespec='milliseconds')}Z']").first

    expect(time).to_have_text(re.compile(r"^(now|\d+ (s|min|h) ago)$"))
    expect(time.locator("+ .exact")).to_contain_text(f"{at:%H:%M:%S}")
    expect(time).to_have_attribute("title", re.compile(f"^{at:%Y-%m-%d %H:%M:%S}"))


def test_a_phone_has_a_menu(new_tab: NewTab) -> None:
    tab = new_tab(viewport=PHONE, is_mobile=True, has_touch=True)
    tab.open("/dashboard")

    tab.page.locator("summary", has_text="Menu").tap()
    tab.page.get_by_role("link", name="Inventory").locator("visible=true").tap()

    tab.page.wait_for_url("**/dashboard/inventory")
    expect(tab.page.get_by_role("heading", level=1)).to_contain_text("Inventory")


@pytest.mark.parametrize("path", ["/dashboard/orders?customer=nobody", "/dashboard/audit?who=no"])
def test_where_nothing_is_the_page_says_what_to_do_next(tab: Tab, path: str) -> None:
    tab.open(path)

    expect(tab.page.locator("main .empty .empty-title").first).to_be_visible()
    expect(tab.page.locator("main .empty .muted").first).not_to_be_empty()


def test_the_first_tab_stop_skips_the_navigation(tab: Tab) -> None:
    tab.open("/dashboard")

    tab.page.keyboard.press("Tab")
    tab.page.keyboard.press("Enter")

    assert tab.run("document.activeElement.id") == "content"
