"""Pages that stay current: by a stream, else by asking, and not at all where nobody looks."""

from playwright.sync_api import Locator, expect

from tests.browser.conftest import NewTab
from tests.browser.floor import Floor
from tests.browser.rig import Tab
from tests.conftest import eventually

LIVE = "Live"
#: Was the page loaded anew?
MARK = "window.kept = true"
KEPT = "window.kept === true"
#: Keeps what a page opens, and lets a test hide the tab.
SPY = """
window.sources = [];
window.EventSource = class extends EventSource {
    constructor(...given) { super(...given); sources.push(this); }
};
window.hide = (hidden) => {
    Object.defineProperty(document, "hidden", {configurable: true, get: () => hidden});
    document.dispatchEvent(new Event("visibilitychange"));
};
"""


def state(tab: Tab) -> Locator:
    return tab.page.locator("[data-live-state]:visible")


def figure(tab: Tab, label: str) -> Locator:
    return tab.page.locator("#figures .figure", has_text=label).locator(".figure-value")


def figures_change(floor: Floor, tab: Tab) -> None:
    """What the page says of orders follows what becomes of them."""
    seen = figure(tab, "Orders decided").inner_text()
    floor.surge()
    expect(figure(tab, "Orders decided")).not_to_have_text(seen, timeout=15_000)


def queue_badge(tab: Tab, queue: str) -> Locator:
    return tab.page.locator(f"[id='o-{queue}'] .badge")


def test_figures_change_without_a_reload(floor: Floor, tab: Tab) -> None:
    tab.open("/dashboard")
    tab.run(MARK)
    expect(state(tab)).to_have_text(LIVE)
    figures_change(floor, tab)

    floor.system.sql(
        "INSERT INTO paused_queues VALUES ('holdfast.products', 'a test', 'somebody', now())"
    )
    try:
        expect(queue_badge(tab, "holdfast.products")).to_have_text("paused")
    finally:
        floor.system.sql("DELETE FROM paused_queues")
    expect(queue_badge(tab, "holdfast.products")).not_to_have_text("paused")
    assert tab.run(KEPT)


def test_a_page_finds_its_stream_again_after_a_restart(floor: Floor, tab: Tab) -> None:
    tab.watch.excuse("net::ERR_")
    tab.open("/dashboard")
    tab.run(MARK)
    expect(state(tab)).to_have_text(LIVE)

    floor.system.stop("web")
    expect(state(tab)).to_contain_text("Connection lost")
    floor.system.start("web")

    expect(state(tab)).to_have_text(LIVE, timeout=20_000)
    figures_change(floor, tab)
    assert tab.run(KEPT)


def test_a_page_asks_where_a_stream_is_refused(floor: Floor, tab: Tab) -> None:
    tab.watch.excuse("503")
    asked: list[str] = []
    tab.page.on("request", lambda request: asked.append(request.url))
    tab.page.route(
        lambda address: address.endswith("/dashboard/live/overview"),
        lambda route: route.fulfill(status=503, body="busy"),
    )

    tab.open("/dashboard")

    expect(state(tab)).to_have_text(LIVE)
    figures_change(floor, tab)
    assert sum(url.endswith("/dashboard/live/overview?poll=1") for url in asked) >= 2


def test_a_hidden_tab_asks_for_nothing(new_tab: NewTab) -> None:
    tab = new_tab(script=SPY)
    tab.open("/dashboard")
    expect(state(tab)).to_have_text(LIVE)
    assert tab.run("sources.map(({readyState}) => readyState)") == [1]

    tab.run("hide(true)")
    assert tab.run("sources.map(({readyState}) => readyState)") == [2]

    tab.run("hide(false)")
    # Not wait_for_function: what that evaluates later than at once, the policy forbids.
    eventually(lambda: tab.run("sources.map(({readyState}) => readyState)") == [2, 1])
    expect(state(tab)).to_have_text(LIVE)


def test_more_tabs_than_a_browser_has_connections_stay_current(tab: Tab) -> None:
    # A browser opens six connections to a host, and a stream keeps its own.
    tab.open("/dashboard")
    pages = [tab.page, *(tab.context.new_page() for _ in range(6))]
    for page in pages[1:]:
        page.goto(f"{tab.base_url}/dashboard")

    for page in pages:
        expect(page.locator("[data-live-state]:visible")).to_have_text(LIVE)


def test_what_is_being_read_is_not_taken_away(floor: Floor, tab: Tab) -> None:
    # Given somebody who stands on a row's link by keyboard
    tab.open("/dashboard/actors")
    expect(state(tab)).to_have_text(LIVE)
    link = tab.page.get_by_role("link", name="Change the rate limit of place_orders")
    link.focus()
    seen = tab.page.locator("#a-place_orders").inner_text()

    # When the figures beside it change
    floor.surge()
    expect(tab.page.locator("#a-place_orders")).not_to_have_text(seen, timeout=15_000)

    # Then they still stand there
    expect(link).to_be_focused()


def test_charts_are_drawn_and_their_window_is_in_the_address(tab: Tab) -> None:
    tab.open("/dashboard")
    expect(tab.page.locator("figure[data-chart] canvas")).to_have_count(4)

    with tab.page.expect_response("**/dashboard/data/throughput.json?window=1h") as answer:
        tab.page.get_by_role("link", name="1 hour").click()

    assert answer.value.ok
    assert tab.address() == "/dashboard?window=1h"
    tab.page.reload()
    expect(tab.page.get_by_role("link", name="1 hour")).to_have_attribute("aria-current", "true")
    expect(tab.page.locator("figure[data-chart] canvas")).to_have_count(4)
