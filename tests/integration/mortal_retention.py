"""`python -m tests.integration.mortal_retention FUNCTION WHEN NTH`: an apply that kills itself.

FUNCTION: such as models.queries.retention.detach; WHEN: `before` or `after` the NTH call of it.
"""

import importlib
import os
import signal
import sys
from itertools import count
from typing import Any

from config import settings
from models import retention
from models.database import configure


def mortal(function: Any, when: str, nth: int) -> Any:
    calls = count(1)

    def dies(*args: Any, **kwargs: Any) -> Any:
        last = next(calls) == nth
        if last and when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        result = function(*args, **kwargs)
        if last:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    return dies


if __name__ == "__main__":
    path, when, nth = sys.argv[1:]
    module_name, _, name = path.rpartition(".")
    module = importlib.import_module(module_name)
    setattr(module, name, mortal(getattr(module, name), when, int(nth)))
    configure(settings(), application_name="mortal")
    retention.PAUSE_S = 0.05  # type: ignore[misc]
    retention.apply(retention.policy_of(settings()))
