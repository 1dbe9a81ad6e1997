"""The README's session does what it says, pasted as it stands."""

import os
import re
import shlex
import subprocess
from pathlib import Path

import holdfast
from tests.conftest import CHECKOUT, System


def test_the_session_in_the_readme_works_as_pasted(system: System, tmp_path: Path) -> None:
    # Given the .env that `make run` writes
    environment = system.environment
    (tmp_path / ".env").write_text(
        f"API_KEY={environment['API_KEY']}\nPORT={environment['PORT']}\n"
    )
    (session,) = re.findall(r"```sh\n(.*?)```", (CHECKOUT / "README.md").read_text(), re.DOTALL)

    # When the session is pasted into a shell
    shell = subprocess.run(
        ["sh", "-eu", "-c", session],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    # Then the order ships, and what is too much is refused
    assert shell.returncode == 0, shell.stderr + shell.stdout
    assert '"status":"shipped"' in shell.stdout
    assert '"type":"order.shipped"' in shell.stdout
    assert '"on_hand":3,"allocated":0,"available":3' in shell.stdout
    assert '"/problems/insufficient-stock"' in shell.stdout
    # Each answer is on a line of its own.
    assert "}{" not in shell.stdout
    assert shell.stdout.endswith("}\n")


def test_the_commands_in_the_readme_can_be_pasted() -> None:
    text = (CHECKOUT / "README.md").read_text().partition("## Operating it")[2]
    commands = re.findall(r"^    (holdfast .*)$", text, re.MULTILINE)

    assert len(commands) > 10
    for command in commands:
        arguments = shlex.split(command, comments=True)[1:]
        parser = holdfast._parser()
        parser.parse_args(["1" if word == "ID" else word for word in arguments])
