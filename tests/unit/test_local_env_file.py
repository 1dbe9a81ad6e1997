"""The `.env` that `make run` writes: added to, never changed."""

import stat
from pathlib import Path

import pytest

from config import SettingsError
from config.env_file import read
from deploy.local import env_file


def test_a_first_run_writes_every_setting_for_the_owner_only(tmp_path: Path) -> None:
    path = tmp_path / ".env"

    added = env_file.add_missing(path, {"API_KEY": "hf_abc", "PORT": "8000"})

    assert added == ["API_KEY", "PORT"]
    assert read(path) == {"API_KEY": "hf_abc", "PORT": "8000"}
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_what_is_there_is_kept_to_the_letter(tmp_path: Path) -> None:
    path = tmp_path / ".env"
    mine = "# mine\nPORT=9000\nLOG='a b'"
    path.write_text(mine)

    added = env_file.add_missing(path, {"PORT": "8000", "API_KEY": "hf_abc"})

    assert added == ["API_KEY"]
    assert path.read_text() == f"{mine}\nAPI_KEY=hf_abc\n"
    assert read(path)["PORT"] == "9000"


def test_a_complete_file_is_not_touched(tmp_path: Path) -> None:
    path = tmp_path / ".env"
    path.write_text("PORT=8000\n")
    path.chmod(0o400)

    assert env_file.add_missing(path, {"PORT": "8001"}) == []
    assert path.read_text() == "PORT=8000\n"


def test_a_value_that_no_line_could_say_to_all_readers_is_refused(tmp_path: Path) -> None:
    path = tmp_path / ".env"

    with pytest.raises(SettingsError, match=r"SECRET_KEY can't be written .*SECRET_KEY_FILE"):
        env_file.add_missing(path, {"SECRET_KEY": "it's ${HOME}"})

    assert not path.exists()
