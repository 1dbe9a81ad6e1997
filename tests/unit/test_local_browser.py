"""Where the browser for the dashboard's tests comes from."""

from pathlib import Path

import pytest

from deploy.local import browser
from deploy.local.install import NotInstalledError


@pytest.fixture
def no_chromium(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(browser, "NAMES", ("chromium-that-is-not-there",))
    monkeypatch.setattr(browser, "APPLICATIONS", ())
    monkeypatch.delenv("CHROMIUM", raising=False)


def test_the_one_that_is_named_is_taken(tmp_path: Path) -> None:
    program = tmp_path / "my-chromium"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)

    assert browser.find({"CHROMIUM": str(program)}) == program


def test_one_that_is_named_and_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(NotInstalledError, match=r"CHROMIUM is .*no-such"):
        browser.find({"CHROMIUM": str(tmp_path / "no-such")})


def test_any_of_its_names_will_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "google-chrome"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))

    assert browser.find({}) == program


def test_without_root_the_person_is_told_what_to_install(
    no_chromium: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    with pytest.raises(NotInstalledError, match="sudo apt-get install chromium"):
        browser.ensure_installed()


def test_root_on_debian_gets_the_package(
    no_chromium: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a bare Debian machine
    asked: list[list[str]] = []
    program = tmp_path / "chromium-that-is-not-there"
    (tmp_path / "apt-get").write_text("#!/bin/sh\n")
    (tmp_path / "apt-get").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("os.geteuid", lambda: 0)

    def install(packages: list[str]) -> None:
        asked.append(packages)
        program.write_text("#!/bin/sh\n")
        program.chmod(0o755)

    monkeypatch.setattr(browser, "apt_get_install", install)

    # When it is asked for, then the package is installed, and what it brought is taken
    assert browser.ensure_installed() == program
    assert asked == [["chromium"]]
