"""Find the servers' programs on this machine, or install them where that is ours to do."""

import contextlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from deploy.local.errors import CannotRunError

TITLES = {"postgres": "PostgreSQL", "rabbitmq": "RabbitMQ"}
PACKAGES = {"postgres": "postgresql", "rabbitmq": "rabbitmq-server"}
POLICY = Path("/usr/sbin/policy-rc.d")
CLUSTER_POLICY = Path("/etc/postgresql-common/createcluster.d/holdfast.conf")
HOW_TO_INSTALL = """\
Holdfast needs {missing}, and can't install it here by itself. One of these helps:
  - on Debian or Ubuntu: sudo apt-get install {packages}
  - with Homebrew: brew install postgresql rabbitmq
  - start Docker, and `make run` takes the servers from docker-compose.yml
  - set DATABASE_URL and RABBITMQ_URL to servers that you have"""


class NotInstalledError(CannotRunError):
    """A server's programs are missing; the message says what to do about it."""


def ensure_installed(servers: Sequence[str] = ("postgres", "rabbitmq")) -> None:
    """Make sure that the servers asked for are on this machine."""
    find = {"postgres": find_postgres, "rabbitmq": find_rabbitmq}
    missing = [server for server in servers if not find[server]()]
    if not missing:
        return
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise NotInstalledError(how_to_install(missing))
    apt_get_install([PACKAGES[server] for server in missing])


def how_to_install(missing: Sequence[str]) -> str:
    """What to do about servers that are missing here."""
    titles = " and ".join(TITLES[server] for server in missing)
    packages = " ".join(PACKAGES[server] for server in missing)
    return HOW_TO_INSTALL.format(missing=titles, packages=packages)


def postgres_binaries() -> Path:
    """The folder with `postgres`, `initdb` and `psql`."""
    return _or_explain(find_postgres(), "postgres")


def rabbitmq_binaries() -> Path:
    """The folder with RabbitMQ's own `rabbitmq-server` and `rabbitmqctl`."""
    return _or_explain(find_rabbitmq(), "rabbitmq")


def find_postgres() -> Path | None:
    """The newest one installed."""
    debian = Path("/usr/lib/postgresql").glob("*/bin/postgres")
    newest = sorted(debian, key=lambda path: int(path.parts[-3]), reverse=True)
    on_path = shutil.which("postgres")
    for postgres in [*newest, *([Path(on_path).resolve()] if on_path else [])]:
        if (postgres.parent / "initdb").exists() and (postgres.parent / "psql").exists():
            return postgres.parent
    return None


def find_rabbitmq() -> Path | None:
    """RabbitMQ's own scripts: the wrappers that distributions put on the PATH switch users."""
    candidates = [Path("/usr/lib/rabbitmq/bin/rabbitmq-server")]
    on_path = shutil.which("rabbitmq-server")
    if on_path and not _is_wrapper(Path(on_path)):
        candidates.append(Path(on_path))
    for server in candidates:
        if os.access(server, os.X_OK) and shutil.which("erl"):
            return server.resolve().parent
    return None


def apt_get_install(packages: list[str]) -> None:
    """Install Debian packages, without the servers that they would start for the machine."""
    options = ["-y", "--no-install-recommends", "-o", "Dpkg::Use-Pty=0"]
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    with no_services():
        for command in (["update"], ["install", *options, *packages]):
            print(f"  apt-get {' '.join(command)}", flush=True)
            done = subprocess.run(["apt-get", "-q", *command], env=environment, check=False)
            if done.returncode:
                raise NotInstalledError(
                    f"apt-get {' '.join(command)} failed; its reason stands above."
                )
    if "rabbitmq-server" in packages:
        # The package also enables a broker at boot, which nobody asked for.
        command = ["update-rc.d", "rabbitmq-server", "disable"]
        subprocess.run(command, check=False, capture_output=True)


@contextlib.contextmanager
def no_services() -> Iterator[None]:
    """While packages are installed: start no service, create no machine-wide database."""
    with (
        temporary_file(POLICY, "#!/bin/sh\nexit 101\n", mode=0o755),
        temporary_file(CLUSTER_POLICY, "create_main_cluster = false\n", mode=0o644),
    ):
        yield


@contextlib.contextmanager
def temporary_file(path: Path, text: str, mode: int) -> Iterator[None]:
    """A file that exists meanwhile; one that is there already is left as it is."""
    if path.exists():
        yield
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


def _is_wrapper(script: Path) -> bool:
    return bool(re.search(r"\b(su|runuser|gosu)\b", script.read_text(errors="replace")))


def _or_explain(found: Path | None, server: str) -> Path:
    if found is None:
        raise NotInstalledError(how_to_install([server]))
    return found


def main(arguments: Sequence[str]) -> int:
    """Install what is missing; `--tests`, `--cluster`: what those tests and checks need, too."""
    # They import this module.
    from deploy.local import browser, programs  # noqa: PLC0415

    try:
        ensure_installed()
        if "--tests" in arguments:
            browser.ensure_installed()
            programs.ensure_installed(["kubectl", "promtool"])
        if "--cluster" in arguments:
            programs.ensure_installed(programs.PACKAGES.keys() - {"pgbench", "wrk"})
    except CannotRunError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
