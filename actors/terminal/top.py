"""`holdfast top`: what flows, what is stuck and what failed, live in a terminal."""

import argparse
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import peewee

from actors.terminal.asking import Tasks, add_options
from actors.terminal.ending import interruptible
from actors.terminal.options import within
from actors.terminal.output import in_line, say, show_json
from actors.terminal.queues import rows, table
from config import settings
from models.queries import facts, failures, operations
from models.queries.facts import FIGURES_S, Facts
from models.queries.failures import FailureQuery
from models.queries.workers import WorkerRow
from models.rules.figures import ActorFigures
from models.rules.histograms import mean, quantile_s

GROUPS_SHOWN = 5
MARKS = {"good": "ok", "warn": "!", "bad": "!!"}


def add_tasks(tasks: Tasks) -> None:
    """Add the task."""
    text = "Rates, queues, workers and failures, live; Ctrl-C ends it."
    parser = tasks.add_parser("top", help=text, description=text)
    parser.set_defaults(run=_top)
    parser.add_argument("--once", action="store_true", help="print it once and end")
    parser.add_argument(
        "--every", type=within(float, 0.2, 3_600), default=1.0, metavar="SECONDS", help="(1)"
    )
    add_options(parser)


def _top(options: argparse.Namespace) -> None:
    # The other tasks need no inspector.
    from actors.queues import QueueInspector  # noqa: PLC0415

    inspector = QueueInspector(settings())
    try:
        if options.json:
            shown = snapshot(inspector)
            show_json(shown | {"verdict": _plain(shown["verdict"])})
        elif options.once:
            say("\n".join(_lines(snapshot(inspector))))
        else:
            with interruptible():
                _live(inspector, options.every)
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
    """All that is shown: plain values and the verdict. Rates are per second, of the last minute."""
    known = facts.collect()
    states, problem = _inspect(inspector, known)
    groups = failures.groups(FailureQuery())
    limits = {row.actor: row.rate_limit for row in known.limits.values()}
    return {
        "at": datetime.now(UTC),
        "verdict": _verdict(known, states),
        "problem": problem,
        "actors": [_actor(one, limits.get(one.actor)) for one in known.figures.values()],
        "queues": rows(states or {}, known.paused, known.at),
        "workers": [_worker(one) for one in known.alive()],
        "failures": sum(group.count for group in groups),
        "groups": [asdict(group) for group in groups[:GROUPS_SHOWN]],
        "operations": [one._asdict() for one in operations.running()],
    }


def _inspect(inspector: Any, known: Facts) -> tuple[dict[str, Any] | None, str | None]:
    """(the queues, None) or (None, why they can't be asked)"""
    try:
        return inspector.inspect(known.alive(), known.clocks.held), None
    except ConnectionError as error:
        return None, str(error)


def _verdict(known: Facts, states: Mapping[str, Any] | None) -> Any:
    """The same as on the dashboard's overview."""
    # Like the inspector: the other tasks do without the broker that these come with.
    from actors.situation import Situation  # noqa: PLC0415
    from actors.verdict import judge  # noqa: PLC0415

    return judge(Situation(known.at, known, states), settings())


def _plain(verdict: Any) -> dict[str, Any]:
    reasons = [
        {"weight": one.weight, "text": one.text, "runbook": one.runbook} for one in verdict.reasons
    ]
    return {"weight": verdict.weight, "title": verdict.title, "reasons": reasons}


def verdict_lines(verdict: Any) -> list[str]:
    """The headline, and below it what it does not say; each with its runbook. verdict: Verdict."""
    return [
        f"{MARKS[verdict.weight]} {verdict.title}{_what_to_do(verdict.headline)}",
        *(f"  {MARKS[one.weight]} {one.text}{_what_to_do(one)}" for one in verdict.others),
    ]


def _what_to_do(reason: Any) -> str:
    return f" (docs/runbooks/{reason.runbook}.md)" if reason and reason.runbook else ""


def _actor(figures: ActorFigures, limit: str | None) -> dict[str, Any]:
    seconds = figures.seconds or FIGURES_S
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
    lines += [*verdict_lines(shown["verdict"]), ""]
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
        in_line(
            f"{group['count']:>9,}  {group['actor'] or '?'}  {group['error_class']}  "
            f"{group['example'].partition(chr(10))[0]}"
        )
        for group in shown["groups"]
    ]
    return lines + _operation_lines(shown["operations"])


def _actor_line(actor: dict[str, Any]) -> str:
    batch = "-" if actor["batch_mean"] is None else f"{actor['batch_mean']:.1f}"
    limit = f"  at most {actor['rate_limit']}" if actor["rate_limit"] else ""
    return (
        f"{actor['actor']:16}{actor['messages_per_s']:>9,.1f}{actor['commands_per_s']:>9,.1f}"
        f"{actor['refused_per_s']:>11,.1f}{actor['failed']:>8,}{batch:>7}"
        f"{_took(actor['took_p50_s']):>9}{_took(actor['took_p99_s']):>9}{limit}"
    )


def _took(seconds: float | None) -> str:
    """At most 8 characters, so that columns stay apart: whole seconds from 10 on."""
    if seconds is None:
        return "-"
    return f"{seconds * 1000:,.0f} ms" if seconds < 10 else f"{seconds:,.0f} s"


def _operation_lines(running: Sequence[dict[str, Any]]) -> list[str]:
    return [
        f"  {one['action'].replace('_', ' ')}: {one['done'] + one['skipped']:,} of {one['total']:,}"
        for one in running
    ]


def _printable(lines: Sequence[str]) -> list[str]:
    return ["".join(c if c.isprintable() else "?" for c in line) for line in lines]


def _now() -> str:
    return f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC"
