"""`holdfast queues list|pause|resume`."""

import argparse
from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime
from typing import Any

from actors.commands import PauseQueue, ResumeQueue
from actors.terminal.asking import NewId, Tasks, add_options, ask
from actors.terminal.output import in_line, say, show_json
from config import settings
from models.queries import controls, times
from models.queries.controls import PausedQueue


def add_tasks(tasks: Tasks, new_id: NewId) -> None:
    """Add the task and its actions. new_id: gives ids as the front door mints them."""
    parser = tasks.add_parser("queues", help="Show, pause and resume queues.")
    actions = parser.add_subparsers(required=True, metavar="ACTION")

    lists = actions.add_parser("list", help="What is in the queues, and which are paused.")
    lists.set_defaults(run=_list)
    add_options(lists)

    pause = actions.add_parser("pause", help="Let workers take nothing from a queue.")
    pause.add_argument("queue")
    pause.add_argument("--reason", required=True, help="why, for whoever asks later")
    pause.set_defaults(run=_pause, new_id=new_id)
    resume = actions.add_parser("resume", help="Let workers take from a queue again.")
    resume.add_argument("queue")
    resume.set_defaults(run=_resume, new_id=new_id)
    for change in (pause, resume):
        add_options(change, change=True)


def rows(
    states: Mapping[str, Any], paused: Mapping[str, PausedQueue], at: datetime
) -> list[dict[str, Any]]:
    """Each queue with its figures, and with who paused it, when and why. states: QueueState; at:
    when, by the database's clock."""
    return [
        {
            "queue": name,
            **asdict(state),
            "oldest_s": state.age_s(at),
            "paused": paused[name]._asdict() if name in paused else None,
        }
        for name, state in states.items()
    ]


def table(queues: list[dict[str, Any]]) -> list[str]:
    """Queues as lines of a table."""
    lines = [f"{'QUEUE':24}{'READY':>10}{'DELAYED':>10}{'UNACKED':>9}{'WORKERS':>9}{'OLDEST':>9}"
             f"{'DEAD':>7}{'PUT BACK':>10}"]  # fmt: skip
    for queue in queues:
        age = "-" if queue["oldest_s"] is None else f"{queue['oldest_s']:.0f} s"
        pause = queue["paused"]
        why = f"  paused by {pause['paused_by']}: {pause['reason']}" if pause else ""
        lines.append(
            f"{queue['queue']:24}{queue['ready']:>10,}{queue['delayed']:>10,}"
            f"{queue['unacked']:>9,}{queue['consumers']:>9,}{age:>9}{queue['dead']:>7,}"
            f"{_came_back(queue)}{in_line(why)}"
        )
    if any(queue["dead"] for queue in queues):
        lines.append(
            "DEAD: in the queue's .XQ, on no record. See docs/runbooks/HoldfastDeadLetters.md."
        )
    return lines


def _came_back(queue: dict[str, Any]) -> str:
    """How many messages come back, and for how long one of them has."""
    if not queue["put_back"]:
        return f"{'-':>10}"
    return f"{queue['put_back']:>10,} for {queue['put_back_s']:.0f} s"


def _list(options: argparse.Namespace) -> None:
    # The other actions need no inspector.
    from actors.queues import QueueInspector  # noqa: PLC0415

    inspector = QueueInspector(settings())
    try:
        paused = {row.queue: row for row in controls.paused()}
        queues = rows(inspector.inspect(), paused, times.now())
    finally:
        inspector.close()
    if options.json:
        show_json(queues)
    else:
        say("\n".join(table(queues)))


def _pause(options: argparse.Namespace) -> int:
    return ask(PauseQueue(options.queue, options.reason), options)


def _resume(options: argparse.Namespace) -> int:
    return ask(ResumeQueue(options.queue), options)
