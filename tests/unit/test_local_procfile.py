"""The Procfile, as `make run` reads it."""

import subprocess
from pathlib import Path

from deploy.local import procfile

ROOT = Path(__file__).resolve().parents[2]


def test_names_and_commands_in_the_order_of_the_file() -> None:
    text = "# roles\n\nweb: gunicorn app:app --bind :$PORT\nworker:  run --a ${B:-2}  \nnonsense\n"
    assert list(procfile.parse(text).items()) == [
        ("web", "gunicorn app:app --bind :$PORT"),
        ("worker", "run --a ${B:-2}"),
    ]


def test_ours_names_every_role() -> None:
    assert set(procfile.read(ROOT / "Procfile")) == {"release", "web", "worker", "clock"}


def test_a_command_may_use_variables_and_replaces_its_shell() -> None:
    argv = procfile.argv("echo ${ROLE:-worker} ${MISSING:-2}; echo never")
    done = subprocess.run(argv, env={"ROLE": "web"}, capture_output=True, text=True, check=True)
    assert done.stdout == "web 2\n"
