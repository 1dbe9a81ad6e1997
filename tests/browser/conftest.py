"""Fixtures of the browser's tests: a system of their own, and tabs in a real Chromium."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Playwright, sync_playwright

from deploy.local.browser import chromium
from deploy.local.servers import Postgres, RabbitMQ
from tests.browser.floor import Floor
from tests.browser.rig import DESKTOP, Tab, Watch
from tests.conftest import System

ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
SETTINGS = {
    "ENVIRONMENT": "test",
    "REPORT_EVERY_S": "0.5",
    # Every test comes from the same address.
    "SIGN_IN_RATE_LIMIT": "1000/minute",
    "WEB_METRICS_PORT": "0",
    "WORKER_METRICS_PORT": "0",
    "CLOCK_METRICS_PORT": "0",
}
NewTab = Callable[..., Tab]


@pytest.fixture(scope="package")
def floor(postgres: Postgres, rabbitmq: RabbitMQ) -> Iterator[Floor]:
    """The system with its orders and failures, shared by all tests of the folder."""
    system = System(postgres, rabbitmq, "browser", **SETTINGS)
    system.prepare()
    system.start()
    system.start("clock")
    floor = Floor(system)
    try:
        floor.fill()
        yield floor
    finally:
        floor.close()
        system.discard()


@pytest.fixture(scope="package")
def playwright() -> Iterator[Playwright]:
    # For this folder only: its event loop runs in this thread, where other tests start theirs.
    with sync_playwright() as running:
        yield running


@pytest.fixture(scope="package")
def browser(playwright: Playwright) -> Iterator[Browser]:
    launched = playwright.chromium.launch(
        executable_path=str(chromium()), args=ARGUMENTS, headless=True
    )
    yield launched
    launched.close()


@pytest.fixture(scope="package")
def sessions(floor: Floor, browser: Browser) -> dict[str, Any]:
    """The cookies of somebody signed in, by who it is."""
    return {
        who: _signed_in(floor, browser, key)
        for who, key in (("operator", floor.operator), ("reader", floor.reader))
    }


def _signed_in(floor: Floor, browser: Browser, key: str) -> Any:
    with browser.new_context() as context:
        page = context.new_page()
        page.goto(f"{floor.system.base_url}/dashboard/sign-in")
        page.get_by_label("API key").fill(key)
        page.get_by_role("button", name="Sign in").click()
        page.wait_for_url(f"{floor.system.base_url}/dashboard")
        return context.storage_state()


@pytest.fixture
def watch(floor: Floor) -> Iterator[Watch]:
    """What tabs complain about: at the end of every test there is nothing."""
    watching = Watch(floor.system.base_url)
    yield watching
    assert watching.faults() == []


@pytest.fixture
def new_tab(
    floor: Floor, browser: Browser, sessions: dict[str, Any], watch: Watch
) -> Iterator[NewTab]:
    """Open a tab as `operator`, `reader` or nobody (""); options: of Playwright's context."""
    contexts = []

    def new(who: str = "operator", *, script: str = "", **options: Any) -> Tab:
        context = browser.new_context(
            storage_state=sessions[who] if who else None,
            **{"viewport": DESKTOP, "color_scheme": "light", **options},
        )
        contexts.append(context)
        if script:
            context.add_init_script(script)
        watch.follow(context)
        return Tab(context, floor.system.base_url, watch)

    yield new
    for context in contexts:
        context.close()


@pytest.fixture
def tab(new_tab: NewTab) -> Tab:
    """A tab of somebody who may do everything."""
    return new_tab()


@pytest.fixture
def reader(new_tab: NewTab) -> Tab:
    """A tab of somebody who may only look."""
    return new_tab("reader")
