"""Programs of a later Debian, beside the machine's own."""

import os
from pathlib import Path

import pytest

from deploy.local import trixie
from deploy.local.errors import CannotRunError

# Knows a mirror, and has from it one package that was cut off.
APT_GET = """\
#!/bin/sh
case "$*" in
*indextargets*) . /etc/os-release; echo "http://mirror.invalid $VERSION_CODENAME main" ;;
*install*) echo "!<arch>" > "${1#--option=Dir::State=}/archives/half.deb" ;;
esac
"""


def test_what_was_unpacked_by_half_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or the next run would take it for whole."""
    apt_get = tmp_path / "apt-get"
    apt_get.write_text(APT_GET)
    apt_get.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")

    with pytest.raises(CannotRunError, match="dpkg-deb"):
        trixie.unpack(["rabbitmq-server"], tmp_path / "var" / "rabbitmq-4")

    assert not list(tmp_path.glob("var/*"))
