"""The units of deploy/systemd, by systemd-analyze."""

import subprocess
import tempfile
from pathlib import Path
from typing import Final

from config import ROOT
from deploy.check import Finding
from deploy.local import programs

UNITS: Final = ROOT / "deploy" / "systemd"
#: Where the units have the checkout.
INSTALLED: Final = "/opt/holdfast"


def check() -> None:
    """Raises Finding."""
    with tempfile.TemporaryDirectory() as name:
        # What they start has to be there, in this checkout as in theirs; its path may have a space.
        checkout = Path(name) / "checkout"
        checkout.symlink_to(ROOT)
        copies = []
        for unit in sorted(UNITS.glob("*.service")):
            copy = Path(name) / unit.name
            copy.write_text(unit.read_text().replace(INSTALLED, str(checkout)))
            copies.append(copy)
        verified(copies)


def verified(units: list[Path]) -> None:
    """Raises Finding with what systemd says of units."""
    done = subprocess.run(
        [programs.program("systemd-analyze"), "verify", "--man=no", *units],
        capture_output=True,
        text=True,
        check=False,
    )
    # It warns of a misspelt setting, and of units that others have.
    wrong = [line for line in done.stderr.splitlines() if "holdfast-" in line]
    if done.returncode or wrong:
        raise Finding("\n".join(wrong) or done.stderr)
