"""`python -m bench.months`: what do two years of partitions cost?

The same orders in one partition and in those of 24 months, on one PostgreSQL, in turns; what actors
and front door ask of it, on one connection. Prints the ratio of each pair.
"""

import argparse
import os
import random
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from uuid import uuid4

from deploy.local.servers import Postgres

MONTHS = 24
ORDERS = 100_000
BATCH = 200
SKUS = 1_000

#: Orders of two lines that were shipped, over so many months. Parameters: months, orders.
SEED = """
WITH placed AS MATERIALIZED (
    SELECT gen_random_uuid() AS id, n,
           greatest(date_trunc('month', now() - n %% %s * interval '1 month'),
                    now() - n %% %s * interval '1 month' - (n %% 1000) * interval '5 minutes') AS at
    FROM generate_series(1, %s) AS n
), inbox AS (
    INSERT INTO commands SELECT id, 'place_order', 'applied', NULL, at, at FROM placed
), header AS (
    INSERT INTO orders
    SELECT id, at, 'c-' || n %% 10000, 'shipped', 'EUR', 2, 2, at, '{}' FROM placed
), line AS (
    INSERT INTO order_lines SELECT id, at, line, 'S' || (n * line) %% 1000, 1, 1, 'main'
    FROM placed, generate_series(1, 2) AS line
), event AS (
    INSERT INTO order_events SELECT id, at, sequence, 'order.' || type, at, '{}'
    FROM placed, (VALUES (1, 'confirmed'), (2, 'shipped')) AS event (sequence, type)
)
INSERT INTO stock_movements
SELECT at, 'S' || (n * line) %% 1000, 'main', 0, 1, 'placed', id, id
FROM placed, generate_series(1, 2) AS line ON CONFLICT DO NOTHING
"""
PRODUCTS = """
WITH product AS (
    INSERT INTO products SELECT 'S' || n, 'Mug', 100, 'EUR', now(), now()
    FROM generate_series(0, 999) AS n
)
INSERT INTO stock SELECT 'S' || n, 'main', 1000000000, 0, now() FROM generate_series(0, 999) AS n
"""


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    with ExitStack() as stack:
        root = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="holdfast-months-")))
        postgres = Postgres(root)
        os.environ.update(
            DATABASE_URL=postgres.url, RABBITMQ_URL="amqp://nobody", SECRET_KEY="no secret " * 4
        )
        stack.enter_context(postgres)
        sides = {
            months: Side(postgres.create_database(f"months_{months}"), months)
            for months in (1, MONTHS)
        }
        ratios: dict[str, list[float]] = {}
        for number in range(options.rounds):
            # Who is first changes: the machine's speed does, too.
            order = sorted(sides, reverse=number % 2 == 1)
            for name, work in WORK.items():
                rates = {months: sides[months].rate(work, options.seconds) for months in order}
                ratios.setdefault(name, []).append(rates[MONTHS] / rates[1])
                print(
                    f"{number + 1:2}  {name:22} 1 month {rates[1]:9,.0f}/s"
                    f"  {MONTHS} months {rates[MONTHS]:9,.0f}/s  {ratios[name][-1]:.3f}",
                    flush=True,
                )
        for name, found in ratios.items():
            print(f"{name:22} median of the ratios {median(found):.3f}")
    return 0


class Side:
    """A database with its orders in so many months."""

    def __init__(self, url: str, months: int) -> None:
        self._url = url
        from models.database import execute, fetch  # noqa: PLC0415 - reads the settings
        from models.migrate import migrate  # noqa: PLC0415
        from models.queries import partitions  # noqa: PLC0415

        self._use()
        migrate(1 if months == 1 else 3)
        execute("SET statement_timeout = 0")
        today = datetime.now(UTC).date()
        this = partitions.month_number(today)
        for back in range(1, months):
            partitions.ensure(1, today=partitions.month_from(this - back))
        if months == 1:
            for each in partitions.every():
                if each.name != partitions.name_of(each.table, today):
                    execute(f"DROP TABLE {each.name}")
        execute(PRODUCTS)
        execute(SEED, (months, months, ORDERS))
        execute("VACUUM (ANALYZE)")
        self.ids = [id_ for (id_,) in fetch("SELECT id::text FROM orders")]
        newest = (
            "SELECT id::text FROM orders WHERE placed_at >= date_trunc('month', now()) LIMIT %s"
        )
        # As many on each side.
        self.newest = [id_ for (id_,) in fetch(newest, (ORDERS // MONTHS,))]

    def _use(self) -> None:
        from config import settings  # noqa: PLC0415
        from models import database  # noqa: PLC0415

        database.discard_connection()
        import msgspec  # noqa: PLC0415

        database.configure(msgspec.structs.replace(settings(), database_url=self._url))

    def rate(self, work: Callable[["Side"], int], seconds: float) -> float:
        """How many a second."""
        self._use()
        work(self)
        done, begun = 0, time.perf_counter()
        while time.perf_counter() - begun < seconds:
            done += work(self)
        return done / (time.perf_counter() - begun)


def place(_side: Side) -> int:
    """A batch of new orders."""
    from actors.commands import Line, PlaceOrder  # noqa: PLC0415
    from actors.placing import _place  # noqa: PLC0415

    skus = [f"S{random.randrange(SKUS)}" for _ in range(2 * BATCH)]
    batch = [
        PlaceOrder(str(uuid4()), datetime.now(UTC), "c-1", [Line(a, 1), Line(b, 1)], {})
        for a, b in zip(skus[::2], skus[1::2], strict=True)
    ]
    _place(lambda: batch)
    return BATCH


def move(side: Side) -> int:
    """A batch of orders of this month is delivered; the second time that is refused."""
    from actors.commands import MoveOrder  # noqa: PLC0415
    from actors.moves import _apply  # noqa: PLC0415

    _apply(
        [
            MoveOrder(str(uuid4()), datetime.now(UTC), id_, "delivered")
            for id_ in random.sample(side.newest, BATCH)
        ]
    )
    return BATCH


def read_newest(side: Side) -> int:
    """Orders of this month by id, 50 at once."""
    from models.queries import reads  # noqa: PLC0415

    assert all(reads.orders_by_id(random.sample(side.newest, 50)))
    return 50


def read(count: int) -> Callable[[Side], int]:
    """Orders by id, so many at once."""

    def run(side: Side) -> int:
        from models.queries import reads  # noqa: PLC0415

        assert all(reads.orders_by_id(random.sample(side.ids, count)))
        return count

    return run


WORK: dict[str, Callable[[Side], int]] = {
    "orders placed by 200": place,
    "orders moved by 200": move,
    "orders read by 1": read(1),
    "newest read by 50": read_newest,
    "orders read by 50": read(50),
}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.months", description=__doc__)
    parser.add_argument("--rounds", type=int, default=7, help="pairs of each kind")
    parser.add_argument("--seconds", type=float, default=2.0, help="of each measurement")
    return parser


if __name__ == "__main__":
    sys.exit(main())
