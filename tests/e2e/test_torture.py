"""The short torture: every fault once, from a fixed seed; `make torture` is the long one."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import CHECKOUT

SEED = 4


@pytest.mark.timeout(420)
def test_every_fault_once_and_every_promise_holds(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.torture", f"--seed={SEED}", f"--folder={tmp_path}"],
        cwd=CHECKOUT, capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert done.returncode == 0, done.stdout[-6_000:] + done.stderr
    assert done.stdout.rstrip().endswith("Every promise held.")
