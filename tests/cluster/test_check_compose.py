"""The check of docker-compose.yml notices what it is there for."""

import shutil
from pathlib import Path

import pytest

from config import env_file
from deploy.check import Finding
from deploy.check.compose import faults, understood, write_secrets
from tests.conftest import CHECKOUT
from tests.unit.test_env_file import VALUES

COMPOSE = "docker-compose.yml"


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout that may be broken."""
    folder = tmp_path_factory.mktemp("compose")
    shutil.copytree(CHECKOUT / "deploy", folder / "deploy")
    (folder / "secrets").mkdir()
    write_secrets(folder, folder / "secrets")
    return folder


def found(copy: Path, before: str, after: str) -> str:
    """What is wrong once a text is another one."""
    text = (CHECKOUT / COMPOSE).read_text()
    assert before in text
    (copy / COMPOSE).write_text(text.replace(before, after))
    try:
        return "\n".join(faults(understood(copy, copy / "secrets", COMPOSE)))
    except Finding as finding:
        return str(finding)


def test_a_file_of_settings_is_read_as_holdfast_reads_it(tmp_path: Path) -> None:
    file = tmp_path / "settings.env"
    lines = (f"{name}={env_file.quoted(name, value)}\n" for name, value in VALUES.items())
    file.write_text("# ours\n\n" + "".join(lines), encoding="utf-8")
    service = "services: {web: {image: x, env_file: [settings.env]}}"
    (tmp_path / COMPOSE).write_text(service)

    whole = understood(tmp_path, tmp_path, COMPOSE)

    # What it prints is a compose file again, in which `$$` is a dollar.
    seen = {
        name: value.replace("$$", "$")
        for name, value in whole["services"]["web"]["environment"].items()
    }
    assert seen == env_file.read(file) == VALUES


def test_as_it_is_nothing_is_wrong(copy: Path) -> None:
    assert found(copy, "restart", "restart") == ""


@pytest.mark.parametrize(
    ("before", "after", "fault"),
    [
        ("restart: unless-stopped", "tty: false", "no restart"),
        ("image: rabbitmq:4.2.9", "image: rabbitmq", "rabbitmq: the image rabbitmq is not pinned"),
        ("image: rabbitmq:4.2.9", "image: rabbitmq:latest", "is not pinned"),
        ("read_only: true", "read_only: false", "gateway: its root can be written to"),
        ("cap_drop: [ALL]", "cap_drop: [NET_RAW]", "it keeps capabilities"),
        ("no-new-privileges:true", "label:type:x", "it may gain privileges"),
        ("memory: 384M, ", "", "gateway: no limit of memory"),
        ("stop_grace_period: 45s", "tty: false", "gateway: no stop_grace_period"),
        ("networks: [outside, front]", "networks: [outside, middle]", "undefined network middle"),
        ("secrets: [grafana_password]", "secrets: [other]", "undefined secret other"),
        ("depends_on: [web]", "depends_on: [wep]", "undefined service"),
        ("- ./deploy/gateway:", "- ./deploy/gate:", "/deploy/gate is mounted and not there"),
        ("- grafana:/", "- grafanas:/", "undefined volume grafanas"),
        ("front: {internal: true}", "front:", "web: it has no port, and yet a way out"),
        (
            "${GATEWAY_BIND:-127.0.0.1}:${HTTP_PORT:-8000}",
            "${HTTP_PORT:-8000}",
            "8000 is open to others",
        ),
        ("PASSWORD_FILE: /run/", "PASSWORD: /run/", "PASSWORD is a secret in the environment"),
        ("${HOLDFAST_IMAGE:-holdfast:checkout}", "${HOLDFAST_IMAGE:?it}", "HOLDFAST_IMAGE is miss"),
        ("${TLS_PORT:-8443}", "${TLS_PORT}", "TLS_PORT"),
        ("}/rabbitmq_url", "}/rabbit_url", "secret rabbitmq_url: deploy/compose/secrets does not"),
        ("interval: 10s", "intervals: 10s", "intervals"),
    ],
)
def test_what_is_wrong_is_named(copy: Path, before: str, after: str, fault: str) -> None:
    assert fault in found(copy, before, after)


def test_settings_reach_every_process_and_do_not_move_what_is_wired(copy: Path) -> None:
    # Given settings, some of which containers can't be free in, and the `.env` of `make run`
    (copy / COMPOSE).write_text((CHECKOUT / COMPOSE).read_text())
    given = copy / "settings.env"
    given.write_text(
        "RETENTION_MONTHS=12\nENVIRONMENT=production\nTRUSTED_PROXIES=10.0.0.1\n"
        "PORT=1\nHOST=127.0.0.1\nWORKER_METRICS_PORT=0\nRETENTION_EXPORT_DIR=/tmp\n"
    )
    (copy / ".env").write_text("PORT=8001\nDATABASE_URL=postgresql://laptop/\nAPI_KEY=hf_1\n")

    # When Compose reads the file
    try:
        whole = understood(copy, copy / "secrets", COMPOSE, env_file=".env")
    finally:
        given.unlink()
        (copy / ".env").unlink()
    services = whole["services"]

    # Then each process has the settings and the wiring, and nothing of the laptop
    for name in ("release", "web", "worker", "clock"):
        variables = services[name]["environment"]
        assert variables["RETENTION_MONTHS"] == "12"
        assert variables["ENVIRONMENT"] == "production"
        assert variables["TRUSTED_PROXIES"] == "10.0.0.1"
        assert variables["HOST"] == "0.0.0.0"
        assert variables["WORKER_METRICS_PORT"] == "9191"
        assert variables["RETENTION_EXPORT_DIR"] == "/exports"
        assert not {"DATABASE_URL", "API_KEY"} & variables.keys()
    assert services["web"]["environment"]["PORT"] == "8000"
    assert services["gateway"]["ports"][0]["published"] == "8000"
