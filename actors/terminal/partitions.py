"""`holdfast partitions`: the months that are there, and those that are no longer kept."""

import argparse
from datetime import datetime
from typing import Final

from actors.terminal.asking import Tasks, add_options
from actors.terminal.output import count, progress, say, show_json
from config import settings
from models import retention
from models.retention import Policy, Step

#: What becomes, or became, of a month's tables.
WILL: Final = {
    "detach": "are detached and stay beside the others",
    "drop": "are dropped",
    "export": "are exported, then dropped",
}
DID: Final = {
    "detach": "were detached and stay beside the others",
    "drop": "were dropped",
    "export": "were exported, then dropped",
}


def add_tasks(tasks: Tasks) -> None:
    """Add the tasks."""
    text = "List the partitions; take away the months that are no longer kept."
    partitions = tasks.add_parser("partitions", help=text, description=text)
    actions = partitions.add_subparsers(required=True, metavar="ACTION")
    for name, run, what in (
        ("status", _status, "Every partition: its time, rows (an estimate), size and state."),
        ("plan", _plan, "What an apply would do, and why an expired month stays."),
        ("apply", _apply, "Take away what RETENTION_MONTHS does not keep, by RETENTION_ACTION."),
    ):
        parser = actions.add_parser(name, help=what, description=what)
        add_options(parser)
        parser.set_defaults(run=run)


def _status(options: argparse.Namespace) -> None:
    found = retention.status(retention.policy_of(settings()))
    if options.json:
        show_json([{**each._asdict(), "state": state} for each, state in found])
        return
    say(f"{'PARTITION':26}{'FROM':12}{'TO':12}{'ROWS':>12}{'SIZE':>12}  STATE")
    for each, state in found:
        rows = "?" if each.rows is None else f"{each.rows:,}"
        broken_off = ", broken off while it was detached" if each.detaching else ""
        say(
            f"{each.name:26}{_day(each.starts_at):12}{_day(each.ends_at):12}"
            f"{rows:>12}{_size(each.bytes):>12}  {state}{broken_off}"
        )


def _plan(options: argparse.Namespace) -> None:
    policy = retention.policy_of(settings())
    with retention.patiently():
        steps = retention.plan(policy)
    _show(options, policy, steps, WILL)


def _apply(options: argparse.Namespace) -> None:
    policy = retention.policy_of(settings())
    try:
        steps = retention.apply(policy, progress)
    finally:
        progress("")
    _show(options, policy, steps, DID)


def _show(
    options: argparse.Namespace, policy: Policy, steps: list[Step], verbs: dict[str, str]
) -> None:
    if options.json:
        folder = policy.folder and str(policy.folder)
        show_json(
            {
                "policy": {**policy._asdict(), "folder": folder},
                "months": [{"month": step.month, **step._asdict()} for step in steps],
            }
        )
    else:
        say("\n".join(lines(policy, steps, verbs)))


def lines(policy: Policy, steps: list[Step], verbs: dict[str, str]) -> list[str]:
    """What is planned or was done, month by month."""
    if policy.months is None:
        kept = "Everything is kept: RETENTION_MONTHS is not set."
    else:
        kept = f"This month and {count(policy.months, 'month')} before it are kept."
    return [kept, *(line for step in steps for line in _lines(step, verbs))]


def _lines(step: Step, verbs: dict[str, str]) -> list[str]:
    rows = "" if step.rows is None else f", about {step.rows:,} rows"
    of = f"{count(len(step.tables), 'table')}, {_size(step.bytes)}{rows}"
    if step.does == "stay":
        return [f"{step.month}  {of}, stays:", *(f"           {why}" for why in step.why)]
    begun = " (begun before)" if step.does == "finish" else ""
    return [f"{step.month}  {of}, {verbs[step.action]}{begun}"]


def _day(at: datetime | None) -> str:
    return "" if at is None else f"{at:%Y-%m-%d}"


def _size(number: int) -> str:
    return f"{number / 2**20:,.1f} MiB"
