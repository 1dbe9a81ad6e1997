"""Counts of now that an operator may want to be alerted by."""

from models.database import fetch, reading

FAILURES_OPEN = """
SELECT actor, count(*) FROM dead_letters WHERE state = 'failed' GROUP BY actor ORDER BY actor
"""

STOCK_BELOW = """
SELECT count(*) FROM (
    SELECT FROM stock GROUP BY sku HAVING sum(on_hand - allocated) < %s
) AS low
"""


@reading()
def failures_open() -> dict[str, int]:
    """Failures that nobody has settled, by actor; "" for what could not be read."""
    return dict(fetch(FAILURES_OPEN))


@reading()
def stock_below(units: int) -> int:
    """How many SKUs have fewer units available."""
    ((count,),) = fetch(STOCK_BELOW, (units,))
    return int(count)
