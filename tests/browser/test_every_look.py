"""Every page in every look: accessible, no wider than its window, and on a picture."""

import json
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.browser import axe
from tests.browser.conftest import NewTab
from tests.browser.floor import Floor
from tests.browser.rig import DESKTOP, PHONE, Tab
from tests.browser.sights import PAGES
from tests.conftest import CHECKOUT

PICTURES = CHECKOUT / "var" / "screenshots"


ON_PHONE: dict[str, Any] = {"viewport": PHONE, "is_mobile": True, "has_touch": True}
SIZES: dict[str, dict[str, Any]] = {"desktop": {"viewport": DESKTOP}, "phone": ON_PHONE}
#: What another theme changes is colours.
COLOURS = ("color-contrast", "link-in-text-block")


@pytest.mark.parametrize("size", SIZES)
def test_every_page_opens_and_can_be_used_by_everybody(
    floor: Floor, new_tab: NewTab, size: str
) -> None:
    floor.wait_for_failures(1)
    tab = new_tab(script=axe.SOURCE.read_text(), **SIZES[size])
    findings: dict[str, Any] = {}
    for name, page in PAGES.items():
        tab.open(page.path(floor))
        expect(tab.page.get_by_role("heading", level=1)).to_contain_text(page.title)
        expect(tab.page.locator(".environment:visible")).to_have_text("test")
        expect(tab.page.locator("nav a[aria-current=page]").first).to_be_attached()
        assert tab.page.title().endswith("· Holdfast · test")
        findings |= look_at(tab, f"{name}-{size}")

    assert not findings, json.dumps(findings, indent=1)


def test_the_sign_in_page_can_be_used_by_everybody(new_tab: NewTab) -> None:
    for size, options in SIZES.items():
        tab = new_tab("", script=axe.SOURCE.read_text(), **options)
        tab.open("/dashboard/sign-in")
        assert look_at(tab, f"sign-in-{size}") == {}


def test_what_is_found_can_be_used_by_everybody(new_tab: NewTab) -> None:
    for size, options in SIZES.items():
        tab = new_tab(script=axe.SOURCE.read_text(), **options)
        tab.open("/dashboard/search?q=MUG")
        expect(tab.page.locator("#found-products")).to_contain_text("Enamel mug")
        assert look_at(tab, f"search-{size}") == {}


def look_at(tab: Tab, name: str) -> dict[str, Any]:
    """What is wrong with a page, in the light and in the dark; leaves a picture of each."""
    findings: dict[str, Any] = {}
    if wide := tab.overflow():
        findings[f"{name} is wider than its window"] = wide
    if found := axe.serious(tab):
        findings[f"{name}-light"] = found
    take_picture(tab.page, f"{name}-light")
    tab.page.emulate_media(color_scheme="dark")
    if found := axe.serious(tab, *COLOURS):
        findings[f"{name}-dark"] = found
    take_picture(tab.page, f"{name}-dark")
    tab.page.emulate_media(color_scheme="light")
    return findings


def take_picture(page: Page, name: str) -> None:
    PICTURES.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=PICTURES / f"{name}.png", full_page=True, animations="disabled")


def test_axe_core_is_what_was_published() -> None:
    assert axe.is_whole()
