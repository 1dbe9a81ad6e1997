"""Find Chromium on this machine, for the tests of the dashboard; a run of Holdfast needs none."""

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from deploy.local.install import NotInstalledError, apt_get_install

PACKAGE = "chromium"
#: The names it goes by, on the PATH or as an application.
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
APPLICATIONS = (
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
)
HOW_TO_INSTALL = """\
The dashboard's tests need Chromium, and can't install it here by themselves. One of these helps:
  - on Debian: sudo apt-get install chromium
  - on other systems: install Chromium or Google Chrome
  - set CHROMIUM to the path of the one that you have"""


def ensure_installed() -> Path:
    """Make sure of a browser; returns the path of its program."""
    found = find()
    if found:
        return found
    if os.geteuid() == 0 and shutil.which("apt-get"):
        try:
            apt_get_install([PACKAGE])
        except NotInstalledError as error:
            # Ubuntu has no such package.
            raise NotInstalledError(f"{error}\n{HOW_TO_INSTALL}") from None
    return chromium()


def chromium() -> Path:
    """The path of the browser. Raises NotInstalledError that says what to install."""
    found = find()
    if found is None:
        raise NotInstalledError(HOW_TO_INSTALL)
    return found


def find(environment: Mapping[str, str] = os.environ) -> Path | None:
    """The one that CHROMIUM names, else one of the machine's."""
    named = environment.get("CHROMIUM")
    if named:
        program = shutil.which(named)
        if program is None:
            raise NotInstalledError(f"CHROMIUM is {named}, which is no program that can be run.")
        return Path(program)
    on_path = (shutil.which(name) for name in NAMES)
    applications = (path for path in APPLICATIONS if os.access(path, os.X_OK))
    found = next((path for path in (*on_path, *applications) if path), None)
    return Path(found) if found else None
