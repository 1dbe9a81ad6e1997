"""Transactions of new orders alone, by the actor as a worker has it.

No front door, no RabbitMQ: what a transaction costs and waits for, by its size. A program of its
own, which bench/scale/writers.py starts for this checkout's code or another's: it says "ready",
waits for a line on its standard input, and prints a line of JSON at the end.
"""

import argparse
import itertools
import json
import random
import re
import socket
import sys
import threading
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
import psycopg2.extensions

import actors.main
from actors.commands import ROUTES, Line, PlaceOrder, encode, join
from actors.stats import recorder
from config import VERSION, settings
from models.database import configure, database, transaction
from models.queries import inbox, stats, workers
from models.queries.stats import Counted
from models.queries.workers import WorkerReport
from web.ids import ORDER, IdMint

MINT = IdMint(settings().secret_key.encode())
#: From this statement on a transaction holds stock rows, until its COMMIT is answered.
TAKES_ROWS = re.compile(rb"(?s)\bstock\b.*FOR NO KEY UPDATE")
BETWEEN = b";\n"
#: The inbox in its statements, and what has the same parameters and rows without it.
CLAIMING = re.compile(r"(?s)INSERT INTO commands.*?RETURNING [^\n)]*")
CLAIMED_UNSEEN = """
SELECT id::text, placed_at, %s IS NULL AS again
FROM unnest(%s::uuid[], %s::text[], %s::timestamptz[]) AS given (id, target, placed_at)"""


class Stopwatch:
    """Where the time of calls goes, told by their statements; of one thread.

    free_s, held_s: without and with stock rows; trips: messages to the server before the first that
    takes rows, and from it on.
    """

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        self.free_s = self.held_s = 0.0
        self.trips_free = self.trips_held = 0
        self._mark, self._holds = time.perf_counter(), False

    def lap(self) -> None:
        """What passed since the last one is of the stage that it ends."""
        now = time.perf_counter()
        if self._holds:
            self.held_s += now - self._mark
        else:
            self.free_s += now - self._mark
        self._mark = now

    def skip(self) -> None:
        """What passed since the last lap is not of a call."""
        self._mark = time.perf_counter()

    def sent(self, sql: bytes) -> None:
        self.lap()
        self._holds = self._holds or TAKES_ROWS.search(sql) is not None
        self.trips_held += self._holds
        self.trips_free += not self._holds

    def answered(self, sql: bytes) -> None:
        self.lap()
        if sql.endswith(b"COMMIT"):
            self._holds = False


watch = Stopwatch()


class Watched(psycopg2.extensions.cursor):
    """A cursor whose messages the stopwatch hears of.

    One that takes rows in the middle is sent in two: the first is no trip of its own.
    """

    def execute(self, query: Any, parameters: Any = None) -> None:
        if threading.current_thread() is not threading.main_thread():
            # A report is no part of a transaction of orders.
            super().execute(query, parameters)
            return
        statements = self.mogrify(query, parameters).split(BETWEEN)
        takes = next((n for n, sql in enumerate(statements) if TAKES_ROWS.search(sql)), 0)
        if takes:
            super().execute(BETWEEN.join(statements[:takes]))
        sql = BETWEEN.join(statements[takes:])
        watch.sent(sql)
        super().execute(sql)
        watch.answered(sql)


class Reports(threading.Thread):
    """A worker process's reports, as actors/heartbeat.py writes them."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self._id = f"{socket.gethostname()}-{threading.get_native_id()}"
        self._began = datetime.now(UTC)

    def run(self) -> None:
        while True:
            now = datetime.now(UTC)
            with transaction():
                stats.record(self._id, [Counted(now, figures) for figures in recorder.take()])
                workers.report(WorkerReport(self._id, "bench", threading.get_native_id(), VERSION,
                                            self._began, 8, 8, 1 << 27, {}))  # fmt: skip
            time.sleep(settings().report_every_s)


class Caller(threading.Thread):
    """Calls the actor with one message after the other, until the time is over."""

    def __init__(self, options: argparse.Namespace) -> None:
        super().__init__(daemon=True)
        self._place = actors.main.broker.get_actor(ROUTES[PlaceOrder].actor)
        self._seconds = options.seconds
        self._messages = itertools.cycle([_commands(options) for _ in range(4)])
        self.calls = 0
        self.wall_s = self.worker_s = 0.0

    def once(self) -> None:
        message = _message(next(self._messages))
        wall, cpu = time.perf_counter(), time.process_time()
        watch.skip()
        self._place(message)
        watch.lap()
        self.wall_s += time.perf_counter() - wall
        self.worker_s += time.process_time() - cpu
        self.calls += 1

    def clear(self) -> None:
        self.calls, self.wall_s, self.worker_s = 0, 0.0, 0.0

    def run(self) -> None:
        until = time.monotonic() + self._seconds
        while time.monotonic() < until:
            self.once()


def main() -> None:
    options = _parser().parse_args()
    configure(settings(), application_name="holdfast-scale")
    if options.threads == 1:
        database.connect_params["cursor_factory"] = Watched
    for part in options.without:
        LEAVE_OUT[part]()
    callers = [Caller(options) for _ in range(options.threads)]
    callers[0].once()
    print("ready", flush=True)
    sys.stdin.readline()
    if "reports" not in options.without:
        Reports().start()
    callers[0].clear()
    watch.clear()
    cpu_began, began = time.process_time(), time.monotonic()
    if options.threads == 1:
        callers[0].run()
    else:
        for caller in callers:
            caller.start()
        for caller in callers:
            caller.join()
    print(
        json.dumps(
            {
                "calls": sum(caller.calls for caller in callers),
                "seconds": time.monotonic() - began,
                "wall_s": sum(caller.wall_s for caller in callers) / len(callers),
                "worker_s": callers[0].worker_s,
                "cpu_s": time.process_time() - cpu_began,
                "free_s": watch.free_s,
                "held_s": watch.held_s,
                "trips_free": watch.trips_free,
                "trips_held": watch.trips_held,
            }
        ),
        flush=True,
    )


def _no_inbox() -> None:
    """Every command is ours, whatever came before; with the same statements otherwise."""
    for name in ("CLAIM", "CLAIM_IN_SLOT"):
        setattr(inbox, name, CLAIMING.sub(CLAIMED_UNSEEN, getattr(inbox, name, "")))


def _no_figures() -> None:
    setattr(recorder, "decided", lambda *_: None)  # noqa: B010 - it is no method to mypy


#: What a transaction can be measured without. Reports are of the process.
LEAVE_OUT = {"inbox": _no_inbox, "figures": _no_figures, "reports": lambda: None}


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


def _message(commands: Sequence[PlaceOrder]) -> msgspec.Raw:
    """The same orders, as new ones, as a message brings them."""
    now = datetime.now(UTC)
    return join(
        [
            encode(PlaceOrder(MINT.new(ORDER), now, command.customer_id, command.lines, {}))
            for command in commands
        ]
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default in {"orders": 1, "lines": 2, "skus": 1000, "hot": 0, "threads": 1}.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--without", choices=LEAVE_OUT, action="append", default=[])
    return parser


if __name__ == "__main__":
    main()
