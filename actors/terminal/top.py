"""`holdfast top`: what flows, what is stuck and what failed, live in a terminal."""

import argparse
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import peewee

from actors.terminal.asking import Tasks, add_options
from actors.terminal.output import say, show_json
from actors.terminal.queues import every_queue, table
from config import settings
from models.queries import controls, failures, operations, stats, workers
from models.queries.failures import FailureQuery
from models.queries.workers import WorkerRow
from models.rules.figures import ActorFigures
from models.rules.histograms import mean, quantile_s

RECENT_S = 60.0
GROUPS_SHOWN = 5


def add_tasks(tasks: Tasks) -> None:
    """Add the task."""
    text = "Rates, queues, workers and failures, live; Ctrl-C ends it."
    parser = tasks.add_parser("top", help=text, description=text)
    parser.set_defaults(run=_top)
    parser.add_argument("--once", action="store_true", help="print it once and end")
    parser.add_argument("--every", type=float, default=1.0, metavar="SECONDS", help="(1)")
    add_options(parser)


def _top(options: argparse.Namespace) -> None:
    # The other tasks need no inspector.
    from actors.queues import QueueInspector  # noqa: PLC0415

    inspector = QueueInspector(settings())
    try:
        if options.json:
            show_json(snapshot(inspector))
        elif options.once:
            say("\n".join(_lines(snapshot(inspector))))
        else:
            _live(inspector, max(0.2, options.every))
    except KeyboardInterrupt:
        return
    finally:
        inspector.close()


def _live(inspector: Any, every_s: float) -> None:
    while True:
        lines = _try_lines(inspector)
        width, height = shutil.get_terminal_size()
        shown = "\n".join(line[: width - 1] for line in lines[: height - 1])
        # Home, and every line's rest erased: a cleared screen would flicker.
        sys.stdout.write("\x1b[H" + shown.replace("\n", "\x1b[K\n") + "\x1b[J\n")
        sys.stdout.flush()
        time.sleep(every_s)


def _try_lines(inspector: Any) -> list[str]:
    try:
        return _printable(_lines(snapshot(inspector)))
    except (peewee.DatabaseError, peewee.InterfaceError) as error:
        return [f"holdfast top  {_now()}", "", *str(error).strip().splitlines()]


def snapshot(inspector: Any) -> dict[str, Any]:
    """All that is shown, as plain values. Rates are per second, of the last minute."""
    limits = {row.actor: row.rate_limit for row in controls.limits()}
    groups = failures.groups(FailureQuery())
    try:
        queues, problem = every_queue(inspector), None
    except ConnectionError as error:
        queues, problem = [], str(error)
    return {
        "at": datetime.now(UTC),
        "problem": problem,
        "actors": [_actor(one, limits.get(one.actor)) for one in stats.recent(RECENT_S)],
        "queues": queues,
        "workers": [_worker(one) for one in workers.live()],
        "failures": sum(group.count for group in groups),
        "groups": [asdict(group) for group in groups[:GROUPS_SHOWN]],
        "operations": [one._asdict() for one in operations.running()],
    }


def _actor(figures: ActorFigures, limit: str | None) -> dict[str, Any]:
    seconds = figures.seconds or RECENT_S
    return {
        "actor": figures.actor,
        "messages_per_s": round(figures.handled / seconds, 2),
        "commands_per_s": round(figures.decided / seconds, 2),
        "refused_per_s": round(figures.refused / seconds, 2),
        "failed": figures.failed,
        "limited": figures.limited,
        "batch_mean": mean(figures.batch),
        "took_p50_s": quantile_s(figures.took, 0.5),
        "took_p99_s": quantile_s(figures.took, 0.99),
        "rate_limit": limit,
    }


def _worker(row: WorkerRow) -> dict[str, Any]:
    return {
        "id": row.id, "host": row.host, "pid": row.pid, "version": row.version,
        "threads": row.threads, "threads_busy": row.threads_busy,
        "memory_bytes": row.memory_bytes, "started_at": row.started_at, "seen_at": row.seen_at,
    }  # fmt: skip


def _lines(shown: dict[str, Any]) -> list[str]:
    lines = [f"holdfast top  {_now()}  {settings().environment}", ""]
    lines += [f"{'ACTOR':16}{'MSG/S':>9}{'CMD/S':>9}{'REFUSED/S':>11}{'FAILED':>8}{'BATCH':>7}"
              f"{'P50':>9}{'P99':>9}"]  # fmt: skip
    lines += [_actor_line(actor) for actor in shown["actors"]]
    lines += ["", *([shown["problem"]] if shown["problem"] else table(shown["queues"])), ""]
    lines += [f"{'WORKER':32}{'BUSY':>9}{'MEMORY':>10}  SINCE"]
    lines += [
        f"{one['host'] + ' ' + str(one['pid']):32}"
        f"{str(one['threads_busy']) + '/' + str(one['threads']):>9}"
        f"{one['memory_bytes'] / 2**20:>7.0f} MB  {one['started_at']:%Y-%m-%d %H:%M}"
        for one in shown["workers"]
    ] or ["  none is alive"]
    lines += ["", f"FAILURES {shown['failures']:,} open"]
    lines += [
        f"{group['count']:>9,}  {group['actor'] or '?'}  {group['error_class']}  "
        f"{group['example'].partition(chr(10))[0]}"
        for group in shown["groups"]
    ]
    return lines + _operation_lines(shown["operations"])


def _actor_line(actor: dict[str, Any]) -> str:
    batch = "-" if actor["batch_mean"] is None else f"{actor['batch_mean']:.1f}"
    limit = f"  at most {actor['rate_limit']}" if actor["rate_limit"] else ""
    return (
        f"{actor['actor']:16}{actor['messages_per_s']:>9,.1f}{actor['commands_per_s']:>9,.1f}"
        f"{actor['refused_per_s']:>11,.1f}{actor['failed']:>8,}{batch:>7}"
        f"{_milliseconds(actor['took_p50_s']):>9}{_milliseconds(actor['took_p99_s']):>9}{limit}"
    )


def _milliseconds(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds * 1000:,.0f} ms"


def _operation_lines(running: Sequence[dict[str, Any]]) -> list[str]:
    return [
        f"  {one['action'].replace('_', ' ')}: {one['done'] + one['skipped']:,} of {one['total']:,}"
        for one in running
    ]


def _printable(lines: Sequence[str]) -> list[str]:
    return ["".join(c if c.isprintable() else "?" for c in line) for line in lines]


def _now() -> str:
    return f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC"
