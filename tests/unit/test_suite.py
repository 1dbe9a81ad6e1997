"""The suite itself: tests that share a system are not split over processes."""

import re
import subprocess
import sys

from tests.conftest import CHECKOUT


def test_a_file_stays_with_one_process() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "tests/unit/test_ids.py", "tests/unit/test_histograms.py",
         "-v", "--numprocesses", "2", "--dist", "loadgroup"],
        cwd=CHECKOUT, capture_output=True, text=True, check=False,
    )  # fmt: skip

    ran = re.findall(r"^\[(gw\d)\].* PASSED tests/unit/(\w+)\.py", done.stdout, re.MULTILINE)
    assert len(ran) > 20, done.stdout
    assert len(set(ran)) == 2
