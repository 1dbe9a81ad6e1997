"""Find programs that tests, checks and benches need; a run of Holdfast needs none of them."""

import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from deploy.local.install import NotInstalledError, apt_get_install

#: The Debian package that has it. Of the servers among them nothing starts the installed one.
PACKAGES: Final = {
    "amtool": "prometheus-alertmanager",
    "envsubst": "gettext-base",
    "kubectl": "kubernetes-client",
    "nginx": "nginx-light",
    "node": "nodejs",
    "npm": "npm",
    "openssl": "openssl",
    "pgbouncer": "pgbouncer",
    "pgbench": "postgresql",
    "prometheus": "prometheus",
    "prometheus-alertmanager": "prometheus-alertmanager",
    "prometheus-node-exporter": "prometheus-node-exporter",
    "prometheus-postgres-exporter": "prometheus-postgres-exporter",
    "promtool": "prometheus",
    "systemd-analyze": "systemd",
    "wrk": "wrk",
}
HOW_TO_INSTALL = """\
Some tests, checks and benches need {missing}, and can't install it here by themselves. On \
Debian or Ubuntu: sudo apt-get install {packages}. Elsewhere any one on the PATH will do."""


def ensure_installed(names: Iterable[str]) -> None:
    """Make sure of programs. Raises NotInstalledError that says what to install."""
    missing = [name for name in names if not find(name)]
    if missing and os.geteuid() == 0 and shutil.which("apt-get"):
        apt_get_install(sorted({PACKAGES[name] for name in missing}))
    for name in missing:
        program(name)


def program(name: str) -> Path:
    """Its path. Raises NotInstalledError that says what to install."""
    found = find(name)
    if found is None:
        raise NotInstalledError(HOW_TO_INSTALL.format(missing=name, packages=PACKAGES[name]))
    return found


def find(name: str) -> Path | None:
    """Its path, on the PATH or where Debian puts servers."""
    path = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin"])
    found = shutil.which(name, path=path)
    return Path(found) if found else None
