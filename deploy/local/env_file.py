"""The `.env` of a checkout: what is missing is added, what is there is never changed."""

import os
import re
from collections.abc import Mapping
from pathlib import Path

from dotenv import dotenv_values

HEADER = """\
# Written by `make run`. Lines that are here stay as they are; missing ones are added.
# A variable of the environment wins over its line here.
"""
NEEDS_NO_QUOTES = re.compile(r"[A-Za-z0-9_.:/@%+,=&?~-]*")


def read(path: Path) -> dict[str, str]:
    """The settings of the file, or none when there is no file."""
    values = dotenv_values(path) if path.exists() else {}
    return {name: value for name, value in values.items() if value}


def add_missing(path: Path, settings: Mapping[str, str]) -> list[str]:
    """Append those settings that the file doesn't have; returns their names."""
    present = dotenv_values(path) if path.exists() else {}
    missing = {name: value for name, value in settings.items() if not present.get(name)}
    if missing:
        text = path.read_text() if path.exists() else HEADER
        separator = "" if text.endswith("\n") or not text else "\n"
        lines = "".join(f"{name}={quoted(value)}\n" for name, value in missing.items())
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(text + separator + lines)
    return list(missing)


def quoted(value: str) -> str:
    """`value` as it is read back by dotenv and by a shell."""
    if NEEDS_NO_QUOTES.fullmatch(value):
        return value
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"
