"""The sentences of docs/api.md and of the OpenAPI document, and the tables of what holds them.

There is a table for each document: a sentence as it stands there, after `> `, and below it the
tests that hold it, as `folder/file::test`. Where a sentence promises nothing, a line in parentheses
says what it is instead.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

from tests.conftest import CHECKOUT

TESTS: Final = CHECKOUT / "tests"
#: Where one sentence ends and the next begins; not within the list of a SKU's characters.
_END: Final = re.compile(r"(?<=[.?!])(?<! [.])\s+(?=[\"A-Z`*(\[])")
_SPACE: Final = re.compile(r"\s+")


class Entry(NamedTuple):
    """A sentence of a document. held_by: tests, as `folder/file::test`; why_not: where none does,
    what the sentence is instead of a promise."""

    sentence: str
    held_by: tuple[str, ...]
    why_not: str


def sentences(paragraph: str) -> list[str]:
    """The sentences of a paragraph, each on one line."""
    return [part for part in _END.split(_SPACE.sub(" ", paragraph).strip()) if part]


def of_markdown(text: str) -> list[str]:
    """The sentences of a page, without its headings; a row of a table or a block of code is one."""
    found: list[str] = []
    for block in re.split(r"\n\s*\n", text):
        if block.startswith("    "):
            found.append(_SPACE.sub(" ", block).strip())
        elif block.startswith("|"):
            found += [row.strip() for row in block.splitlines()[2:]]
        elif not block.startswith("#"):
            for item in re.split(r"\n(?=- )", block):
                found += sentences(item.removeprefix("- "))
    return found


def of_openapi(document: Any) -> list[str]:
    """The sentences of all summaries and descriptions, each once."""
    return list(dict.fromkeys(part for text in _descriptions(document) for part in sentences(text)))


def _descriptions(part: Any) -> Iterator[str]:
    if isinstance(part, list):
        for inner in part:
            yield from _descriptions(inner)
    elif isinstance(part, dict):
        for key, inner in part.items():
            if key in ("description", "summary") and isinstance(inner, str):
                yield from inner.split("\n\n")
            # What an example shows is shown by the types that it is made of.
            elif key not in ("example", "examples"):
                yield from _descriptions(inner)


def read_table(path: Path) -> list[Entry]:
    """A table of sentences and what holds them."""
    entries = []
    for block in re.split(r"\n(?=> )", path.read_text(encoding="utf-8")):
        first, *rest = [line.strip() for line in block.splitlines() if line.strip()]
        if first.startswith("> "):
            tests = tuple(line for line in rest if not line.startswith("("))
            why_not = " ".join(line for line in rest if line.startswith("("))
            entries.append(Entry(first.removeprefix("> "), tests, why_not))
    return entries


def is_test(name: str) -> bool:
    """Whether there is a test of that name, as `folder/file::test`."""
    path, _, function = name.partition("::")
    file = TESTS / path
    return file.is_file() and function in _tests(file)


def _tests(file: Path) -> set[str]:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    functions = (node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))
    return {name for name in functions if name.startswith("test_")}
