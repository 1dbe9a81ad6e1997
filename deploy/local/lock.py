"""Write the lock files, or check that they are what pyproject.toml asks for (`--check`)."""

import difflib
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

# The others take the versions of requirements.txt: one environment can hold all.
LOCKS = {
    "requirements.txt": [],
    # Of the image, which has every extra: what a setting needs is there.
    "requirements-extras.txt": ["--all-extras", "--constraints", "requirements.txt"],
    "requirements-dev.txt": ["--group", "dev", "--constraints", "requirements.txt"],
    "requirements-fuzz.txt": ["--group", "fuzz", "--constraints", "requirements.txt"],
}


def main() -> int:
    arguments = sys.argv[1:]
    if "--check" not in arguments:
        for lock, options in LOCKS.items():
            compile_lock(Path(lock), [*options, *arguments])
        return 0
    outdated = [lock for lock, options in LOCKS.items() if not is_current(Path(lock), options)]
    if outdated:
        print(f"Not current: {', '.join(outdated)}. `make lock` writes them anew.")
    return 1 if outdated else 0


def compile_lock(lock: Path, options: list[str]) -> None:
    """Resolve for every platform; versions that `lock` has already are kept where they fit."""
    uv = str(Path(sysconfig.get_path("scripts")) / "uv")
    command = [uv, "pip", "compile", "pyproject.toml", "--quiet", "--universal"]
    command += ["--python-version", "3.11", "--generate-hashes"]
    command += ["--custom-compile-command", "make lock", "--output-file", str(lock)]
    subprocess.run([*command, *options], check=True, stdout=subprocess.DEVNULL)


def is_current(lock: Path, options: list[str]) -> bool:
    """Whether compiling anew changes nothing; a newer release elsewhere is no change."""
    if not lock.exists():
        return False
    with tempfile.TemporaryDirectory() as folder:
        again = Path(folder) / lock.name
        again.write_text(lock.read_text())
        compile_lock(again, options)
        before, after = versions(lock), versions(again)
    sys.stdout.writelines(f"{line}\n" for line in difflib.unified_diff(before, after, n=0))
    return before == after


def versions(lock: Path) -> list[str]:
    """The pinned versions without their hashes: a file that joins an old release changes these."""
    lines = (line.strip() for line in lock.read_text().splitlines())
    return [line.rstrip(" \\") for line in lines if line and not line.startswith(("#", "--hash"))]


if __name__ == "__main__":
    sys.exit(main())
