"""Plain words and JSON for people and programs. Only results go to standard output."""

import json
import sys
from typing import Any

import msgspec


def say(text: str = "") -> None:
    """A line of the result. What a message carried must not drive the terminal."""
    sys.stdout.write("".join(c if c.isprintable() or c in "\n\t" else "?" for c in text) + "\n")


def in_line(text: str) -> str:
    """A value within a line, which it may not break."""
    return "".join(c if c.isprintable() else "?" for c in text)


def show_json(value: Any) -> None:
    """The result as one JSON document."""
    # JSON has escapes of its own for what a terminal can't show.
    ascii_only = (sys.stdout.encoding or "").lower().replace("-", "") != "utf8"
    text = json.dumps(msgspec.to_builtins(value), indent=2, ensure_ascii=ascii_only)
    sys.stdout.write(text + "\n")


def count(number: int, noun: str) -> str:
    """`1 failure`, `2,000 failures`"""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def progress(text: str) -> None:
    """Overwrites the last such line; nothing where nobody looks."""
    if sys.stderr.isatty():
        sys.stderr.write(f"\r\x1b[K{text}")
        sys.stderr.flush()
