"""A bad day: a hundred thousand failures are open, and an operator puts all of them back."""

import re
import time
from collections.abc import Callable, Iterator
from functools import partial
from html.parser import HTMLParser

import httpx
import pytest

from deploy.local.servers import Postgres, RabbitMQ
from tests.conftest import API_KEY, System, eventually
from tests.e2e.shop import Shop, assert_stock_is_true

FAILURES = 100_000
SKUS = 20
ACTION = "/dashboard/failures/retry"
PAGES = (
    "/dashboard",
    "/dashboard/actors",
    "/dashboard/failures",
    "/dashboard/failures?view=list",
    "/dashboard/failures?actor=place_orders&error_class=KeyError",
    "/dashboard/failures?customer=c-17",
    "/dashboard/failures?q=price+list",
    "/dashboard/failures/1",
    ACTION,
    "/dashboard/failures/discard",
    "/dashboard/orders",
    "/dashboard/orders?status=failed",
    "/dashboard/inventory",
    "/dashboard/inventory/BULK-7",
    "/dashboard/workers",
    "/dashboard/delayed",
    "/dashboard/audit",
)
#: A page may take as long as this many such looks at all failures.
LOOKS = 6
LOOK = "SELECT error_class, error, count(*) FROM dead_letters GROUP BY error_class, error"
#: Some 50 s on two good cores that have nothing else to do.
RETRY_S_MAX = 400

pytestmark = pytest.mark.timeout(900)

#: Orders that were accepted and never decided: a message each, as the worker records it.
SEED_LETTERS = f"""
INSERT INTO dead_letters (message_id, queue, actor, attempts, error_class, error, traceback, body,
                          command_ids, first_failed_at, failed_at, trace_id, subjects)
SELECT message_id, 'holdfast.orders', 'place_orders', 5, error_class,
       'line ' || mod(n, 7) || ' of the price list can not be read',
       'Traceback (most recent call last):' || repeat(E'\\n  File "prices.py", line 17, in row', 9),
       convert_to(json_build_object(
           'queue_name', 'holdfast.orders', 'actor_name', 'place_orders',
           'args', json_build_array(),
           'kwargs', json_build_object('commands', json_build_array(json_build_object(
               'id', id, 'at', at, 'customer_id', 'c-' || mod(n, 500),
               'lines', json_build_array(json_build_object('sku', sku, 'quantity', 1)),
               'metadata', json_build_object()))),
           'options', json_build_object('retries', 5), 'message_id', message_id,
           'message_timestamp', 1790000000000 + n)::text, 'UTF8'),
       ARRAY[id], at + interval '1 second', at + interval '15 seconds', replace(id::text, '-', ''),
       ARRAY['order:' || id, 'sku:' || sku, 'customer:c-' || mod(n, 500)]
FROM (SELECT n, md5('letter ' || n)::uuid AS id, md5('message ' || n)::uuid::text AS message_id,
             'BULK-' || mod(n, {SKUS}) AS sku,
             now() - interval '20 hours' + n * interval '0.7 seconds' AS at,
             CASE mod(n, 5) WHEN 0 THEN 'KeyError' WHEN 1 THEN 'ValueError' ELSE 'TypeError' END
                 AS error_class
      FROM generate_series(1, {FAILURES}) AS n) AS given
"""
SEED_COMMANDS = """
INSERT INTO commands (id, kind, status, target, placed_at, decided_at, problem)
SELECT command_ids[1], 'place_order', 'failed', NULL, first_failed_at, failed_at,
       '{"type": "/problems/processing-failed", "title": "Failed", "detail": "A bug."}'
FROM dead_letters
"""
#: What is wrong after all were put back: nothing was lost, nothing was decided twice.
OPEN_LEFT = "SELECT count(*) FROM dead_letters WHERE state <> 'retried'"
SETTLED_BY = "SELECT DISTINCT settled_by FROM dead_letters"
#: Operations that claim more or fewer than the failures that name them.
ACCOUNTS = """
SELECT o.command_id, o.done, count(d.id) FROM operations AS o
LEFT JOIN dead_letters AS d ON d.settled_by = o.command_id
GROUP BY o.command_id, o.done HAVING o.done <> count(d.id)
"""
UNDECIDED = "SELECT count(*) FROM commands WHERE kind = 'place_order' AND status <> 'applied'"
DECIDED_TWICE = """
SELECT count(*) FROM (SELECT order_id FROM order_events GROUP BY order_id HAVING count(*) > 1) AS t
"""
TAKEN_TWICE = """
SELECT count(*) FROM (SELECT order_id, sku FROM stock_movements WHERE order_id IS NOT NULL
                      GROUP BY order_id, sku HAVING count(*) > 1) AS t
"""


@pytest.fixture(scope="module")
def busy(postgres: Postgres, rabbitmq: RabbitMQ) -> Iterator[System]:
    """A system of its own with all those failures."""
    system = System(postgres, rabbitmq, "many-failures")
    system.prepare()
    system.start()
    try:
        with system.client() as client:
            shop = Shop(client)
            for number in range(SKUS):
                shop.product(FAILURES, sku=f"BULK-{number}")
        system.sql(SEED_LETTERS)
        system.sql(SEED_COMMANDS)
        system.sql("ANALYZE")
        yield system
    finally:
        system.discard()


@pytest.fixture(scope="module")
def operator(busy: System) -> Iterator[httpx.Client]:
    """A browser's session: a cookie, and where its requests come from."""
    headers = {"Sec-Fetch-Site": "same-origin", "Origin": busy.base_url}
    with httpx.Client(base_url=busy.base_url, headers=headers, timeout=30) as client:
        answer = client.post("/dashboard/sign-in", data={"api_key": API_KEY})
        assert answer.status_code == 303, answer.text
        yield client


class Fields(HTMLParser):
    """The inputs of the form with an address."""

    def __init__(self, action: str) -> None:
        super().__init__()
        self.found: dict[str, str] = {}
        self._action = action
        self._inside = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag == "form":
            self._inside = given.get("action") == self._action and given.get("method") == "post"
        elif tag == "input" and self._inside:
            self.found[given.get("name") or ""] = given.get("value") or ""


def fields(client: httpx.Client, path: str, action: str) -> dict[str, str]:
    """What a form on a page sends when its button is pressed."""
    answer = client.get(path)
    assert answer.status_code == 200, answer.text
    parser = Fields(action)
    parser.feed(answer.text)
    assert parser.found, f"no form for {action} on {path}"
    return parser.found


def done(system: System) -> int:
    """Failures put back so far, over all that operators asked for."""
    return int(system.sql("SELECT coalesce(sum(done), 0) FROM operations")[0][0])


def best_s(action: Callable[[], object]) -> float:
    """Seconds that something takes, the best of five: what else the machine does is left out."""
    took_s = []
    for _ in range(5):
        begun = time.perf_counter()
        action()
        took_s.append(time.perf_counter() - begun)
    return min(took_s)


def test_every_page_opens_soon(busy: System, operator: httpx.Client) -> None:
    def open_page(path: str) -> None:
        answer = operator.get(path)
        assert answer.status_code == 200, f"{path}: {answer.text[:500]}"

    look_s = best_s(lambda: busy.sql(LOOK))
    took_s = {path: best_s(partial(open_page, path)) for path in PAGES}

    print(look_s, took_s)
    assert {path: s for path, s in took_s.items() if s > LOOKS * look_s} == {}


def test_all_are_put_back_with_progress_and_none_twice(
    busy: System, operator: httpx.Client
) -> None:
    # Given the question, which says how many there are
    form = fields(operator, ACTION, ACTION)
    assert f"{FAILURES:,}" in operator.get(ACTION).text
    again = fields(operator, ACTION, ACTION)

    # When it is answered with yes, twice: the same form, and the form of another tab
    answer = operator.post(ACTION, data=form)
    assert answer.status_code == 303, answer.text
    progress = answer.headers["location"]
    assert operator.post(ACTION, data=form).headers["location"] == progress
    assert operator.post(ACTION, data=again).status_code == 303

    # Then the page shows how far it is, more each time, to the end
    seen = follow(operator, progress)
    assert len(set(seen)) > 2
    assert seen == sorted(seen)
    eventually(lambda: done(busy) == FAILURES, within_s=RETRY_S_MAX, what="all are put back")
    # and every order is decided, once, and took its stock once
    eventually(lambda: busy.sql(UNDECIDED) == [(0,)], within_s=RETRY_S_MAX, what="all are decided")
    assert busy.sql(OPEN_LEFT) == [(0,)]
    assert busy.sql("SELECT count(*) FROM orders WHERE status = 'confirmed'") == [(FAILURES,)]
    assert busy.sql(DECIDED_TWICE) == [(0,)]
    assert busy.sql(TAKEN_TWICE) == [(0,)]
    assert_stock_is_true(busy)
    # and each failure names the one command that put it back
    command_id = progress.partition("?")[0].rpartition("/")[2]
    assert command_id in {str(id_) for (id_,) in busy.sql(SETTLED_BY)}
    assert busy.sql(ACCOUNTS) == []


def follow(client: httpx.Client, progress: str) -> list[int]:
    """How far the page of an operation says it is, until it is at its end."""
    seen: list[int] = []

    def finished() -> bool:
        text = client.get(progress).text
        value = re.search(r"<progress[^>]*\bvalue=\"(\d+)\"", text)
        seen.append(int(value[1]) if value else seen[-1] if seen else 0)
        return "failures retried" in text

    eventually(finished, within_s=RETRY_S_MAX, what="the operation is at its end")
    return seen
