"""A traceback as it is read: frames of our own are open, those of libraries folded."""

import re
from collections.abc import Iterator
from itertools import groupby
from pathlib import PurePath
from typing import Final, NamedTuple

_FRAME: Final = re.compile(r'  File "([^"]*)", line \d+')
_INSTALLED: Final = re.compile(
    r"/(?:site|dist)-packages/([^/]+)"
    r"|/lib/python3[^/]*/(?!(?:site|dist)-packages/)([^/]+)"
    r"|<(frozen)"
)


class Part(NamedTuple):
    """Some lines on end. libraries: whose frames they are; empty for what is to be read first."""

    text: str
    libraries: list[str]
    frames: int


def parts(traceback: str) -> list[Part]:
    """The parts of a traceback, in its order; together they are all of it."""
    found = []
    for folded, lines in groupby(_lines(traceback), key=lambda line: bool(line[1])):
        text, names, frames = "", dict[str, None](), 0
        for line, library in lines:
            text += line
            frames += _FRAME.match(line) is not None
            names |= {library: None} if library else {}
        found.append(Part(text, list(names) if folded else [], frames))
    return found


def _lines(traceback: str) -> Iterator[tuple[str, str]]:
    """(line, the library whose frame it belongs to, "" for any other line)"""
    library = ""
    for line in traceback.splitlines(keepends=True):
        if frame := _FRAME.match(line):
            library = _library(frame[1])
        elif not line.startswith("    "):
            library = ""
        yield line, library


def _library(path: str) -> str:
    """Whose file it is: a package or a module of Python's own; "" for ours."""
    installed = _INSTALLED.search(path.replace("\\", "/"))
    return PurePath(next(filter(None, installed.groups()))).stem if installed else ""
