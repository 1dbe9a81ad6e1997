"""Programs of Debian 13 (trixie) on an older Debian, unpacked into a folder: nothing is installed.

They need a newer C library than the machine has. So `inside()` lets a command see the folder's
`/usr` in the place of the machine's, in a mount namespace that only it and its children are in;
all else, the command's own files first, stays where it is.
"""

import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from deploy.local.errors import CannotRunError

RELEASE = "trixie"
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
NEEDED = ("apt-get", "dpkg-deb", "unshare")


def inside(folder: Path) -> list[str]:
    """What to put before a command, so that it runs with the programs unpacked into `folder`."""
    # Only root may mount; others are root in a user namespace of their own.
    user = ["--map-root-user"] if os.geteuid() else []
    enter = 'mount --bind "$0" /usr && exec "$@"'
    return ["unshare", "--mount", *user, "sh", "-c", enter, str(folder / "usr")]


def unpack(packages: Sequence[str], folder: Path) -> None:
    """Unpack packages, with all that they need down to the C library, into a new `folder`.

    It appears whole or not at all.
    """
    missing = [program for program in NEEDED if not shutil.which(program)]
    if missing:
        raise CannotRunError(f"Programs of Debian 13 need {', '.join(missing)} of Debian.")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f"{folder.name}.", dir=folder.parent) as temporary:
        apt, unpacked = Path(temporary, "apt"), Path(temporary, "unpacked")
        for package in _download(packages, apt):
            _run("dpkg-deb", "--extract", str(package), str(unpacked))
        unpacked.rename(folder)


def _download(packages: Sequence[str], apt: Path) -> list[Path]:
    """The package files, by an apt whose state lies below `apt`."""
    for name in ("lists/partial", "archives/partial"):
        (apt / name).mkdir(parents=True)
    sources = apt / "sources.list"
    sources.write_text(f"deb [signed-by={KEYRING}] {_mirror()} {RELEASE} main\n")
    status = apt / "status"
    status.touch()
    settings = {
        "Dir::State": apt,
        # Nothing counts as installed: the C library comes too. apt makes its locks beside it.
        "Dir::State::status": status,
        "Dir::Cache": apt,
        "Dir::Etc::sourcelist": sources,
        "Dir::Etc::sourceparts": os.devnull,
        "Acquire::Languages": "none",
        "Acquire::Retries": "3",
        # Its own user could not write here.
        "APT::Sandbox::User": "root",
    }
    options = [f"--option={name}={value}" for name, value in settings.items()]
    _run("apt-get", *options, "update")
    # Packages don't name the essential ones they need, such as a shell.
    wanted = ["--yes", "--no-install-recommends", "--download-only", "?essential", *packages]
    _run("apt-get", *options, "install", *wanted)
    return sorted((apt / "archives").glob("*.deb"))


def _mirror() -> str:
    """Where this machine has its own Debian from."""
    codename = platform.freedesktop_os_release().get("VERSION_CODENAME", "")
    shown = "--format=$(REPO_URI) $(RELEASE) $(COMPONENT)"
    listed = _run("apt-get", "indextargets", shown, "Created-By: Packages")
    for line in listed.splitlines():
        address, _, source = line.partition(" ")
        if source == f"{codename} main":
            return address
    raise CannotRunError(f"apt knows no source of Debian's own packages ({codename} main).")


def _run(*command: str) -> str:
    """What a command prints; raises CannotRunError with it if the command fails."""
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    if done.returncode:
        raise CannotRunError(f"{' '.join(command)} failed:\n{done.stdout}")
    return done.stdout
