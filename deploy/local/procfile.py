"""The Procfile: the one list of Holdfast's processes, on a laptop and on a platform alike."""

import re
from pathlib import Path

LINE = re.compile(r"(?P<name>[A-Za-z0-9_-]+)\s*:\s*(?P<command>\S.*)")


def read(path: Path) -> dict[str, str]:
    """Name and command of each process, in the order of the file."""
    return parse(path.read_text())


def parse(text: str) -> dict[str, str]:
    lines = (line.strip() for line in text.splitlines())
    found = (LINE.fullmatch(line) for line in lines if not line.startswith("#"))
    return {match["name"]: match["command"].rstrip() for match in found if match}


def argv(command: str) -> list[str]:
    """How a platform runs a command: by a shell, which the program then replaces."""
    return ["/bin/sh", "-c", f"exec {command}"]
