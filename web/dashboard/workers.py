"""Workers: the processes that decide, what each is at, and those that fell silent."""

from collections.abc import Mapping

from models.queries.facts import ALIVE_S
from web.dashboard.live import Live, LivePage
from web.dashboard.page import Deps, Routes
from web.dashboard.snapshot import Snapshot


def context(snapshot: Snapshot, _deps: Deps) -> Mapping[str, object]:
    """What the live part shows."""
    facts = snapshot.facts.value
    alive = [] if facts is None else facts.alive()
    return {
        "facts": facts,
        "alive": alive,
        "gone": [] if facts is None else facts.gone(),
        "versions": sorted({worker.version for worker in alive}),
        "threads": sum(worker.threads for worker in alive),
        "busy": sum(worker.threads_busy for worker in alive),
        "memory": sum(worker.memory_bytes for worker in alive),
        "alive_s": int(ALIVE_S),
    }


LIVE = Live("workers_live.html", context)


class Workers(LivePage):
    """GET shows the workers."""

    template = "workers.html"
    live = LIVE


def routes(deps: Deps) -> Routes:
    return {"/dashboard/workers": Workers(deps)}
