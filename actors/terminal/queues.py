"""`holdfast queues list|pause|resume`."""

import argparse
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from actors.commands import PauseQueue, ResumeQueue
from actors.terminal.asking import NewId, Tasks, add_options, ask
from actors.terminal.output import say, show_json
from config import settings
from models.queries import controls


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


def every_queue(inspector: Any) -> list[dict[str, Any]]:
    """Each queue with its figures, and with who paused it, when and why."""
    paused = {row.queue: row for row in controls.paused()}
    return [
        {
            "queue": name,
            **asdict(state),
            "oldest_s": _age_s(state.oldest_at),
            "paused": paused[name]._asdict() if name in paused else None,
        }
        for name, state in inspector.inspect().items()
    ]


def _age_s(at: datetime | None) -> float | None:
    return None if at is None else max(0.0, (datetime.now(UTC) - at).total_seconds())


def table(queues: list[dict[str, Any]]) -> list[str]:
    """Queues as lines of a table."""
    lines = [f"{'QUEUE':24}{'READY':>10}{'DELAYED':>10}{'UNACKED':>9}{'WORKERS':>9}{'OLDEST':>9}"]
    for queue in queues:
        age = "-" if queue["oldest_s"] is None else f"{queue['oldest_s']:.0f} s"
        pause = queue["paused"]
        why = f"  paused by {pause['paused_by']}: {pause['reason']}" if pause else ""
        lines.append(
            f"{queue['queue']:24}{queue['ready']:>10,}{queue['delayed']:>10,}"
            f"{queue['unacked']:>9,}{queue['consumers']:>9,}{age:>9}{why}"
        )
    return lines


def _list(options: argparse.Namespace) -> None:
    # The other actions need no inspector.
    from actors.queues import QueueInspector  # noqa: PLC0415

    inspector = QueueInspector(settings())
    try:
        queues = every_queue(inspector)
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
