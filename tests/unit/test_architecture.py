"""The layers of the code: data flows one way through them."""

import re
import subprocess
import sys
from pathlib import Path

from tests.conftest import CHECKOUT


def test_imports_keep_the_layers() -> None:
    linted = subprocess.run(
        [str(Path(sys.executable).parent / "lint-imports"), "--no-cache"],
        cwd=CHECKOUT, capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert linted.returncode == 0, linted.stdout
    assert "0 broken" in linted.stdout


def test_the_front_door_can_be_imported_without_the_actors() -> None:
    script = "import sys, web.app; print([m for m in sys.modules if m.startswith('actors.')])"
    ran = subprocess.run(
        [sys.executable, "-c", script], cwd=CHECKOUT, capture_output=True, text=True, check=True
    )

    for module in ("actors.moves", "actors.placing", "actors.inventory", "actors.main"):
        assert f"'{module}'" not in ran.stdout


def test_the_rules_import_nothing_but_the_standard_library_and_each_other() -> None:
    script = (
        "import sys; before = set(sys.modules); "
        "import models.rules.allocation, models.rules.order_status, models.rules.refusals; "
        "print([m for m in set(sys.modules) - before "
        "if m.split('.')[0] not in sys.stdlib_module_names and not m.startswith('models')])"
    )
    ran = subprocess.run(
        [sys.executable, "-c", script], cwd=CHECKOUT, capture_output=True, text=True, check=True
    )

    assert ran.stdout.strip() == "[]"


def test_what_is_said_to_hold_a_trap_shut_is_there() -> None:
    text = (CHECKOUT / "docs" / "reliability.md").read_text()
    named = re.findall(r"`(tests/[a-z0-9_/]+\.py)::(test_[a-z0-9_]+)`", text)

    assert len(named) > 20
    for file, test in named:
        assert f"def {test}(" in (CHECKOUT / file).read_text(), f"{file}::{test}"
    for file in re.findall(r"`((?:actors|models|web|deploy)/[a-z_/]+\.py)`", text):
        assert (CHECKOUT / file).is_file(), file


def test_what_is_kept_is_stamped_by_the_clock_of_the_database() -> None:
    """This machine's may be months ahead, and its months would be made."""
    asked = re.compile(r"datetime\.now|date\.today|utcnow|time\.time\(|[( ]time\(\)")
    # Three compare the clocks, the other shows times to people.
    others = {"host_clock.py", "session.py", "server.py", "formatting.py"}
    sources = [file for file in CHECKOUT.glob("models/**/*.py") if file.name not in others]

    assert [file.name for file in sources if asked.search(file.read_text())] == []
