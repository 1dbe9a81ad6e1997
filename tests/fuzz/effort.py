"""How hard the tests of odd input try: a little and always the same, or a lot and always anew."""

import os

from hypothesis import HealthCheck, settings

#: Set by `make fuzz`; then `pytest --hypothesis-seed=N` says which of all the examples.
SEARCHING = os.environ.get("HOLDFAST_FUZZ") == "search"
#: So many times as many examples.
SEARCH_FACTOR = 5


def effort(examples: int) -> settings:
    """So many examples, the same ones whenever they run; to search, more and others."""
    return settings(
        max_examples=examples * SEARCH_FACTOR if SEARCHING else examples,
        derandomize=not SEARCHING,
        print_blob=SEARCHING,
        database=None,
        # How long a running system takes says nothing about what it was asked.
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow],
    )
