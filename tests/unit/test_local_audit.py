"""What is known to be vulnerable fails; what nobody could look up is said, and is no all-clear."""

from typing import Any

import pytest

from deploy.local.audit import judge

SOUND: dict[str, Any] = {"name": "falcon", "version": "4.4.0", "vulns": []}
UNKNOWN = {"name": "pika", "skip_reason": "Dependency not found"}
VULNERABLE = {
    "name": "jinja2",
    "version": "2.0",
    "vulns": [{"id": "PYSEC-1", "fix_versions": ["3.1.6"]}, {"id": "X-2", "fix_versions": []}],
}


def test_a_vulnerable_package_fails_and_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert judge([SOUND, UNKNOWN, VULNERABLE]) == 1

    assert "jinja2 2.0: PYSEC-1 (fixed in: 3.1.6), X-2 (fixed in: no" in capsys.readouterr().out


def test_what_could_not_be_looked_up_is_said_and_does_not_fail(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert judge([SOUND, UNKNOWN]) == 0

    told = capsys.readouterr()
    assert "NOT AUDITED: 1 of 2 packages" in told.err
    assert "1 packages looked up, 0 of them vulnerable" in told.out


def test_where_all_is_sound_nothing_is_said_of_what_was_not_looked_up(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert judge([SOUND]) == 0

    assert "NOT AUDITED" not in capsys.readouterr().err
