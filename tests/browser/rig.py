"""A browser's tab that is watched: whatever it complains about is a fault of the test."""

from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from playwright.sync_api import (
    BrowserContext,
    ConsoleMessage,
    Locator,
    Page,
    Request,
    Response,
    expect,
)

DESKTOP = {"width": 1280, "height": 800}
PHONE = {"width": 375, "height": 812}
#: What takes longer is a fault, on a slow and busy machine, too.
TIMEOUT_MS = 60_000
expect.set_options(timeout=TIMEOUT_MS)
#: Chromium writes a console error of its own for a violation; this names what broke the policy.
REPORT_VIOLATIONS = """
document.addEventListener("securitypolicyviolation", (event) => console.error(
    `CSP: ${event.violatedDirective} ${event.blockedURI} ${event.sourceFile}:${event.lineNumber}`));
"""


class Watch:
    """What the tabs of one test complained about."""

    def __init__(self, base_url: str) -> None:
        self._host = urlsplit(base_url).netloc
        self._excuses: list[Callable[[str], bool]] = []
        self._faults: list[str] = []

    def excuse(self, *parts: str) -> None:
        """A complaint with all of these parts is what this test is about."""
        self._excuses.append(lambda fault: all(part in fault for part in parts))

    def faults(self) -> list[str]:
        return [f for f in self._faults if not any(excused(f) for excused in self._excuses)]

    def follow(self, context: BrowserContext) -> None:
        """Watch every tab of a context from its first request on."""
        context.add_init_script(REPORT_VIOLATIONS)
        context.on("console", self._console)
        context.on("weberror", lambda error: self._note(f"page error: {error.error}"))
        context.on("request", self._request)
        context.on("requestfailed", self._failed)
        context.on("response", self._response)

    def _note(self, fault: str) -> None:
        self._faults.append(fault)

    def _console(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            address = message.location.get("url", "")
            self._note(f"console {message.type}: {message.text} ({address})")

    def _request(self, request: Request) -> None:
        parts = urlsplit(request.url)
        if parts.scheme not in ("data", "blob") and parts.netloc != self._host:
            self._note(f"request elsewhere: {request.url}")

    def _failed(self, request: Request) -> None:
        # A page that is left takes its stream and its polls with it.
        if request.failure != "net::ERR_ABORTED":
            self._note(f"request failed: {request.url} {request.failure}")

    def _response(self, response: Response) -> None:
        if response.status >= 400:
            self._note(f"answer {response.status}: {response.request.method} {response.url}")


class Tab:
    """A tab on the dashboard. `page` is Playwright's own."""

    def __init__(self, context: BrowserContext, base_url: str, watch: Watch) -> None:
        self.context = context
        self.watch = watch
        self.base_url = base_url
        self.page: Page = context.new_page()
        self.page.set_default_timeout(TIMEOUT_MS)

    def open(self, path: str) -> Page:
        """Go to an address of the dashboard; it has to be there."""
        answer = self.page.goto(self.base_url + path)
        assert answer is not None
        assert answer.ok, f"{path}: {answer.status}"
        return self.page

    def text(self) -> str:
        """The words of the page's content."""
        return self.page.locator("main").inner_text()

    def figure(self, label: str) -> Locator:
        """The value of the figure that has exactly this label."""
        named = self.page.locator(f".figure-label:text-is('{label}')")
        return self.page.locator("main .figure").filter(has=named).locator(".figure-value")

    def address(self) -> str:
        """Path and query of where the tab is."""
        parts = urlsplit(self.page.url)
        return parts.path + (f"?{parts.query}" if parts.query else "")

    def run(self, script: str, argument: Any = None) -> Any:
        """What a script of the test's own finds on the page."""
        return self.page.evaluate(script, argument)

    def overflow(self) -> list[str]:
        """What makes the page as a whole wider than its window; nothing where it fits."""
        found: list[str] = self.run(OVERFLOW)
        return found


#: Elements that stick out of the window, without those that scroll in a box of their own.
OVERFLOW = """() => {
    const root = document.documentElement;
    if (root.scrollWidth <= root.clientWidth) return [];
    const scrolls = (element) => getComputedStyle(element).overflowX !== "visible";
    const boxed = (element) => {
        for (let at = element.parentElement; at && at !== document.body; at = at.parentElement)
            if (scrolls(at)) return true;
        return false;
    };
    return [...document.body.querySelectorAll("*")]
        .filter((one) => one.getBoundingClientRect().right > root.clientWidth + 1 && !boxed(one))
        .slice(0, 8).map((one) => one.outerHTML.slice(0, 140));
}"""
