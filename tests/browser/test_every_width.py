"""Every page at every width, light and dark, while much is wrong: all of it is in reach."""

from collections.abc import Iterator
from contextlib import contextmanager

import pika
import pytest

from tests.browser import widths
from tests.browser.conftest import NewTab
from tests.browser.floor import CATALOGUE, Floor
from tests.browser.rig import Tab
from tests.browser.sights import PAGES
from tests.conftest import eventually
from tests.e2e.shop import WAIT, an_order
from tests.e2e.test_dashboard_live import outage
from tests.e2e.test_dashboard_verdict import publish

LIMITED = "/dashboard/actors/put_products/limit"
PAUSED = "/dashboard/queues/holdfast.transitions"
REASON = "The carrier's interface is down until about three o'clock, says the person on call"
#: Pages beside those of `sights`, as they are once something is wrong, or about to be done.
MORE = (
    "/dashboard/failures/retry",
    "/dashboard/failures/discard",
    "/dashboard/failures?state=retried&view=list",
    "/dashboard/queues/holdfast.orders/pause",
    f"{PAUSED}/resume",
    LIMITED,
    "/dashboard/inventory?low=yes",
    "/dashboard/search?q=c-1",
    "/dashboard/search?q=MUG",
)
#: What of the pages an outage changes.
LIVE = ("/dashboard", "/dashboard/actors", "/dashboard/workers", "/dashboard/delayed")


#: So many rejections are a spike beside a minute of the load.
REJECTED = 400
#: What the overview says, then, of a limit, a spike, a pause and dead letters.
SAID = (
    "held back by its rate limit of 1/h",
    "of the orders of the last minute were rejected",
    "holdfast.transitions is paused by",
    "1 dead letter has no record, in holdfast.skus.XQ",
)


@pytest.fixture(scope="module")
def trouble(floor: Floor) -> Iterator[None]:
    """Dead letters, a spike of rejections, a paused queue and a limit that holds messages."""
    floor.wait_for_failures(1)
    with floor.system.client(floor.operator) as operator, a_dead_letter(floor):

        def act(path: str, **form: str) -> None:
            answer = operator.post(path, data=form)
            assert answer.status_code == 303, answer.text

        act(f"{PAUSED}/pause", reason=REASON)
        act(LIMITED, amount="1", unit="h", do="set")
        rejected = [an_order(("KNF-01", 1_000), customer_id="c-spike") for _ in range(REJECTED)]
        answer = floor.client.post("/v1/order-batches", json={"orders": rejected})
        assert answer.status_code == 202
        sku, name, price, _ = CATALOGUE[0]

        def unsaid() -> list[str]:
            # The first takes the hour's slot, and more so once the worker knows of the limit.
            floor.shop.put_product(sku, name=name, unit_price=price, headers={})
            page = operator.get("/dashboard").text
            return [words for words in SAID if words not in page]

        eventually(lambda: not unsaid(), what="the overview says all that is wrong")
        yield
        act(f"{PAUSED}/resume")
        act(LIMITED, do="reset")


@contextmanager
def a_dead_letter(floor: Floor) -> Iterator[None]:
    """A message that no record explains: the clock would make one."""
    queue = "holdfast.skus.XQ"
    floor.system.kill("clock")
    publish(floor.system, queue, b"{}")
    try:
        yield
    finally:
        url = floor.system.environment["RABBITMQ_URL"]
        with pika.BlockingConnection(pika.URLParameters(url)) as connection:
            connection.channel().queue_purge(queue)
        floor.system.start("clock")


def test_nothing_is_cut_off_while_much_is_wrong(
    floor: Floor, new_tab: NewTab, trouble: None
) -> None:
    tab, faults = new_tab(), []
    paths = [page.path(floor) for page in PAGES.values()]
    paths += [f"/dashboard/orders/{id_}" for id_ in (floor.rejected, floor.cursed[0])]
    for path in (*paths, *MORE, "/docs"):
        tab.open(path)
        faults += widths.faults(tab, path)

    assert faults == []


def test_nothing_of_a_dialog_or_of_the_menu_is_cut_off(
    floor: Floor, new_tab: NewTab, trouble: None
) -> None:
    tab, faults = new_tab(), []
    for path, button in (
        (f"/dashboard/orders/{floor.confirmed}", "Cancel order"),
        ("/dashboard/actors", "Pause holdfast.orders"),
        ("/dashboard/actors", "Change the rate limit of put_products"),
    ):
        tab.page.set_viewport_size({"width": widths.WIDTHS[-1], "height": widths.HEIGHT})
        tab.open(path)
        tab.page.locator(f":text-is('{button}'), [aria-label='{button}']").first.click()
        tab.page.locator("dialog[open]").wait_for()
        faults += widths.faults(tab, button)
    tab.page.keyboard.press("Escape")
    tab.page.keyboard.press("?")
    faults += widths.faults(tab, "the keys")
    tab.page.keyboard.press("Escape")
    tab.run("document.querySelector('details.menu').open = true")
    faults += widths.faults(tab, "the menu")

    assert faults == []


def test_nothing_is_cut_off_in_a_total_outage(floor: Floor, new_tab: NewTab) -> None:
    tab, faults = new_tab(), []
    tab.watch.excuse("503")
    with total_outage(floor, tab):
        for path in LIVE:
            tab.open(path)
            faults += widths.faults(tab, f"{path} in an outage")
        tab.page.goto(f"{tab.base_url}/dashboard/orders")
        faults += widths.faults(tab, "what can't be shown")

    assert faults == []


@contextmanager
def total_outage(floor: Floor, tab: Tab) -> Iterator[None]:
    """The database lets nobody in, and the pages know; afterwards orders are decided as before."""
    with outage(floor.system):

        def known() -> bool:
            tab.open("/dashboard")
            return "has not answered" in tab.text()

        eventually(known)
        yield

    def decided() -> bool:
        body = an_order(("COF-01", 1), customer_id="c-after")
        return floor.client.post("/v1/orders", json=body, headers=WAIT).status_code == 201

    eventually(decided, within_s=60)
