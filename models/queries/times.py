"""What time it is by the database's clock, by which all that it keeps is stamped."""

from datetime import datetime

from models.database import fetch, reading
from models.queries.stats import FINEST_S

SAMPLED_AT = f"SELECT max(at) FROM queue_stats WHERE resolution_s = {FINEST_S}"


@reading()
def now() -> datetime:
    """The time of now."""
    ((moment,),) = fetch("SELECT now()")
    return moment  # type: ignore[no-any-return]


@reading()
def sampled_at() -> datetime | None:
    """When the queues were last sampled, which the clock does every 10 s; None for never."""
    ((moment,),) = fetch(SAMPLED_AT)
    return moment  # type: ignore[no-any-return]
