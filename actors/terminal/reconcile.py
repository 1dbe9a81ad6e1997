"""`holdfast reconcile`: whether the books agree, and if not, where."""

import argparse
import re
from dataclasses import asdict
from datetime import timedelta
from typing import Final

from actors.terminal.asking import Tasks, add_options
from actors.terminal.output import count, progress, say, show_json
from models.queries import reconciliation
from models.queries.checks import CHECKS, Check
from models.queries.reconciliation import LOOK_BACK, Found, Reconciled

#: Exit codes: the books agree, they don't, nobody could say.
AGREE: Final = 0
DIFFER: Final = 1
UNKNOWN: Final = 2

_UNITS: Final = {"m": "minutes", "h": "hours", "d": "days"}


def add_tasks(tasks: Tasks) -> None:
    """Add the task."""
    text = (
        "Check that the books agree, in one snapshot; explain what does not. "
        "Mends nothing; keeps what it found."
    )
    parser = tasks.add_parser("reconcile", help=text, description=text)
    parser.set_defaults(run=_reconcile, trouble=UNKNOWN)
    how_far = parser.add_mutually_exclusive_group()
    how_far.add_argument("--all", action="store_true", help="look at everything ever decided")
    how_far.add_argument(
        "--since", type=duration, default=LOOK_BACK, metavar="2d", dest="look_back",
        help="look back so far behind the last run (2d); further while that found something",
    )  # fmt: skip
    add_options(parser)


def duration(text: str) -> timedelta:
    """`30m`, `12h`, `2d`"""
    given = re.fullmatch(r"(\d{1,5})([mhd])", text)
    if given is None:
        raise argparse.ArgumentTypeError(f"{text} is no duration such as 30m, 12h or 2d")
    return timedelta(**{_UNITS[given[2]]: int(given[1])})


def _reconcile(options: argparse.Namespace) -> int:
    since = None if options.all else reconciliation.window(options.look_back)
    try:
        found = reconciliation.run(since, _show_progress)
    finally:
        progress("")
    if options.json:
        show_json({**asdict(found), "differences": found.differences})
    else:
        say("\n".join(lines(found)))
    return DIFFER if found.differences else AGREE


def _show_progress(check: Check) -> None:
    progress(f"{CHECKS.index(check) + 1} of {len(CHECKS)}: {check.between}")


def lines(found: Reconciled) -> list[str]:
    """What was found, as a table, with what differs below."""
    since = f"since {found.since:%Y-%m-%d %H:%M:%S} UTC" if found.since else "ever"
    table = [f"{'CHECK':20}{'DIFFERENCES':>11}{'TIME':>10}  WHAT HOLDS"]
    for each in found.checks:
        took = f"{each.took_ms:,} ms"
        table.append(f"{each.check:20}{each.differences:>11,}{took:>10}  {each.holds}")
    result = "The books agree" if not found.wrong else count(found.differences, "difference")
    return [
        *table,
        *(line for wrong in found.wrong for line in _explained(wrong)),
        "",
        f"{result}: all stock, and what was decided {since}, in {found.took_ms / 1000:.1f} s.",
    ]


def _explained(wrong: Found) -> list[str]:
    more = wrong.differences - len(wrong.examples)
    return [
        "",
        f"{count(wrong.differences, 'difference')} between {wrong.between}",
        *(f"  {example.line}" for example in wrong.examples),
        *([f"  and {more:,} more"] if more else []),
    ]
