"""The `.env` that `make run` writes: added to, never changed."""

import stat
from pathlib import Path

import pytest

from deploy.local import env_file


def test_a_first_run_writes_every_setting_for_the_owner_only(tmp_path: Path) -> None:
    path = tmp_path / ".env"

    added = env_file.add_missing(path, {"API_KEY": "hf_abc", "PORT": "8000"})

    assert added == ["API_KEY", "PORT"]
    assert env_file.read(path) == {"API_KEY": "hf_abc", "PORT": "8000"}
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_what_is_there_is_kept_to_the_letter(tmp_path: Path) -> None:
    path = tmp_path / ".env"
    mine = "# mine\nexport PORT = 9000   # taken\nLOG='a b'"
    path.write_text(mine)

    added = env_file.add_missing(path, {"PORT": "8000", "API_KEY": "hf_abc"})

    assert added == ["API_KEY"]
    assert path.read_text() == f"{mine}\nAPI_KEY=hf_abc\n"
    assert env_file.read(path)["PORT"] == "9000"


def test_a_complete_file_is_not_touched(tmp_path: Path) -> None:
    path = tmp_path / ".env"
    path.write_text("PORT=8000\n")
    path.chmod(0o400)

    assert env_file.add_missing(path, {"PORT": "8001"}) == []
    assert path.read_text() == "PORT=8000\n"


@pytest.mark.parametrize(
    "value", ["postgresql://u:p@h:1/d?sslmode=require", "a b", "it's", "back\\slash", 'say "x" #1']
)
def test_any_value_is_read_back(tmp_path: Path, value: str) -> None:
    path = tmp_path / ".env"
    env_file.add_missing(path, {"VALUE": value})
    assert env_file.read(path) == {"VALUE": value}
