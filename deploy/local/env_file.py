"""The `.env` of a checkout: what is missing is added, what is there is never changed."""

import os
from collections.abc import Mapping
from pathlib import Path

from config import env_file

HEADER = """\
# Written by `make run`. Lines that are here stay as they are; missing ones are added.
# A variable of the environment wins over its line here.
"""


def add_missing(path: Path, settings: Mapping[str, str]) -> list[str]:
    """Append those settings that the file doesn't have; returns their names.

    Raises SettingsError for one that can't be written.
    """
    present = env_file.read(path)
    missing = {name: value for name, value in settings.items() if not present.get(name)}
    if missing:
        text = path.read_text() if path.exists() else HEADER
        separator = "" if text.endswith("\n") or not text else "\n"
        lines = "".join(
            f"{name}={env_file.quoted(name, value)}\n" for name, value in missing.items()
        )
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(text + separator + lines)
    return list(missing)
