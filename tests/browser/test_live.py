"""Pages that stay current: by a stream, else by asking, and not at all where nobody looks."""

from playwright.sync_api import Browser, Locator, expect

from tests.browser.buffering import buffering_proxy
from tests.browser.conftest import NewTab
from tests.browser.floor import Floor
from tests.browser.rig import Tab, Watch
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
#: Lets a test say how many seconds have passed.
CLOCK = """
window.passed = 0;
const now = Date.now;
Date.now = () => now() + passed * 1000;
"""
#: Snapshots that come at once, as behind a proxy that collects them.
LUMPS = """
for (let left = 10; left && sources[0].readyState < 2; left--)
    sources[0].onmessage({data: document.querySelector("#live").innerHTML});
"""
STATES = "sources.map(({readyState}) => readyState)"
OPEN, CLOSED = 1, 2


def state(tab: Tab) -> Locator:
    return tab.page.locator("[data-live-state]:visible")


def figures_change(floor: Floor, tab: Tab) -> None:
    """What the page says of orders follows what becomes of them."""
    seen = tab.figure("Orders decided").inner_text()
    floor.surge()
    expect(tab.figure("Orders decided")).not_to_have_text(seen)


def queue_badge(tab: Tab, queue: str) -> Locator:
    return tab.page.locator(f"[id='o-{queue}'] .badge")


def test_figures_change_without_a_reload(floor: Floor, tab: Tab) -> None:
    tab.open("/dashboard")
    tab.run(MARK)
    expect(state(tab)).to_have_text(LIVE)
    figures_change(floor, tab)

    floor.system.sql(
        "INSERT INTO paused_queues VALUES ('holdfast.skus', 'a test', 'somebody', now())"
    )
    try:
        expect(queue_badge(tab, "holdfast.skus")).to_have_text("paused")
    finally:
        floor.system.sql("DELETE FROM paused_queues")
    expect(queue_badge(tab, "holdfast.skus")).not_to_have_text("paused")
    assert tab.run(KEPT)


def test_a_page_finds_its_stream_again_after_a_restart(floor: Floor, tab: Tab) -> None:
    tab.watch.excuse("net::ERR_")
    tab.open("/dashboard")
    tab.run(MARK)
    expect(state(tab)).to_have_text(LIVE)

    floor.system.stop("web")
    expect(state(tab)).to_contain_text("Connection lost")
    floor.system.start("web")

    expect(state(tab)).to_have_text(LIVE)
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


def test_behind_a_proxy_that_buffers_a_page_asks_by_itself(floor: Floor, browser: Browser) -> None:
    with buffering_proxy(floor.system.port) as address, browser.new_context() as seen:
        watch = Watch(address)
        watch.follow(seen)
        tab = Tab(seen, address, watch)
        tab.open("/dashboard/sign-in")
        tab.page.get_by_label("API key").fill(floor.reader)
        tab.page.get_by_role("button", name="Sign in").click()
        tab.page.wait_for_url(f"{address}/dashboard")
        asked: list[str] = []
        tab.page.on("request", lambda request: asked.append(request.url))

        # The stream brings nothing, and the page is live all the same
        expect(state(tab)).to_have_text(LIVE, timeout=20_000)
        figures_change(floor, tab)

        assert sum(url.endswith("/dashboard/live/overview?poll=1") for url in asked) >= 2
        assert watch.faults() == []


def test_a_stream_that_comes_in_lumps_is_left_for_five_minutes(new_tab: NewTab) -> None:
    tab = new_tab(script=SPY + CLOCK)
    polled = "**/dashboard/live/overview?poll=1"
    tab.open("/dashboard")
    expect(state(tab)).to_have_text(LIVE)
    assert tab.run(STATES) == [OPEN]

    # Several snapshots at once were held back on the way: the page asks instead, and again
    with tab.page.expect_response(polled):
        tab.run(LUMPS)
    with tab.page.expect_response(polled):
        assert tab.run(STATES) == [CLOSED]
    expect(state(tab)).to_have_text(LIVE)

    # Whoever looks again within five minutes finds it asking
    tab.run("passed = 240")
    with tab.page.expect_response(polled):
        look_again(tab)
    assert tab.run(STATES) == [CLOSED]

    # and after them with a stream
    tab.run("passed = 310")
    look_again(tab)
    eventually(lambda: tab.run(STATES) == [CLOSED, OPEN])
    expect(state(tab)).to_have_text(LIVE)


def look_again(tab: Tab) -> None:
    """Somebody leaves for another tab, and comes back."""
    tab.run("hide(true)")
    tab.run("hide(false)")


def test_a_hidden_tab_asks_for_nothing(new_tab: NewTab) -> None:
    tab = new_tab(script=SPY)
    tab.open("/dashboard")
    expect(state(tab)).to_have_text(LIVE)
    assert tab.run(STATES) == [OPEN]

    tab.run("hide(true)")
    assert tab.run(STATES) == [CLOSED]

    tab.run("hide(false)")
    # Not wait_for_function: what that evaluates later than at once, the policy forbids.
    eventually(lambda: tab.run(STATES) == [CLOSED, OPEN])
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
    expect(tab.page.locator("#a-place_orders")).not_to_have_text(seen)

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
