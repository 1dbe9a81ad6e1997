"""What a contender's database says of a run: the same questions for all of them.

Every line of every order takes one unit and nothing runs out, so the units allocated count the
lines decided: a thousand rows to sum, however many orders there are.
"""

from dataclasses import dataclass
from typing import Any

from psycopg2.extensions import connection

LINES_PER_ORDER = 2

LINES_DECIDED = "SELECT sum(allocated)::bigint FROM stock"
#: Where orders may be refused, in Holdfast's own tables.
ORDERS_DECIDED = "SELECT count(*) FROM commands WHERE status <> 'pending'"

#: Name of a fault, and the rows of it.
FAULTS = {
    "stock that is not the sum of its movements": """
        SELECT count(*) FROM stock AS s FULL JOIN (
            SELECT sku, sum(on_hand_delta) AS on_hand, sum(allocated_delta) AS allocated
            FROM stock_movements GROUP BY sku
        ) AS m USING (sku)
        WHERE (s.on_hand, s.allocated) IS DISTINCT FROM (m.on_hand, m.allocated)""",
    "SKUs oversold": "SELECT count(*) FROM stock WHERE allocated > on_hand OR allocated < 0",
}
COUNTS = """
SELECT (SELECT count(*) FROM orders), (SELECT count(*) FROM orders WHERE status = 'confirmed'),
       (SELECT count(*) FROM order_lines), (SELECT count(*) FROM order_events)
"""


@dataclass(frozen=True)
class Counts:
    """Rows of a database."""

    orders: int
    confirmed: int
    lines: int
    events: int


class Books:
    """Questions to one contender's database. lines: of every order; scarce: some are refused."""

    def __init__(
        self, database: connection, lines: int = LINES_PER_ORDER, *, scarce: bool = False
    ) -> None:
        self._cursor = database.cursor()
        self._lines = lines
        self._scarce = scarce

    def orders_decided(self) -> float:
        """How many orders were ever confirmed, told by their lines; or decided, where scarce."""
        if self._scarce:
            return int(self._row(ORDERS_DECIDED)[0])
        return int(self._row(LINES_DECIDED)[0]) / self._lines

    def counts(self) -> Counts:
        return Counts(*self._row(COUNTS))

    def faults(self) -> list[str]:
        """What is wrong with the books; nothing should be."""
        found = {name: self._row(sql)[0] for name, sql in FAULTS.items()}
        return [f"{count} {name}" for name, count in found.items() if count]

    def _row(self, sql: str) -> tuple[Any, ...]:
        self._cursor.execute(sql)
        (row,) = self._cursor.fetchall()
        return row


def differences(
    before: Counts,
    after: Counts,
    accepted: int,
    lines: int = LINES_PER_ORDER,
    confirmed: int | None = None,
) -> list[str]:
    """Where the rows of a run are not those of `accepted` orders of so many lines.

    confirmed: how many of them; all by default.
    """
    wanted = {
        "orders": accepted,
        "confirmed": accepted if confirmed is None else confirmed,
        "lines": accepted * lines,
        "events": accepted,
    }
    return [
        f"{getattr(after, name) - getattr(before, name)} {name} written, {number} expected"
        for name, number in wanted.items()
        if getattr(after, name) - getattr(before, name) != number
    ]
