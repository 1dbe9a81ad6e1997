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
from datetime import UTC, datetime
from functools import partial
from typing import Any

from actors import placing
from actors.commands import Line, PlaceOrder
from config import settings
from models.database import BundledTransaction, Statement, configure
from models.queries import stock
from web.ids import ORDER, IdMint

MINT = IdMint(settings().secret_key.encode())


STAGES = ("before_s", "locking_s", "locked_s", "commit_s")
#: What a statement of the last message belongs to, where not to all that comes before the locks.
STAGE_OF = {stock.LOCK: "locking_s", stock.CHANGE: "locked_s"}


class Stopwatch:
    """Where the time of transactions goes, by sending their last message in parts.

    That takes a few round trips more, so only where it is asked for.
    """

    def __init__(self) -> None:
        self.spent_s = dict.fromkeys(STAGES, 0.0)
        self._mark = 0.0
        self._commit = BundledTransaction.commit

    def start(self) -> None:
        """From now on."""
        BundledTransaction.commit = self._in_parts()  # type: ignore[method-assign]

    def begin(self) -> None:
        self._mark = time.perf_counter()

    def _lap(self, stage: str) -> None:
        now = time.perf_counter()
        self.spent_s[stage] += now - self._mark
        self._mark = now

    def _in_parts(self) -> Any:
        def commit(work: BundledTransaction, *statements: Statement, **kwargs: Any) -> Any:
            for statement in statements:
                work.fetch(statement)
                self._lap(STAGE_OF.get(statement.sql, "before_s"))
            rows = self._commit(work, **kwargs)
            self._lap("commit_s")
            return rows

        return commit


def main() -> None:
    options = _parser().parse_args()
    configure(settings(), application_name="holdfast-scale")
    watch = Stopwatch()
    if options.stages:
        watch.start()
    batches = [_commands(options) for _ in range(4)]
    placing._place(partial(_fresh, batches[0]))
    watch.spent_s = dict.fromkeys(STAGES, 0.0)
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
        placing._place(partial(list, fresh))
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
                **watch.spent_s,
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
    for name, default in {"orders": 1, "lines": 2, "skus": 1000, "hot": 0, "stages": 0}.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--seconds", type=float, default=2.0)
    return parser


if __name__ == "__main__":
    main()
