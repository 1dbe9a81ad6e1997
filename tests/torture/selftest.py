"""`python -m tests.torture.selftest`: is the checker any good? Each safety of the product is taken

out in a scratch copy, one at a time, and the rig has to find it. Ends with 0 when it found all.

A regression is an edit of the product's text. One that finds its text gone fails at once, so that
the list can't fall behind the code.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

from deploy.local.servers import ensure_installed
from tests.torture.faults import FAULTS
from tests.torture.rig import CHECKOUT, RigError
from tests.torture.run import run
from tests.torture.schedule import chosen

SEED: Final = 1
#: How often chance may hide a regression.
TRIES_MAX: Final = 3
#: A safe product is done sooner.
PATIENCE_S: Final = 15.0
BROKER: Final = "actors/broker.py"
CONSUMER: Final = "actors/consumer.py"
RETRIES: Final = "actors/retries.py"
INBOX: Final = "models/queries/inbox.py"
ORDERS: Final = "actors/placing.py"
STOCK: Final = "models/queries/stock.py"
TABLES: Final = "models/migrations/0001_initial.py"
PUBLISHER: Final = "web/publisher.py"


class Edit(NamedTuple):
    """In one file: a text, which has to be there, and what stands there instead."""

    path: str
    old: str
    new: str


class Regression(NamedTuple):
    """A safety that is taken out, the faults by which that shows, and the promise that breaks."""

    name: str
    faults: str
    expects: str
    edits: Sequence[Edit]


REGRESSIONS: Final = (
    Regression(
        "nothing: the product as it is",
        "duplicate-messages,kill-worker-before-commit,rabbitmq-reconnect-with-work-in-hand,"
        "rabbitmq-cancel-consumers,postgres-locked-row,overload,network-no-confirms",
        "",
        (),
    ),
    Regression(
        "no inbox",
        "duplicate-messages,kill-worker-after-commit",
        "P1|P2",
        [Edit(INBOX, "WHERE c.status = 'pending'\n", "WHERE true\n")],
    ),
    Regression(
        "no confirms at the front door",
        "network-blackhole:web-broker",
        "P8|P1 lost",
        [Edit(PUBLISHER, "            await future\n", "            future.set_result(None)\n")],
    ),
    Regression(
        "trap 1: a retry that can't be published is acknowledged",
        "rabbitmq-kill-under-alarm",
        "P1 lost",
        [
            Edit(
                RETRIES,
                "            message.put_back = True\n            _came_to",
                "            _came_to",
            )
        ],
    ),
    Regression(
        "a failure that can't be recorded is counted nowhere",
        "poison-unrecordable",
        "P9",
        [Edit(RETRIES, "    put_backs.note(message, error)\n    undecided", "    undecided")],
    ),
    Regression(
        "trap 2: workers publish without confirms",
        "rabbitmq-kill-under-alarm",
        "P1 lost",
        [Edit(BROKER, "confirm_delivery=True", "confirm_delivery=False")],
    ),
    Regression(
        "trap 3: acknowledged by number only",
        "rabbitmq-reconnect-with-work-in-hand",
        "P1 lost",
        [
            Edit(
                CONSUMER,
                "        if message.consumer is not self:\n            logger",
                "        if False:\n            logger",
            )
        ],
    ),
    Regression(
        "trap 4: a cancelled consumer keeps its delayed messages",
        "rabbitmq-cancel-consumers",
        "A fault saw",
        [
            Edit(CONSUMER, "except StopIteration:\n", "except ZeroDivisionError:\n"),
            Edit(CONSUMER, "for _ in messages:\n            pass\n", "del messages\n"),
        ],
    ),
    Regression(
        "trap 5: a time limit strikes in a thread",
        "postgres-no-connections,postgres-kill",
        "P1",
        [
            Edit(
                BROKER,
                "from dramatiq.middleware import Middleware\n",
                "from dramatiq.middleware import Middleware, TimeLimit\n",
            ),
            Edit(
                BROKER,
                "LogContext(), stats,",
                "TimeLimit(time_limit=150, interval=20), LogContext(), stats,",
            ),
        ],
    ),
    Regression(
        "acknowledged before the commit",
        "kill-worker-before-commit",
        "P1 lost",
        [
            Edit(
                ORDERS,
                "    after = _placing.submit(placed, current_message())\n",
                "    import threading\n"
                "    threading.Thread(target=_placing.submit, args=(placed,)).start()\n"
                "    after = Aftermath(set(), set())\n",
            )
        ],
    ),
    Regression(
        "lanes with several consumers at once",
        "pause-queues,kill-worker-in-a-lane",
        "P7b",
        [
            Edit(
                BROKER,
                'arguments["x-single-active-consumer"] = True',
                'arguments["x-single-active-consumer"] = False',
            )
        ],
    ),
    Regression(
        "who decides an order looks for no moves that wait for it",
        "pause-queues",
        "P1 lost|P6",
        [
            Edit(
                ORDERS,
                "apply([order.id for order in placed if order.id in after.moved])",
                "apply([])",
            )
        ],
    ),
    Regression(
        "locks in any order",
        "postgres-locked-row,postgres-slow,overload",
        "Deadlocks",
        [Edit(STOCK, "ORDER BY sku, location FOR NO KEY", "ORDER BY random() FOR NO KEY")],
    ),
    Regression(
        "half of the sessions lock stock in the other order",
        "overload,postgres-slow",
        "Deadlocks",
        [
            Edit(
                STOCK,
                "ORDER BY sku, location FOR NO KEY",
                "ORDER BY CASE WHEN mod(pg_backend_pid(), 2) = 0 THEN sku END, sku DESC FOR NO KEY",
            ),
        ],
    ),
    Regression(
        "no CHECK on stock",
        "overload",
        "P1|P3",
        [
            Edit(
                TABLES,
                "CHECK (0 <= allocated AND allocated <= on_hand)",
                "CHECK (true)",
            ),
        ],
    ),
)  # fmt: skip


def main(arguments: Sequence[str]) -> int:
    options = _parser().parse_args(arguments)
    ensure_installed()
    chosen_ = [one for one in REGRESSIONS if options.only in one.name]
    rows = []
    for regression in chosen_:
        print(f"--- {regression.name}", flush=True)
        rows.append(_row(regression))
    print(f"\n{table(rows)}")
    return 0 if rows and all(row.good for row in rows) else 1


class Row(NamedTuple):
    """A regression and what the rig said; good: what it should have said."""

    name: str
    good: bool
    said: str


def _row(regression: Regression) -> Row:
    """Run the product with a regression; more than once where chance has hidden it."""
    names = chosen(list(FAULTS), regression.faults)
    promises = tuple(regression.expects.split("|"))
    tries = TRIES_MAX if regression.edits else 1
    with (
        scratch_copy(regression.edits) as copy,
        tempfile.TemporaryDirectory(prefix="holdfast-torture-") as folder,
    ):
        for attempt in range(tries):
            verdict = run(Path(folder, str(attempt)), SEED + attempt, 0, names, copy, PATIENCE_S)
            said = [*verdict.broken, *(f"not seen: {what}" for what in verdict.not_proved)]
            expected = [one for one in verdict.broken if one.startswith(promises)]
            if regression.edits and expected:
                return Row(regression.name, True, expected[0])
    return Row(regression.name, not regression.edits and verdict.good, (said or ["held"])[0])


@contextmanager
def scratch_copy(edits: Sequence[Edit]) -> Iterator[Path]:
    """A copy of the checkout as git has it, its changes included, with edits.

    Raises RigError where a text to be edited is not there, or more than once.
    """
    with tempfile.TemporaryDirectory(prefix="holdfast-scratch-") as folder:
        copy = Path(folder)
        listed = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            cwd=CHECKOUT, check=True, capture_output=True, text=True,
        ).stdout  # fmt: skip
        for name in filter(None, listed.split("\0")):
            if (CHECKOUT / name).is_file():
                (copy / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(CHECKOUT / name, copy / name)
        for edit in edits:
            path = copy / edit.path
            text = path.read_text()
            if text.count(edit.old) != 1:
                raise RigError(f"{edit.path} has not once: {edit.old!r}")
            path.write_text(text.replace(edit.old, edit.new))
        yield copy


def table(rows: Sequence[Row]) -> str:
    """What became of every regression."""
    width = max(len(row.name) for row in rows)
    return "\n".join(
        f"{'ok   ' if row.good else 'WRONG'}  {row.name:{width}}  {row.said[:120]}" for row in rows
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="make torture-selftest", description=__doc__)
    parser.add_argument("--only", default="", help="a part of the names of those to try")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
