"""What the overview and `holdfast top` say when something goes wrong for real."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pika
import pytest

from tests.conftest import System, eventually
from tests.e2e.desk import Desk
from tests.e2e.operators import Look
from tests.e2e.shop import NOW, an_order, fresh

#: A bug's stand-in: no order can be written.
BREAK = """
CREATE FUNCTION broken() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN RAISE EXCEPTION 'no price list' USING ERRCODE = 'no_data_found'; END $$;
CREATE TRIGGER broken BEFORE INSERT ON orders FOR EACH ROW EXECUTE FUNCTION broken();
"""
MEND = "DROP FUNCTION IF EXISTS broken CASCADE"


@pytest.fixture
def from_nothing(desk: Desk) -> None:
    """What other tests decided is long ago, and nothing of it is still to be reported."""

    def wait_for_report() -> None:
        before = desk.system.sql(seen_at)
        eventually(lambda: desk.system.sql(seen_at) not in ([], before), what="a worker reports")

    seen_at = "SELECT seen_at FROM workers"
    # Workers keep what they did until they report: of two reports, the later one began after this.
    wait_for_report()
    wait_for_report()
    desk.system.sql("DELETE FROM actor_stats")


@pytest.fixture(autouse=True)
def mended(desk: Desk) -> Iterator[None]:
    """What these tests break is whole again."""
    yield
    # One by one: with the locks of all of them, workers would get in the way.
    for statement in (MEND, "DELETE FROM actor_limits", "DELETE FROM dead_letters"):
        desk.system.sql(statement)


def weight(look: Look) -> str:
    found = re.search(r'class="verdict (\w+)"', look.answer.text)
    assert found
    return found[1]


def top(system: System) -> dict[str, Any]:
    """The verdict as a terminal has it."""
    verdict: dict[str, Any] = json.loads(system.run("top", "--json"))["verdict"]
    return verdict


def consumers(desk: Desk, queue: str) -> int:
    """How many workers take from a queue: its row's last figure."""
    rows = [row.split() for row in desk.reader.look("/dashboard/actors").rows]
    (figures,) = [row for row in rows if row[0] == queue]
    return int(figures[-1])


def publish(system: System, queue: str, body: bytes) -> None:
    with pika.BlockingConnection(pika.URLParameters(system.environment["RABBITMQ_URL"])) as opened:
        channel = opened.channel()
        channel.confirm_delivery()
        channel.basic_publish("", queue, body, mandatory=True)


def test_a_spike_of_rejections_is_amber_with_what_was_short(desk: Desk, from_nothing: None) -> None:
    scarce, plenty = desk.shop.product(1, sku=fresh("SCARCE")), desk.shop.product(500)
    orders = [an_order((scarce, 5)) for _ in range(40)] + [an_order((plenty, 1))] * 60
    answer = desk.shop.client.post("/v1/order-batches", json={"orders": orders})
    assert answer.status_code == 202, answer.text

    look = desk.reader.until(
        "/dashboard", "% of the orders of the last minute were rejected", f"most for {scarce}"
    )

    # A report may tell of some of them only.
    share = re.search(r"(\d+) % of the orders of the last minute", look.answer.text)
    assert share
    assert 30 <= int(share[1]) <= 100
    assert weight(look) == "warn"
    assert f"/dashboard/inventory/{scarce}" in look.links
    told = top(desk.system)
    assert told["weight"] == "warn"
    assert any("of the last minute were rejected" in each["text"] for each in told["reasons"])


def test_a_dead_letter_that_no_record_explains_is_red_everywhere(desk: Desk) -> None:
    # Given a message that RabbitMQ or somebody put into a dead-letter queue
    publish(desk.system, "holdfast.skus.XQ", b"{}")

    # Then it is in sight, with what to do about it
    said = "1 dead letter has no record, in holdfast.skus.XQ"
    look = desk.operator.until("/dashboard", said)
    assert weight(look) == "bad"
    assert "/dashboard/runbooks/HoldfastDeadLetters" in look.links
    assert desk.reader.look("/dashboard/runbooks/HoldfastDeadLetters").says("set_parameter shovel")
    assert desk.operator.look("/dashboard/actors").says("1 dead letter without a record")
    assert top(desk.system)["weight"] == "bad"
    listed = desk.system.run("queues", "list")
    assert re.search(r"^holdfast\.skus .* 1 +-$", listed, re.MULTILINE)
    assert "HoldfastDeadLetters" in listed
    with pika.BlockingConnection(
        pika.URLParameters(desk.system.environment["RABBITMQ_URL"])
    ) as opened:
        opened.channel().queue_purge("holdfast.skus.XQ")


def test_all_runbooks_are_listed(desk: Desk) -> None:
    links = desk.reader.look("/dashboard/runbooks").links

    assert "/dashboard/runbooks/HoldfastDeadLetters" in links
    assert "/dashboard/runbooks/README" in links


@pytest.mark.parametrize("name", ["NoSuchRunbook", "..%2F..%2FREADME", "%00", "x" * 70])
def test_only_a_runbook_is_shown_as_one(desk: Desk, name: str) -> None:
    assert desk.reader.look(f"/dashboard/runbooks/{name}").status == 404


def test_a_limit_that_was_set_is_amber(desk: Desk, from_nothing: None) -> None:
    sku = desk.shop.product(100)
    desk.system.sql("INSERT INTO actor_limits VALUES ('place_orders', '1/h', 'Olga', now())")

    def looked() -> Look | None:
        desk.shop.place((sku, 1), headers=NOW)
        look = desk.reader.look("/dashboard")
        return look if look.says("held back by its rate limit of 1/h") else None

    look = eventually(looked, what="the page says that a limit holds")
    assert weight(look) == "warn"
    assert not look.says("being decided")


def paused_count(look: Look) -> str:
    """What the badge of paused queues says; empty where it is hidden."""
    (hidden, count), _ = re.findall(r'count-paused"( hidden)?[^>]*>([^<]*)<', look.answer.text)
    return "" if hidden else str(count)


def test_the_page_after_an_action_shows_the_count_that_it_changed(desk: Desk) -> None:
    address = "/dashboard/queues/holdfast.skus"
    form = desk.operator.look(f"{address}/pause")
    assert paused_count(desk.operator.look("/dashboard/actors")) == ""

    def until(look: Look, count: str) -> None:
        """The page that says what came of an action has the count, once that is known."""

        def shown() -> bool:
            page = desk.operator.look(str(look.url))
            return page.says("Done.") and paused_count(page) == count

        eventually(shown, what=f"{count or 'no'} paused queue")

    until(desk.operator.submit(form, f"{address}/pause", reason="a test"), "1")
    form = desk.operator.look(f"{address}/resume")
    until(desk.operator.submit(form, f"{address}/resume"), "")


def test_a_move_that_waits_for_its_order_says_so_and_leads_there(desk: Desk) -> None:
    sku = desk.shop.product(5)
    pause = "INSERT INTO paused_queues VALUES ('holdfast.orders', 'a test', 'Olga', now())"
    desk.system.sql(pause)
    try:
        eventually(lambda: consumers(desk, "holdfast.orders") == 0, what="no worker takes orders")
        order_id = desk.shop.place((sku, 1), headers=NOW).json()["id"]
        moved = desk.shop.move(order_id, "cancelled", headers=NOW)

        look = desk.reader.until("/dashboard/delayed", moved.json()["id"])
    finally:
        desk.system.sql("DELETE FROM paused_queues")

    assert f"/dashboard/orders/{order_id}" in look.links
    assert "operator" not in " ".join(look.rows)


# The last one: what failed is tried again for a while.
def test_where_every_attempt_fails_the_page_is_red_and_says_so(
    desk: Desk, from_nothing: None
) -> None:
    # Given a shop whose orders can't be written, while more come in
    sku = desk.shop.product(100)
    desk.system.sql(BREAK)

    def looked() -> Look | None:
        desk.shop.place((sku, 1), headers=NOW)
        look = desk.reader.look("/dashboard")
        return look if look.says("is being decided:", "every attempt fails") else None

    # Then that is the headline, on the page and in a terminal
    look = eventually(looked, what="the page says that nothing is decided")
    assert weight(look) == "bad"
    told = top(desk.system)
    assert told["weight"] == "bad"
    title = r"Nothing (of place_orders )?is being decided: [\d,]+ messages? waits? and every.*fails"
    assert re.fullmatch(rf"{title}\.", told["title"])
