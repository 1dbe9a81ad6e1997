"""What can go wrong: each fault is a function that makes it happen and makes it good again.

A fault that did not happen raises NotFiredError, and the run counts for nothing: a quiet night
proves nothing. What comes afterwards (is all decided, how soon) the run itself looks at.
"""

from tests.torture.faults import (
    connections,
    messages,
    network,
    operators,
    overload,
    postgres,
    processes,
    rabbitmq,
)
from tests.torture.faults.scene import FAULTS, NotFiredError, Scene

__all__ = [
    "FAULTS",
    "NotFiredError",
    "Scene",
    "connections",
    "messages",
    "network",
    "operators",
    "overload",
    "postgres",
    "processes",
    "rabbitmq",
]
