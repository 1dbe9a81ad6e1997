"""What the primary says of itself: whether it can be written to, and what time it is there."""

import time
from typing import Final

from models.database import fetch, reading
from models.host_clock import host_clock

#: A standby is read-only, too.
STATE: Final = """
SELECT current_setting('transaction_read_only')::boolean, extract(epoch FROM clock_timestamp())
"""
READ_ONLY: Final = "the database is read-only, so nothing can be decided"


def is_read_only() -> bool:
    """Whether nothing can be written there now. Compares the clocks in passing."""
    with reading():
        asked_at = time.time()
        ((read_only, at),) = fetch(STATE)
        host_clock.compare(asked_at, float(at), time.time())
    return bool(read_only)
