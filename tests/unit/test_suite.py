"""The suite itself: what shares a system is not split over processes, and any machine will do."""

import ast
import math
from collections.abc import Iterator, Mapping
from functools import cache, partial
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.conftest import CHECKOUT, FIRST, SHARED, pytest_collection_modifyitems

CLOCKS = {"monotonic", "perf_counter", "time"}
#: An assertion that something takes less is one about the machine.
SECONDS_MIN = 10
#: Where a time itself is what is tested, or nothing shows that something does not happen.
SLEEPS = [
    "cluster/test_gateway.py",  # a client drips
    "cluster/test_gateway.py",  # a halted process can't say that a request has come
    "cluster/test_postgres_failover.py",  # of what must not happen there is no sign
    "cluster/test_postgres_failover.py",
    "cluster/test_replicas.py",  # disturbances take their turns
    "cluster/test_replicas.py",  # a lag has to grow
    "stock/pika_idle_connection.py",  # traps of other libraries, which no test of ours runs
    "stock/trap_05_time_limit.py",
    "stock/trap_10_consumer_timeout.py",
]
FILES = sorted((CHECKOUT / "tests").rglob("*.py"))


class Item(NamedTuple):
    """What pytest knows of a test, as far as it is asked."""

    path: Path
    marks: list[pytest.Mark]

    def get_closest_marker(self, name: str) -> pytest.Mark | None:
        return next(self.iter_markers(name), None)

    def iter_markers(self, name: str) -> Iterator[pytest.Mark]:
        return (mark for mark in self.marks if mark.name == name)

    def add_marker(self, mark: pytest.MarkDecorator) -> None:
        self.marks.append(mark.mark)


def test_a_file_stays_with_one_process_and_who_share_a_system_with_each_other() -> None:
    paths = ["unit/test_b.py", "unit/test_a.py", "browser/test_y.py", "unit/test_b.py",
             "browser/test_x.py", "torture/test_torture.py"]  # fmt: skip
    items = [Item(CHECKOUT / "tests" / path, []) for path in paths]
    items[-1].add_marker(pytest.mark.xdist_group(FIRST[0]))

    pytest_collection_modifyitems(items)  # type: ignore[arg-type]

    groups = [(item.path.stem, mark.args[0]) for item in items for mark in item.marks]
    assert groups == [
        ("test_torture", FIRST[0]), ("test_y", "browser"), ("test_x", "browser"),
        ("test_b", "test_b"), ("test_a", "test_a"), ("test_b", "test_b"),
    ]  # fmt: skip


def test_all_files_that_use_the_desk_are_in_its_group() -> None:
    """Another process would start another."""
    users = {
        path.stem
        for path in FILES
        for node in ast.walk(parsed(path.read_text()))
        if isinstance(node, ast.FunctionDef) and path.stem.startswith("test_")
        and "desk" in {argument.arg for argument in node.args.args}
    }  # fmt: skip

    assert users
    assert {name for name in users if SHARED.get(name) != "desk"} == set()


def test_nothing_is_asserted_of_a_short_time() -> None:
    """Compare with something measured beside it, or leave ten times the room that it needs."""
    places = [
        f"{path.relative_to(CHECKOUT)}:{line}"
        for path in FILES
        for line in short_times(path.read_text())
    ]

    assert places == []


@cache
def parsed(source: str) -> ast.Module:
    return ast.parse(source)


def short_times(source: str) -> Iterator[int]:
    """Lines that expect an elapsed time, or a condition, within fewer than SECONDS_MIN."""
    tree = parsed(source)
    measured = {
        target.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign) and _is_elapsed(node.value)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    seconds = partial(_seconds, known=_constants(tree))
    for node in ast.walk(tree):
        if isinstance(node, ast.keyword) and node.arg == "within_s":
            yield from [node.value.lineno] * (seconds(node.value) < SECONDS_MIN)
        elif isinstance(node, ast.Assert) and isinstance(node.test, ast.Compare):
            sides = [node.test.left, *node.test.comparators]
            for smaller, operator, larger in zip(sides, node.test.ops, sides[1:], strict=False):
                known = isinstance(smaller, ast.Name) and smaller.id in measured
                if isinstance(operator, ast.Lt | ast.LtE) and (known or _is_elapsed(smaller)):
                    yield from [node.lineno] * (seconds(larger) < SECONDS_MIN)


def sleeps(source: str) -> Iterator[int]:
    """Lines that wait for a time to pass."""
    for node in ast.walk(parsed(source)):
        if isinstance(node, ast.Call) and ast.unparse(node.func) in {"time.sleep", "sleep"}:
            yield node.lineno


def _is_elapsed(node: ast.AST) -> bool:
    """Whether it is like `time.monotonic() - began`, or the median of some."""
    if isinstance(node, ast.Call):
        return ast.unparse(node.func) in {"median", "statistics.median"}
    if not (isinstance(node, ast.BinOp) and isinstance(node.op, ast.Sub)):
        return False
    call = node.left
    return isinstance(call, ast.Call) and ast.unparse(call.func).rpartition(".")[2] in CLOCKS


def _seconds(node: ast.expr, known: Mapping[str, float]) -> float:
    """What an expression of numbers and constants comes to; endless where it is measured."""
    try:
        return float(eval(ast.unparse(node), {"__builtins__": {}}, dict(known)))
    except (NameError, AttributeError, TypeError, ValueError):
        return math.inf


def _constants(tree: ast.Module) -> dict[str, float]:
    """A module's own constants and those that it imports from ours, by name."""
    known: dict[str, float] = {}
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant):
            known |= {ast.unparse(target): node.value.value for target in node.targets}  # type: ignore[misc]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [each.name for each in node.names if each.name.isupper()]
            module = import_module(node.module) if names else None
            known |= {name: getattr(module, name) for name in names}
    return known


def test_nothing_is_slept_over() -> None:
    """Wait for what is to happen (`eventually`); where nothing tells of it, say so above."""
    places = [
        str(path.relative_to(CHECKOUT / "tests"))
        for path in FILES
        for _ in sleeps(path.read_text())
    ]

    assert sorted(places) == sorted(SLEEPS)


@pytest.mark.parametrize(
    ("line", "is_short"),
    [("assert time.monotonic() - began < 2", True),
     ("took_s = perf_counter() - began\nassert 0.9 < took_s < 3", True),
     ("eventually(done, within_s=5)", True),
     ("assert median(took_s) < 2", True),
     ("WAIT_S = 4\nassert median(took_s) < WAIT_S / 2", True),
     ("from web.app import READ_TIMEOUT_MS\nassert median(took_s) < READ_TIMEOUT_MS / 2_000", True),
     ("assert median(took_s) < first_s / 2", False),
     ("assert time.monotonic() - began < 10", False),
     ("assert time.monotonic() - began > 0.9", False),
     ("while time.monotonic() - began < 3: pass", False)],
)  # fmt: skip
def test_a_short_time_is_known_by_its_looks(line: str, is_short: bool) -> None:
    assert bool(list(short_times(line))) == is_short


def test_what_takes_longest_is_still_there() -> None:
    groups = {path.stem for path in FILES} | set(SHARED.values())
    assert {group for group in FIRST if not group.startswith("torture ")} <= groups
