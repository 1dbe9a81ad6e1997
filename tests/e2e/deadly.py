"""A bug's stand-in, for a worker process of a test: some orders kill whoever decides them.

`python -m actors tests.e2e.deadly`: Dramatiq imports it beside the actors.
"""

import os
import signal
from typing import Any

from actors import placing

DEADLY = "deadly"
_order_row = placing._order_row


def _kill_or_write(command: Any, *rest: Any) -> Any:
    if command.customer_id.startswith(DEADLY):
        os.kill(os.getpid(), signal.SIGKILL)
    return _order_row(command, *rest)


placing._order_row = _kill_or_write  # type: ignore[assignment]
