"""`.env`: read as sh, systemd, compose and python-dotenv read it; all else is refused."""

import re
import subprocess
from pathlib import Path

import pytest
from dotenv import dotenv_values

from config import SettingsError
from config.env_file import quoted, read

VALUES = {
    "PLAIN": "postgresql://u:p@h:1/d?sslmode=require",
    "EMPTY": "",
    "SPACES": "my shop",
    "DOLLAR": "x${HOME}y$(id)`id`",
    "HASH": "abc #123",
    "SEVERAL": "amqp://a/v;amqp://b/v?x=1&y=2",
    "QUOTE": "it's",
    "QUOTES": 'say "x"',
    "STARS": "~ * ! (a) {b} [c] | < >",
    "LETTERS": "Zoë",
}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """What `make run` would write."""
    path = tmp_path / ".env"
    lines = (f"{name}={quoted(name, value)}\n" for name, value in VALUES.items())
    path.write_text("# ours\n\n" + "".join(lines), encoding="utf-8")
    return path


def by_sh(path: Path) -> dict[str, str | None]:
    script = 'set -a; . "$1"; for name in ' + " ".join(VALUES) + "; do"
    script += ' eval "printf \'%s\\0\' \\"\\$$name\\""; done'
    done = subprocess.run(
        ["/bin/sh", "-c", script, "sh", path], capture_output=True, check=True, env={"HOME": "/no"}
    )
    return dict(zip(VALUES, done.stdout.decode().split("\0"), strict=False))


def by_systemd(path: Path) -> dict[str, str | None]:
    """By the rules of EnvironmentFile= in systemd.exec(5): quotes as in a shell, no variables, no
    comment behind a value. (systemd itself can't be started here.)"""
    found: dict[str, str | None] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.strip() or line.lstrip()[0] in "#;":
            continue
        name, _, value = line.partition("=")
        pieces = re.findall(r"""'([^']*)'|"((?:[^"\\]|\\.)*)"|((?:[^'"\\]|\\.)+)""", value.strip())
        texts = (
            single or re.sub(r"\\(.)", r"\1", double or bare) for single, double, bare in pieces
        )
        found[name] = "".join(texts)
    return found


@pytest.mark.parametrize(
    "reader", [read, by_sh, by_systemd, lambda path: dotenv_values(path, interpolate=False)]
)
def test_what_is_written_is_read_alike_by_all(file: Path, reader: object) -> None:
    assert callable(reader)
    assert reader(file) == VALUES


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("SECRET_KEY=hunter2${A}y", "single quotes"),
        ('SECRET_KEY="hunter2${A}y"', "single quotes"),
        ("SECRET_KEY=hunter2 #123", "single quotes"),
        ("SECRET_KEY='hunter2' # mine", "single quotes"),
        ("SECRET_KEY=hunter2 # mine", "single quotes"),
        ("SECRET_KEY=hunter\\2", "single quotes"),
        ("SECRET_KEY='hunter\\2'", "single quotes"),
        ("SECRET_KEY='hunter2", "single quotes"),
        ("SECRET_KEY='hunter2'x", "single quotes"),
        ("SECRET_KEY=hunter2 x", "single quotes"),
        ("SECRET_KEY=~/hunter2", "single quotes"),
        ("SECRET_KEY=hunter2&x", "single quotes"),
        ("SECRET_KEY='hunter2\u200b'", "single quotes"),
        ("SECRET_KEY= hunter2", "single quotes"),
        ("SECRET_KEY = hunter2", "NAME=value"),
        (" SECRET_KEY=hunter2", "NAME=value"),
        ("export SECRET_KEY=hunter2", "export"),
        ("SECRET_KEY=hunter2\r", "CR LF"),
        ("SECRET_KEY: hunter2", "NAME=value"),
        ("SECRET_KEY", "NAME=value"),
    ],
)
def test_what_readers_disagree_on_is_refused_by_line_and_name(
    tmp_path: Path, line: str, reason: str
) -> None:
    path = tmp_path / ".env"
    path.write_bytes(f"# ours\n{line}\n".encode())

    with pytest.raises(SettingsError, match=rf"\.env, line 2 \(SECRET_KEY\): .*{reason}") as caught:
        read(path)

    assert "hunter" not in str(caught.value)


def test_a_byte_order_mark_another_encoding_and_a_folder_are_named(tmp_path: Path) -> None:
    path = tmp_path / ".env"
    for content, reason in (
        (b"\xef\xbb\xbfPORT=1\n", "byte order mark"),
        ("PORT=1\n".encode("utf-16"), "not UTF-8"),
    ):
        path.write_bytes(content)
        with pytest.raises(SettingsError, match=reason):
            read(path)
    with pytest.raises(SettingsError, match="can't be read: Is a directory"):
        read(tmp_path)


def test_no_file_is_no_settings_and_the_last_of_two_lines_counts(tmp_path: Path) -> None:
    path = tmp_path / ".env"
    assert read(path) == {}

    path.write_text("PORT=\nPORT=1\nPORT=2\t")

    assert read(path) == {"PORT": "2"}


def test_a_backslash_a_line_break_and_quotes_of_both_kinds_can_not_be_written() -> None:
    for value in ("back\\slash", "two\nlines", "it's $x", 'it\'s "x"'):
        with pytest.raises(SettingsError, match="API_KEY can't be written"):
            quoted("API_KEY", value)
