"""`holdfast failures list|show|retry|discard`."""

import argparse
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import msgspec

from actors.commands import DiscardFailures, FailureFilter, RetryFailures
from actors.terminal.asking import NewId, Tasks, add_options, ask
from actors.terminal.options import within
from actors.terminal.output import count, in_line, say, show_json
from models.queries import failures
from models.queries.failures import FailureQuery

#: So many are listed at once.
ROWS_MAX = 10_000
#: Members of a filter that the options give, by the name of the option.
FILTERS = {
    "actor": "of this actor",
    "queue": "of this queue",
    "error_class": "of this class of error, such as ValueError",
    "subject": "about this: order:ID, command:ID, sku:SKU or customer:ID",
    "text": 'with these words in the error or traceback; "a phrase", -without',
}


def add_tasks(tasks: Tasks, new_id: NewId) -> None:
    """Add the task and its actions. new_id: gives ids as the front door mints them."""
    parser = tasks.add_parser("failures", help="Find, put back and discard what failed.")
    actions = parser.add_subparsers(required=True, metavar="ACTION")

    lists = _action(actions, "list", _list, "The newest failures, or all kinds of them.")
    _add_filters(lists)
    lists.add_argument("--state", choices=("failed", "retried", "discarded", "all"),
                       default="failed", help="failed (still open) without")  # fmt: skip
    lists.add_argument(
        "--limit", type=within(int, 1, ROWS_MAX), default=50, help="at most so many (50)"
    )
    lists.add_argument("--groups", action="store_true", help="by actor and error, with counts")
    add_options(lists)

    show = _action(actions, "show", _show, "All of one failure.")
    show.add_argument(
        "id", type=within(int, 1, failures.ID_MAX), help="as `failures list` shows it"
    )
    add_options(show)

    retry = _action(actions, "retry", _retry, "Put failures back; they are tried again.")
    discard = _action(actions, "discard", _discard, "Settle failures without trying again.")
    discard.add_argument("--reason", required=True, help="why, for whoever asks later")
    for change in (retry, discard):
        change.set_defaults(new_id=new_id)
        change.add_argument("ids", type=within(int, 1, failures.ID_MAX), nargs="*", metavar="ID")
        change.add_argument(
            "--all-matching", action="store_true", help="what the filters say; see also --yes"
        )
        change.add_argument("--yes", action="store_true", help="not only count, but do it")
        _add_filters(change)
        add_options(change, change=True)


def _action(
    actions: Tasks, name: str, run: Callable[[argparse.Namespace], int | None], text: str
) -> argparse.ArgumentParser:
    added: argparse.ArgumentParser = actions.add_parser(name, help=text, description=text)
    added.set_defaults(run=run)
    return added


def _add_filters(parser: argparse.ArgumentParser) -> None:
    for name, text in FILTERS.items():
        parser.add_argument("--" + name.replace("_", "-"), help=text)
    for name in ("--failed-after", "--failed-before"):
        parser.add_argument(name, type=_time, metavar="TIME", help="such as 2026-11-23T12:00:00Z")


def _time(text: str) -> datetime:
    given = datetime.fromisoformat(text)
    return given if given.tzinfo else given.replace(tzinfo=UTC)


def _query(options: argparse.Namespace) -> FailureQuery:
    given = {name: getattr(options, name) for name in (*FILTERS, "failed_after", "failed_before")}
    if given["text"] is not None and not failures.can_be_found(given["text"]):
        raise ValueError("--text: name at least one word that must occur")
    return FailureQuery(**given)


def _list(options: argparse.Namespace) -> None:
    state = None if options.state == "all" else options.state
    query = _query(options)._replace(state=state)
    if options.groups:
        _list_groups(query, as_json=options.json)
        return
    rows = failures.page(query, None, options.limit)
    if options.json:
        show_json([row._asdict() for row in rows])
        return
    for row in rows:
        say(in_line(
            f"{row.id}  {row.failed_at:%Y-%m-%d %H:%M:%S}  {row.state:9}  {row.actor or '?'}  "
            f"{count(row.commands, 'command')}, {count(row.attempts, 'attempt')}  "
            f"{row.error_class}: {_first_line(row.error)}"
        ))  # fmt: skip
    if not rows:
        say("Nothing has failed." if query == FailureQuery() else "No failure matches.")


def _list_groups(query: FailureQuery, *, as_json: bool) -> None:
    groups = failures.groups(query)
    if as_json:
        show_json([asdict(group) for group in groups])
        return
    for group in groups:
        say(in_line(
            f"{group.count:>9,}  {group.actor or '?'}  {group.error_class}  "
            f"last {group.last_at:%Y-%m-%d %H:%M:%S}  {_first_line(group.example)}"
        ))  # fmt: skip
    if not groups:
        say("No failure matches.")


def _show(options: argparse.Namespace) -> None:
    found = failures.one(options.id)
    if found is None:
        raise LookupError(f"there is no failure {options.id}")
    if options.json:
        rest = found._asdict()
        del rest["summary"]
        rest["body"] = found.body.decode(errors="backslashreplace")
        show_json({**found.summary._asdict(), **rest})
        return
    for name, value in found.summary._asdict().items():
        if value not in (None, "", []):
            say(f"{name:16} {', '.join(value) if isinstance(value, list) else value}")
    if found.arguments is not None:
        say(f"\n{msgspec.json.format(msgspec.json.encode(found.arguments), indent=2).decode()}")
    else:
        say(f"\n{found.body.decode(errors='backslashreplace')}")
    if found.traceback:
        say(f"\n{found.traceback}")


def _retry(options: argparse.Namespace) -> int:
    wanted = _wanted(options)
    return 0 if wanted is None else ask(RetryFailures(wanted), options)


def _discard(options: argparse.Namespace) -> int:
    wanted = _wanted(options)
    return 0 if wanted is None else ask(DiscardFailures(wanted, options.reason), options)


def _wanted(options: argparse.Namespace) -> FailureFilter | None:
    """What is to be settled; None where it was only counted."""
    query = _query(options)
    given = {name: value for name, value in query._asdict().items() if value is not None}
    del given["state"]
    if bool(options.ids) == options.all_matching or (options.ids and given):
        raise ValueError("say which: ids, or filters with --all-matching")
    if options.ids:
        return FailureFilter(up_to_id=max(options.ids), ids=options.ids)
    matching, max_id = failures.count(query)
    if options.yes:
        return FailureFilter(up_to_id=max_id, **given)
    _say_matching(matching, as_json=options.json)
    return None


def _say_matching(matching: int, *, as_json: bool) -> None:
    answer: dict[str, Any] = {"matching": matching, "done": 0}
    if as_json:
        show_json(answer)
    else:
        say(f"Matching: {count(matching, 'failure')}. Nothing was done; --yes does it.")


def _first_line(text: str) -> str:
    return text.partition("\n")[0][:160]
