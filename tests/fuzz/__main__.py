"""`make fuzz`: atheris on each decoder in turn, then odd input to running processes."""

import os
import secrets
import subprocess
import sys
import time
from pathlib import Path

from tests.fuzz.decoders import HARNESSES

FOUND = Path("var/fuzz")
LIVE = ("tests/e2e/test_fuzz_envelopes.py", "tests/e2e/test_fuzz_intake.py")


def main() -> int:
    minutes, python = sys.argv[1:]
    seconds = max(1, int(float(minutes) * 60 / (len(HARNESSES) + len(LIVE))))
    FOUND.mkdir(parents=True, exist_ok=True)
    broken = [name for name in HARNESSES if not holds(name, seconds, python)]
    for name in broken:
        for found in sorted(FOUND.glob(f"{name}-*")):
            print(f"{name} breaks; to see it again: python -m tests.fuzz.decoders {name} {found}")
    print(f"{len(HARNESSES)} decoders, {seconds} s each: {len(broken)} of them break")
    return 1 if not stands(seconds * len(LIVE)) or broken else 0


def holds(name: str, seconds: int, python: str) -> bool:
    """Whether nothing was found that breaks a decoder."""
    print(f"--- {name}", flush=True)
    command = [python, "-m", "tests.fuzz.decoders", name, str(seconds)]
    return (
        subprocess.run(command, check=False, env={**os.environ, "FOUND": str(FOUND)}).returncode
        == 0
    )


def stands(seconds: int) -> bool:
    """Whether running processes stand whatever they are sent; with other seeds until time is up."""
    until = time.monotonic() + seconds
    while True:
        command = [
            "-m",
            "pytest",
            "--quiet",
            *LIVE,
            f"--hypothesis-seed={secrets.randbelow(2**32)}",
        ]
        print("--- HOLDFAST_FUZZ=search python", *command, flush=True)
        environment = {**os.environ, "HOLDFAST_FUZZ": "search"}
        if subprocess.run([sys.executable, *command], check=False, env=environment).returncode:
            return False
        if time.monotonic() > until:
            return True


if __name__ == "__main__":
    sys.exit(main())
