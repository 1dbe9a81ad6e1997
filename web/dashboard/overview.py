"""Overview: is it healthy, and if not, why, and where to look."""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final

import peewee

from actors.verdict import judge
from models.queries.facts import ORDERS
from web.dashboard import standing
from web.dashboard.charts import CHARTS, NAMES, ChartData, Charts, draw, window_of
from web.dashboard.live import Live, LivePage
from web.dashboard.page import Deps, Routes
from web.dashboard.snapshot import Snapshot

#: The page does not wait longer for its charts.
CHARTS_WAIT_S: Final = 2.0


def context(snapshot: Snapshot, deps: Deps) -> Mapping[str, object]:
    """What the live part shows."""
    facts = snapshot.facts.value
    actors = [] if facts is None else standing.actors(facts, deps.settings)
    return {
        "verdict": judge(snapshot.situation(), deps.settings),
        "facts": facts,
        "orders": next((one for one in actors if one.name == ORDERS), None),
        "actors": actors,
        "queues": standing.queues(snapshot),
    }


LIVE = Live("overview_live.html", context)


class Overview(LivePage):
    """GET shows how things stand, and charts of how they stood."""

    template = "overview.html"
    fields = ("window",)
    live = LIVE

    def __init__(self, deps: Deps, charts: Charts) -> None:
        super().__init__(deps)
        self._charts = charts

    async def more(self, req: Any, snapshot: Snapshot) -> Mapping[str, object]:
        window = window_of(req)
        drawn: dict[str, object] = dict.fromkeys(CHARTS)
        # Without the database the live part says so; a page without charts is better than none.
        with suppress(peewee.DatabaseError, peewee.InterfaceError, TimeoutError):
            if snapshot.facts.known:
                async with asyncio.timeout(CHARTS_WAIT_S):
                    charts = await self._charts.get(window)
                drawn = {name: draw(name, chart) for name, chart in charts.items()}
        return {"window": window, "windows": NAMES, "charts": drawn}


def routes(deps: Deps) -> Routes:
    charts = Charts(deps.lists)
    return {
        "/dashboard": Overview(deps, charts),
        "/dashboard/data/{name}.json": ChartData(deps, charts),
    }
