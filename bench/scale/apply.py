"""`python -m bench.scale.apply`: transactions of new orders alone, by the actor's own function.

No front door, no RabbitMQ: what a transaction costs and waits for, by its size. Says "ready", waits
for a line on its standard input, and prints a line of JSON at the end.
"""

import argparse
import itertools
import json
import random
import sys
import time
from collections.abc import Iterable
from datetime import UTC, datetime

from actors import placing
from actors.commands import Line, PlaceOrder
from config import settings
from models.database import configure, database
from models.queries import stock
from models.rules.allocation import Level
from web.ids import ORDER, IdMint

MINT = IdMint(settings().secret_key.encode())


class Stopwatch:
    """Where the time of transactions goes, by wrapping what they call."""

    def __init__(self) -> None:
        self.before_s = self.locking_s = self.locked_s = self.commit_s = 0.0
        self._began = self._mark = 0.0
        self._lock_levels, self._commit = stock.lock_levels, database.commit
        stock.lock_levels = self._lock
        database.commit = self._committing

    def begin(self) -> None:
        self._mark = time.perf_counter()

    def _lap(self) -> float:
        now = time.perf_counter()
        took, self._mark = now - self._mark, now
        return took

    def _lock(self, skus: Iterable[str]) -> dict[str, Level]:
        self.before_s += self._lap()
        levels = self._lock_levels(skus)
        self.locking_s += self._lap()
        return levels

    def _committing(self) -> object:
        self.locked_s += self._lap()
        done = self._commit()
        self.commit_s += self._lap()
        return done


def main() -> None:
    options = _parser().parse_args()
    configure(settings(), application_name="holdfast-scale")
    watch = Stopwatch()
    batches = [_commands(options) for _ in range(4)]
    placing._place(_fresh(batches[0]))
    watch.before_s = watch.locking_s = watch.locked_s = watch.commit_s = 0.0
    print("ready", flush=True)
    sys.stdin.readline()
    began, cpu_began = time.monotonic(), time.process_time()
    wall_s, worker_s, transactions = 0.0, 0.0, 0
    for batch in itertools.cycle(batches):
        if time.monotonic() - began >= options.seconds:
            break
        fresh = _fresh(batch)
        wall, cpu = time.perf_counter(), time.process_time()
        watch.begin()
        placing._place(fresh)
        wall_s += time.perf_counter() - wall
        worker_s += time.process_time() - cpu
        transactions += 1
    print(
        json.dumps(
            {
                "transactions": transactions,
                "wall_s": wall_s,
                "worker_s": worker_s,
                "cpu_s": time.process_time() - cpu_began,
                "before_s": watch.before_s,
                "locking_s": watch.locking_s,
                "locked_s": watch.locked_s,
                "commit_s": watch.commit_s,
            }
        ),
        flush=True,
    )


def _commands(options: argparse.Namespace) -> list[PlaceOrder]:
    skus = range(1, options.skus + 1)
    return [
        PlaceOrder(
            id=MINT.new(ORDER),
            at=datetime.now(UTC),
            customer_id=f"c-{random.randint(1, 100_000)}",
            lines=[
                Line(f"SKU-{number:04}", 1)
                for number in (
                    [1, *random.sample(skus[1:], options.lines - 1)]
                    if options.hot
                    else random.sample(skus, options.lines)
                )
            ],
            metadata={},
        )
        for _ in range(options.orders)
    ]


def _fresh(commands: list[PlaceOrder]) -> list[PlaceOrder]:
    """The same orders, as new ones."""
    now = datetime.now(UTC)
    return [
        PlaceOrder(MINT.new(ORDER), now, command.customer_id, command.lines, {})
        for command in commands
    ]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default in {"orders": 1, "lines": 2, "skus": 1000, "hot": 0}.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--seconds", type=float, default=2.0)
    return parser


if __name__ == "__main__":
    main()
