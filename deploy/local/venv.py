"""Make the virtual environment hold what a lock says: `python3 -m deploy.local.venv VENV LOCK`.

Runs on the machine's own Python, with nothing installed. Does nothing when nothing has changed.
"""

import fcntl
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Collection
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path

from deploy.local.console import say, step
from deploy.local.install import NotInstalledError, apt_get_install

IN_USE = "in-use"


def main() -> int:
    venv, lock = Path(sys.argv[1]), Path(sys.argv[2])
    venv.mkdir(parents=True, exist_ok=True)
    with (venv / IN_USE).open("w") as only_one:
        fcntl.flock(only_one, fcntl.LOCK_EX)
        try:
            ensure(venv, lock)
        except (NotInstalledError, subprocess.CalledProcessError) as error:
            say(f"\n{error}")
            return 1
    return 0


def ensure(venv: Path, lock: Path) -> None:
    """Create the environment, or bring it to the lock's versions."""
    made_for = venv / "made-for"
    if (venv / "pyvenv.cfg").exists() and not made_for.exists():
        say(f"  ✓  {venv} was not made by Holdfast and is used as it is")
        return
    if not made_for.exists() or made_for.read_text() != identity(venv):
        made_for.write_text("")
        with step(f"virtual environment {venv}, Python {sys.version.split()[0]}"):
            create(venv, keep=(made_for.name, IN_USE))
        made_for.write_text(identity(venv))
    write_command(venv)
    stamp = venv / f"{lock.stem}.sha256"
    digest = sha256(lock.read_bytes()).hexdigest()
    if stamp.exists() and stamp.read_text() == digest:
        return
    with step(f"packages of {lock} (the first time takes half a minute)"):
        install(venv, lock)
    stamp.write_text(digest)


def identity(venv: Path) -> str:
    """What an environment is bound to: its scripts name its place, its packages the version."""
    return f"{venv.resolve()} {sys.version}"


def create(venv: Path, keep: Collection[str]) -> None:
    """Make it anew; what an older one left behind goes."""
    ensure_pip()
    for stale in [path for path in venv.iterdir() if path.name not in keep]:
        if stale.is_dir() and not stale.is_symlink():
            shutil.rmtree(stale)
        else:
            stale.unlink()
    subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True)


def ensure_pip() -> None:
    """Debian has what makes environments in a package of its own."""
    if find_spec("ensurepip"):
        return
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise NotInstalledError(
            "This Python can't make virtual environments: install `python3-venv` "
            "(sudo apt-get install python3-venv)."
        )
    major, minor = sys.version_info[:2]
    apt_get_install([f"python{major}.{minor}-venv"])


def write_command(venv: Path) -> None:
    """Put `holdfast` beside the environment's python; it runs from any folder."""
    script = Path(__file__).resolve().parents[2] / "holdfast.py"
    if venv.resolve().parent != script.parent:
        return  # another checkout's, borrowed
    python = venv.resolve() / "bin" / "python"
    command = venv / "bin" / "holdfast"
    text = f'#!/bin/sh\nexec {shlex.quote(str(python))} {shlex.quote(str(script))} "$@"\n'
    if not command.exists() or command.read_text() != text:
        command.write_text(text)
        command.chmod(0o755)


def install(venv: Path, lock: Path) -> None:
    """Every package by its hash; the lock is whole, so that pip resolves nothing."""
    pip = [str(venv / "bin" / "python"), "-m", "pip", "install", "-qq"]
    options = ["--disable-pip-version-check", "--require-hashes", "--no-deps"]
    subprocess.run([*pip, *options, "--requirement", str(lock)], check=True)


if __name__ == "__main__":
    sys.exit(main())
