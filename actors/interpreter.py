"""The interpreter of a process that has loaded all its code and begins to serve."""

import gc
import sys
from typing import Final

from config import Settings

#: Objects made, less those freed, between two looks for cycles; Python's own is 700. Handling an
#: order makes a few hundred, and hardly a cycle.
CYCLES_AFTER: Final = 5_000


def tune(given: Settings) -> None:
    """Freeze what is loaded, look for cycles less often, and let threads switch sooner.

    To be called once, when everything is imported. docs/decisions/0026-interpreter.md
    """
    sys.setswitchinterval(given.switch_interval_s)
    gc.collect()
    # What is loaded stays: to look through it for garbage again and again took a seventh of the
    # front door's time.
    gc.freeze()
    gc.set_threshold(CYCLES_AFTER)
