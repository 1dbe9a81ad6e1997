"""What is decided and whether the books balance, seen from beside the service while it runs."""

import threading
from collections.abc import Container
from time import monotonic
from typing import Any, Final

import psycopg2

from tests.torture.history import History, Seen
from tests.torture.rig import Rig

LOOK_EVERY_S: Final = 0.1
BALANCE_EVERY_S: Final = 2.0
#: The whole ledger is read for it: that may take a tenth of the time.
BALANCE_SHARE: Final = 0.1

DECIDED: Final = """
SELECT id::text FROM commands WHERE id = ANY (%s::uuid[]) AND status <> 'pending'
"""
CHANGED: Final = """
SELECT id::text, status, version, updated_at FROM orders
WHERE updated_at >= coalesce(%s, '-infinity'::timestamptz) - interval '2 s'
  AND placed_at > now() - interval '1 day'
"""
#: P3 and P4, in one statement and so in one snapshot; allocated units are those of the orders
#: that hold them. Another statement than the service's own: it has to find what that one misses.
OUT_OF_BALANCE: Final = """
WITH ledger AS (
    SELECT sku, location, sum(on_hand_delta) AS on_hand, sum(allocated_delta) AS allocated
    FROM stock_movements GROUP BY sku, location
), held AS (
    SELECT l.sku, l.location, sum(l.quantity) AS units
    FROM orders AS o JOIN order_lines AS l ON l.placed_at = o.placed_at AND l.order_id = o.id
    WHERE o.status = 'confirmed' GROUP BY l.sku, l.location
)
SELECT sku, s.on_hand, s.allocated, g.on_hand, g.allocated, h.units
FROM stock AS s
FULL JOIN ledger AS g USING (sku, location)
FULL JOIN held AS h USING (sku, location)
WHERE s.on_hand IS DISTINCT FROM coalesce(g.on_hand, 0)
   OR s.allocated IS DISTINCT FROM coalesce(g.allocated, 0)
   OR s.allocated IS DISTINCT FROM coalesce(h.units, 0)
   OR NOT coalesce(0 <= s.allocated AND s.allocated <= s.on_hand, false)
"""


class Watch(threading.Thread):
    """Looks again and again, on a connection past every proxy."""

    def __init__(self, rig: Rig, history: History) -> None:
        super().__init__(name="watch", daemon=True)
        self.balanced = 0
        self.decided = 0
        self.out_of_balance: list[tuple[Any, ...]] = []
        self._rig = rig
        self._history = history
        self._lock = threading.Lock()
        self._undecided: dict[str, float] = {}
        self._stopping = threading.Event()
        self._connection: Any = None
        self._changed_since: Any = None
        self._balance_at = 0.0

    def accepted(self, ids: list[str]) -> None:
        """Ids that a client was told are taken."""
        now_s = self._history.now_s()
        with self._lock:
            for id_ in ids:
                self._undecided.setdefault(id_, now_s)

    def undecided(self, until_s: float, but: Container[str] = ()) -> int:
        """How many of those that were taken until then have no outcome yet, but for some."""
        with self._lock:
            return sum(at_s <= until_s and id_ not in but for id_, at_s in self._undecided.items())

    def stop(self) -> None:
        self._stopping.set()
        self.join()

    def run(self) -> None:
        while not self._stopping.wait(LOOK_EVERY_S):
            try:
                self._look()
            except psycopg2.Error:
                # The database is away: that is one of the faults.
                self._connection = None

    def _look(self) -> None:
        if self._connection is None:
            self._connection = self._rig.connect()
        with self._lock:
            waiting = list(self._undecided)
        decided = [id_ for (id_,) in self._rows(DECIDED, waiting)] if waiting else []
        with self._lock:
            for id_ in decided:
                self._undecided.pop(id_, None)
        self.decided += len(decided)
        if monotonic() >= self._balance_at:
            began = monotonic()
            self._balance()
            took_s = monotonic() - began
            self._balance_at = monotonic() + max(BALANCE_EVERY_S, took_s / BALANCE_SHARE)

    def _balance(self) -> None:
        self.out_of_balance += self._rows(OUT_OF_BALANCE)
        self.balanced += 1
        rows = self._rows(CHANGED, self._changed_since)
        if rows:
            self._changed_since = max(row[3] for row in rows)
            orders = {id_: [status, version] for id_, status, version, _ in rows}
            self._history.add(Seen(self._history.now_s(), orders))

    def _rows(self, statement: str, *params: object) -> list[tuple[Any, ...]]:
        with self._connection.cursor() as cursor:
            cursor.execute(statement, params)
            return list(cursor.fetchall())
