"""How `holdfast` ends, whatever becomes of its output: no task shows a traceback."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from actors.terminal import ending
from actors.terminal.output import say, show_json
from tests.conftest import CHECKOUT

ASCII = {"PYTHONIOENCODING": "ascii", "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


def play(body: str, *arguments: str, shell: str = "", **variables: str) -> tuple[int, str, str]:
    """Run a task's body in a process; returns its code, output and errors.

    shell: what follows it on the line.
    """
    code = "\n".join([
        "import sys", "from actors.terminal import ending",
        "from actors.terminal.output import say, show_json",
        "def run():", *(f"    {line}" for line in body.splitlines()), "    return 0",
        "sys.exit(ending.run(run))",
    ])  # fmt: skip
    script = 'set -o pipefail; "$0" -c "$1" "${@:2}" ' + shell
    ran = subprocess.run(
        ["bash", "-c", script, sys.executable, code, *arguments],
        cwd=CHECKOUT, env={"PATH": os.environ["PATH"], **variables}, capture_output=True, text=True,
        timeout=60, check=False,
    )  # fmt: skip
    return ran.returncode, ran.stdout, ran.stderr


def test_a_terminal_in_ascii_gets_escapes_and_json_its_own() -> None:
    body = r"say('Zo\xeb \U0001f642'); show_json({'name': 'Zo\xeb \U0001f642'})"

    code, output, errors = play(body, **ASCII)

    first, _, document = output.partition("\n")
    assert (code, first, errors) == (0, r"Zo\xeb \U0001f642", "")
    assert json.loads(document) == {"name": "Zoë 🙂"}
    assert r"\ud83d" in document


def test_arguments_are_utf_8_in_a_terminal_in_ascii() -> None:
    body = "[name] = ending.words(sys.argv[1:]); print(ascii(name)); assert name.encode()"

    assert play(body, "Zoë", **ASCII) == (0, "'Zo\\xeb'\n", "")
    code, output, errors = play(body, os.fsdecode(b"Zo\xeb"), **ASCII)
    assert (code, output) == (2, "")
    assert errors.startswith("holdfast: an argument is neither UTF-8")


@pytest.mark.parametrize("lines", [3, 100_000])
def test_a_reader_that_leaves_early_is_met_with_silence(lines: int) -> None:
    body = f"for n in range({lines}): say(str(n))\nimport time; time.sleep(0.3)"

    code, output, errors = play(body, shell="| head -1")

    assert (output, errors) == ("0\n", "")
    # As the shell has it of a program that the signal of a broken pipe ended.
    assert code in (0, ending.NOBODY_READS)
    if lines > 3:
        assert code == ending.NOBODY_READS


@pytest.mark.parametrize("lines", [1, 100_000])
def test_a_full_disk_is_said_in_a_line(lines: int) -> None:
    code, _, errors = play(f"for n in range({lines}): say('x')", shell="> /dev/full")

    assert (code, errors) == (
        1,
        "holdfast: the output can't be written: No space left on device\n",
    )


def test_an_error_that_can_not_be_said_still_has_its_code() -> None:
    assert play("return ending.complain('It failed.', 3)", shell="2> /dev/full") == (3, "", "")


def test_ctrl_c_is_quiet() -> None:
    interrupted = "import os\n{}os.kill(os.getpid(), 2)"

    # By the signal itself, as a shell tells it, or by the code.
    assert play(interrupted.format(""), shell="; exit $?") == (130, "", "")
    assert play(interrupted.format("with ending.interruptible(): ")) == (130, "", "")


def test_what_argparse_says_has_its_code(capsys: pytest.CaptureFixture[str]) -> None:
    def leave(code: int | str | None) -> Callable[[], int]:
        return lambda: sys.exit(code)

    assert [ending.run(leave(code)) for code in (None, 0, 2, "text")] == [0, 0, 2, 1]


def test_a_file_that_can_not_be_opened_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ending.run(lambda: len((tmp_path / "none").read_text())) == 1
    assert capsys.readouterr().err == f"holdfast: {tmp_path}/none: No such file or directory\n"


def test_json_is_as_it_was(capsys: pytest.CaptureFixture[str]) -> None:
    say("a\x1bb")
    show_json({"n": [1, 2.5, None, True], "text": "Zoë"})

    assert capsys.readouterr().out == (
        'a?b\n{\n  "n": [\n    1,\n    2.5,\n    null,\n    true\n  ],\n  "text": "Zoë"\n}\n'
    )
