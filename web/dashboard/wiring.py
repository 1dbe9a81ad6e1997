"""Puts the pages together: each module has `routes(deps)`, and this is the one loop over them."""

from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from actors.queues import QueueInspector
from config import Settings
from models.queries.api_keys import Key
from web.answers import Reads
from web.auth import Keyring
from web.dashboard import (
    actors,
    audit,
    audit_export,
    delayed,
    docs,
    failures,
    inventory,
    operations,
    order_export,
    orders,
    overview,
    runbooks,
    search,
    workers,
)
from web.dashboard.access import Access
from web.dashboard.live import Live, LiveFragment, Viewers
from web.dashboard.page import Deps, Routes
from web.dashboard.sessions import Sessions
from web.dashboard.sign_in import Root, SignIn, SignInLimit, SignOut
from web.dashboard.snapshot import Snapshots
from web.dashboard.static import Static, StaticFiles
from web.dashboard.templating import Templates
from web.dashboard.transport import Clients
from web.decisions import Decisions
from web.ids import IdMint
from web.intake import Intake
from web.reading import Lists, Reader

#: One entry per page module.
PAGES: Final[tuple[Callable[[Deps], Routes], ...]] = (
    overview.routes,
    actors.routes,
    workers.routes,
    delayed.routes,
    failures.routes,
    orders.routes,
    order_export.routes,
    inventory.routes,
    audit.routes,
    audit_export.routes,
    operations.routes,
    search.routes,
    runbooks.routes,
    docs.routes,
)
#: The pages that stay current by themselves.
LIVE: Final[Mapping[str, Live]] = {
    "overview": overview.LIVE,
    "actors": actors.LIVE,
    "workers": workers.LIVE,
    "delayed": delayed.LIVE,
}


class Dashboard(NamedTuple):
    """middleware and routes: for the app; drain: end all streams; close: let go of RabbitMQ."""

    middleware: Access
    routes: Mapping[str, object]
    drain: Callable[[], None]
    close: Callable[[], None]


def dashboard(
    given: Settings, *, keyring: Keyring, charge: Callable[[Key, Any], Any], reader: Reader,
    lists: Lists, found: Reads, intake: Intake, decisions: Decisions, mint: IdMint,
) -> Dashboard:  # fmt: skip
    """The dashboard of one web process."""
    files = StaticFiles()
    # How things stand is told by the primary's clock, as are the times that it is held against.
    snapshots = Snapshots(reader, QueueInspector(given))
    deps = Deps(given, Templates(given, files), lists, found, intake, decisions, mint, snapshots)
    sessions = Sessions(given)
    viewers = Viewers()
    clients = Clients(given)
    routes = {
        "/": Root(),
        "/dashboard/": Root(),
        "/dashboard/sign-in": SignIn(deps, keyring, sessions, SignInLimit(given, clients)),
        "/dashboard/sign-out": SignOut(deps, sessions),
        "/dashboard/static/{name}": Static(files),
        "/dashboard/live/{page}": LiveFragment(deps, keyring, viewers, LIVE),
        **{path: resource for page in PAGES for path, resource in page(deps).items()},
    }
    access = Access(deps, keyring, sessions, clients, charge)
    return Dashboard(access, routes, viewers.close, snapshots.close)
