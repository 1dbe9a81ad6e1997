"""What pages show of a snapshot: what is unknown as unknown, and times by the database's clock."""

import re
from collections.abc import Callable, Mapping
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from actors.queues import QueueState
from config import settings
from models.queries.facts import Seldom
from models.queries.reconciliation import Difference, Found, Reconciled
from tests.unit.test_dashboard_standing import NOW, a_snapshot, a_worker, sampled
from web.dashboard import actors, delayed, overview, standing, workers
from web.dashboard.snapshot import Counts, Snapshot
from web.dashboard.static import StaticFiles
from web.dashboard.templating import Templates


def shown(template: str, snapshot: Snapshot, context: Callable[..., Mapping[str, object]]) -> str:
    """The words of a live part."""
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", markup(template, snapshot, context)))


def markup(template: str, snapshot: Snapshot, context: Callable[..., Mapping[str, object]]) -> str:
    """The HTML of a live part."""
    deps: Any = SimpleNamespace(settings=settings())
    return Templates(settings(), StaticFiles()).fragment(
        template, may_operate=True, snapshot=snapshot, **context(snapshot, deps)
    )


@pytest.mark.parametrize("away", ["database", "broker"])
def test_what_is_unknown_is_never_shown_as_nothing(away: str) -> None:
    snapshot = a_snapshot(unknown=away)

    later = shown("delayed_live.html", snapshot, delayed.context)
    queues = shown("actors_live.html", snapshot, actors.context)
    front = shown("overview_live.html", snapshot, overview.context)

    assert "unknown" in later
    assert "nothing is due" not in later
    assert "Nothing is delayed" not in later
    # Ready and consumers are RabbitMQ's to say, the rest is told by the workers' reports, too.
    if away == "database":
        assert "holdfast.orders place_orders consuming 0 ? ? ? 1" in queues
    assert "none is waiting" not in front
    assert snapshot.counts() == (Counts() if away == "database" else Counts(0, 0, NOW))


def test_the_page_of_a_limit_that_is_unknown_says_so_and_offers_both_ways() -> None:
    req = SimpleNamespace(context=SimpleNamespace(nonce="n"), path="/")

    page = Templates(settings(), StaticFiles()).render(
        req, "actor_limit.html", actor="put_products", found=None, amount="", unit="s", error="",
        others=["adjust_stock"],
    )  # fmt: skip

    assert "What is in force is unknown" in page
    assert "Back to the settings" in page
    assert "adjust_stock waits behind it, in the same queue" in page


@pytest.mark.parametrize(
    ("queue", "said"),
    [
        ("holdfast.skus", "so put_products, adjust_stock and place_behind stop together"),
        ("holdfast.orders", "Workers take nothing more from it;"),
    ],
)
def test_the_page_of_a_pause_says_what_stops(queue: str, said: str) -> None:
    req = SimpleNamespace(context=SimpleNamespace(nonce="n"), path="/")

    page = Templates(settings(), StaticFiles()).render(
        req, "queue_pause.html", queue=queue, actors=actors.PAUSABLE[queue], reason="", error="",
        reason_max=300,
    )  # fmt: skip

    assert said in page


def test_only_what_may_be_limited_offers_it() -> None:
    facts = a_snapshot().facts.value
    assert facts is not None

    fixed = [one.name for one in standing.actors(facts, settings()) if not one.limitable]

    assert fixed == ["operate"]


@pytest.mark.parametrize(
    ("known", "badge"),
    [
        (Counts(0, 0, NOW), ("count count-failures", " hidden", "0")),
        (Counts(12, 0, NOW), ("count count-failures", "", "12")),
        (Counts(), ("count count-failures", ' title="unknown"', "?")),
        (Counts(0, 0, NOW, old=True),
         ("count count-failures old", ' title="as of 2026-11-23 17:00:00.000 UTC"', "0")),
        (Counts(12, 0, NOW, old=True),
         ("count count-failures old", ' title="as of 2026-11-23 17:00:00.000 UTC"', "12")),
    ],
)  # fmt: skip
def test_the_badge_of_failures_is_hidden_for_none_only_and_marked_when_old(
    known: Counts, badge: tuple[str, str, str]
) -> None:
    session = SimpleNamespace(may_operate=False, csrf="", key=SimpleNamespace(name="Ada"))
    context = SimpleNamespace(nonce="n", session=session, nav=known)

    page = Templates(settings(), StaticFiles()).render(
        SimpleNamespace(context=context, path="/"), "base.html"
    )

    badges = re.findall(r'<span class="(count count-failures[^"]*)"([^>]*)>([^<]*)<', page)
    assert badges == [badge, badge]


def test_counts_that_cannot_be_asked_stay_as_they_were_known() -> None:
    known = Counts(12, 1, NOW)
    away = a_snapshot(unknown="database")._replace(counted=known)

    html = markup("live.html", away, lambda *_: {"live_template": "workers_live.html",
                                                 **workers.context(away, None)})  # type: ignore[arg-type]  # fmt: skip

    assert away.counts() == Counts(12, 1, NOW, old=True)
    assert 'data-failures="12"' in html
    assert 'data-old="as of 2026-11-23 17:00:00.000 UTC"' in html
    # As long as it takes
    assert away._replace(counted=away.counts()).counts() == away.counts()


def test_times_on_a_live_page_count_from_its_snapshot_and_scripts_are_told_its_clock() -> None:
    # Whatever this host's clock says: the database's stamped both.
    snapshot = a_snapshot(workers=[a_worker(seen_s_ago=3, started_s_ago=90)])

    html = Templates(settings(), StaticFiles()).fragment(
        "live.html", may_operate=False, snapshot=snapshot, live_template="workers_live.html",
        **workers.context(snapshot, None),  # type: ignore[arg-type]
    )  # fmt: skip

    assert 'data-now="2026-11-23T17:00:00.000Z"' in html
    assert ">3 s ago<" in html
    assert ">1 min ago<" in html


def test_messages_that_are_delayed_are_not_said_to_be_none() -> None:
    retried = {"holdfast.orders": QueueState(0, 11, 0, 1, None, unacked=1)}

    assert "12 delayed or with workers" in shown(
        "overview_live.html", a_snapshot(retried), overview.context
    )
    assert "none is waiting" in shown("overview_live.html", a_snapshot(), overview.context)


def test_on_a_phone_the_overview_s_queues_are_cards_that_name_their_figures() -> None:
    snapshot = a_snapshot()
    deps: Any = SimpleNamespace(settings=settings())

    html = Templates(settings(), StaticFiles()).fragment(
        "overview_live.html", may_operate=False, snapshot=snapshot,
        **overview.context(snapshot, deps),
    )  # fmt: skip

    assert '<table class="cards dense">' in html
    labels = re.findall(r'<td[^>]* data-label="([^"]+)"', html)
    assert labels[:5] == ["Ready", "Delayed", "With workers", "Oldest", "State"]


def test_what_differs_in_the_books_is_explained_line_by_line_with_where_to_look() -> None:
    said = [
        Difference("SKU MUG at main: stock says 5", "sku:MUG"),
        Difference("Order <1>: it is lost", "order:1"),
        Difference("Command 2: pending", "command:2"),
        *(Difference(f"line {n}", f"sku:S{n}") for n in range(5)),
    ]
    differing = Found("stock", "stock and its movements", "", 8, 9, said)
    fine = Found("moves", "moves and their events", "", 0, 9, [])
    books = Reconciled(NOW, NOW, 9, [differing, fine], NOW - timedelta(hours=3))
    snapshot = a_snapshot(seldom=Seldom(0, books))

    words = shown("overview_live.html", snapshot, overview.context)
    html = markup("overview_live.html", snapshot, overview.context)

    assert "Reconciliation found 8 differences between stock and its movements" in words
    assert "SKU MUG at main: stock says 5" in words
    assert "Order &lt;1&gt;: it is lost" in words
    assert "Last agreed 3 h ago" in words
    assert "moves and their events" not in words
    assert "line 1" in words
    assert "line 2" not in words
    for address in ("inventory/MUG", "orders/1", "failures?state=retried&amp;q=command%3A2"):
        assert f'href="/dashboard/{address}"' in html


def test_books_that_agree_are_said_to_agree() -> None:
    words = shown("overview_live.html", a_snapshot(seldom=sampled(1)), overview.context)

    assert "The books agree" in words
    assert "differ" not in words
