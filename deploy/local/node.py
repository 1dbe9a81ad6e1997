"""npm's packages, as a lock says, below var/: for tests and checks; a run needs none of them."""

import fcntl
import shutil
import subprocess
from hashlib import sha256
from pathlib import Path

from config import ROOT
from deploy.local import programs

#: What a lock is made of and read with.
FILES = ("package.json", "package-lock.json", ".npmrc")


def packages(folder: Path, var: Path = ROOT / "var") -> Path:
    """The `node_modules` of a folder's lock, installed when it changed. Runs no package's scripts.

    Raises NotInstalledError where there is no npm, CalledProcessError where npm fails.
    """
    digest = sha256((folder / "package-lock.json").read_bytes()).hexdigest()[:16]
    place = var / "npm" / digest
    place.mkdir(parents=True, exist_ok=True)
    done = place / "done"
    with (place / "in-use").open("w") as only_one:
        fcntl.flock(only_one, fcntl.LOCK_EX)
        if not done.exists():
            for name in FILES:
                shutil.copy(folder / name, place)
            command = [str(programs.program("npm")), "ci", "--ignore-scripts", "--no-audit"]
            subprocess.run([*command, "--no-fund", "--loglevel=error"], cwd=place, check=True)
            done.touch()
    return place / "node_modules"
