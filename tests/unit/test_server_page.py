"""docs/deploy/server.md: its lines fit each other, and the files that they name."""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from config import env_file, parse
from tests.conftest import CHECKOUT

PAGE = (CHECKOUT / "docs/deploy/server.md").read_text()
BLOCKS = re.findall(r"```sh\n(.*?)```", PAGE, re.S)
LINES = "\n".join(BLOCKS)
UNITS = {path.name: path.read_text() for path in (CHECKOUT / "deploy/systemd").glob("*.service")}
HOME = "/opt/holdfast"


def written(name: str) -> str:
    """What the page writes into a file."""
    (text,) = re.findall(rf"cat >>?{re.escape(name)} <<END\n(.*?)\nEND\n", LINES, re.S)
    return str(text)


def of_units(setting: str) -> Iterator[str]:
    for text in UNITS.values():
        yield from re.findall(rf"^{setting}=-?(.*)", text, re.M)


def test_a_shell_can_read_every_block() -> None:
    for block in BLOCKS:
        subprocess.run(["sh", "-n"], input=block, text=True, check=True)


def test_what_the_lines_run_is_installed_or_part_of_every_debian() -> None:
    (packages,) = re.findall(r"apt-get install --yes ((?:.|\\\n)*?)\n\w", LINES)
    installed = set(packages.replace("\\\n", " ").split())
    # By the package that has it.
    run = {"ss": "iproute2", "rabbitmqctl": "rabbitmq-server", "createdb": "postgresql"}
    run |= {program: program for program in ("sudo", "curl", "openssl", "git", "make")}

    for program, package in run.items():
        assert re.search(rf"(^|[ (;]){program} ", LINES, re.M), program
        assert package in installed, package


def test_the_settings_are_read_by_units_and_holdfast_from_the_file_that_is_written(
    tmp_path: Path,
) -> None:
    text = written(f"{HOME}/.env").replace("$database", "d" * 48).replace("$broker", "b" * 48)
    file = tmp_path / ".env"
    file.write_text(text.replace("$(openssl rand -hex 32)", "s" * 64))

    given = parse(env_file.read(file))

    assert (given.host, given.metrics_host) == ("127.0.0.1", "127.0.0.1")
    assert set(of_units("EnvironmentFile")) == {f"{HOME}/.env", "/etc/holdfast/gateway.env"}
    # Who else may read it: the user that runs `holdfast` and the units.
    assert f"install --mode=640 --group=holdfast /dev/null {HOME}/.env" in LINES
    assert set(of_units("User")) == {"holdfast"}
    assert "useradd --system" in LINES
    assert LINES.count(f"sudo -u holdfast {HOME}/.venv/bin/holdfast ") == 3


def test_the_gateway_has_its_settings_and_the_certificate_that_is_made() -> None:
    lines = written("/etc/holdfast/gateway.env").splitlines()
    settings = dict(line.split("=", 1) for line in lines)
    known = (CHECKOUT / "deploy/gateway/run").read_text()

    assert all(f"{{{name}:=" in known for name in settings)
    assert f"-out {settings['GATEWAY_CERTIFICATE']}\n" in LINES
    assert f"-keyout {settings['GATEWAY_CERTIFICATE_KEY']} " in LINES


def test_the_units_that_are_started_are_there_and_their_programs_are_made() -> None:
    (names,) = re.findall(r"systemctl enable --now (holdfast-.*)", LINES)

    assert {f"{name}.service" for name in names.split()} == set(UNITS)
    assert f"cp {HOME}/deploy/systemd/holdfast-*.service /etc/systemd/system/" in LINES
    for command in of_units("ExecStart"):
        path = command.split()[0].removeprefix(f"{HOME}/")
        assert path.startswith(".venv/bin/") or (CHECKOUT / path).exists(), command


@pytest.mark.parametrize(
    ("file", "line"),
    [
        ("/etc/rabbitmq/rabbitmq.conf", "listeners.tcp.default = 127.0.0.1:5672"),
        ("/etc/rabbitmq/rabbitmq-env.conf", "inet_dist_use_interface {127,0,0,1}"),
        ("/etc/rabbitmq/rabbitmq-env.conf", "NODENAME=rabbit@localhost"),
        ("/etc/systemd/system/epmd.socket.d/loopback.conf", "ListenStream=127.0.0.1:4369"),
    ],
)
def test_rabbitmq_listens_on_this_machine_alone(file: str, line: str) -> None:
    assert line in written(file)
    # Before anybody has a password for it.
    assert LINES.index(file) < LINES.index("rabbitmqctl add_user")
