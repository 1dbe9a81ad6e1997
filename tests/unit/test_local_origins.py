"""Where the servers come from, and what is said when one can't be had."""

import stat
from pathlib import Path

import pytest

from deploy.local import install, origins
from deploy.local.compose import Compose, engine_works
from deploy.local.install import NotInstalledError
from deploy.local.servers import Postgres, RabbitMQ, ServerError

GIVEN = {"DATABASE_URL": "postgresql://db/x", "RABBITMQ_URL": "amqp://mq"}


@pytest.fixture(autouse=True)
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(origins, "ensure_installed", lambda _: None)


def find(tmp_path: Path, settings: dict[str, str], docker: bool) -> origins.Origins:
    return origins.find(settings, tmp_path, tmp_path / "var", docker=lambda: docker)


def test_a_given_url_comes_before_all(tmp_path: Path) -> None:
    found = find(tmp_path, GIVEN, docker=True)
    assert found.urls == GIVEN
    assert not found.private
    assert not found.services
    assert found.in_words() == "PostgreSQL and RabbitMQ: given by URL"


def test_then_docker(tmp_path: Path) -> None:
    found = find(tmp_path, {}, docker=True)
    assert found.services == ["postgres", "rabbitmq"]
    assert found.compose
    assert found.urls == found.compose.urls


def test_then_private_servers(tmp_path: Path) -> None:
    found = find(tmp_path, {}, docker=False)
    assert list(found.private) == ["DATABASE_URL", "RABBITMQ_URL"]
    assert found.urls["RABBITMQ_URL"].startswith("amqp://holdfast:")


def test_each_server_is_decided_for_itself(tmp_path: Path) -> None:
    found = find(tmp_path, {"DATABASE_URL": "postgresql://db/x"}, docker=False)
    assert found.given == ["DATABASE_URL"]
    assert list(found.private) == ["RABBITMQ_URL"]


@pytest.mark.parametrize("docker", [True, False])
def test_the_next_run_keeps_what_the_first_one_chose(tmp_path: Path, docker: bool) -> None:
    first = find(tmp_path, {}, docker)
    second = find(tmp_path, first.urls, docker=not docker)
    assert second.urls == first.urls
    assert second.in_words() == first.in_words()


def test_a_server_that_does_not_answer_is_named_without_its_password() -> None:
    with pytest.raises(ServerError, match=r"DATABASE_URL .*holdfast:\*\*\*@127.0.0.1:1/") as caught:
        origins.check_given("DATABASE_URL", "postgresql://holdfast:secret@127.0.0.1:1/x")
    assert "secret" not in str(caught.value)
    assert "refused" in str(caught.value)


def test_a_broker_that_does_not_answer_is_named() -> None:
    with pytest.raises(ServerError, match="RABBITMQ_URL"):
        origins.check_given("RABBITMQ_URL", "amqp://guest:secret@127.0.0.1:1/")


def test_without_root_the_person_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(install, "find_rabbitmq", lambda: None)
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    with pytest.raises(NotInstalledError, match="sudo apt-get install rabbitmq-server"):
        install.ensure_installed(["rabbitmq"])


def test_settings_of_private_servers_are_kept_for_the_owner_only(tmp_path: Path) -> None:
    for kind in (Postgres, RabbitMQ):
        server = kind(tmp_path)
        path = tmp_path / f"{kind.name}.json"
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert kind(tmp_path).settings == server.settings
        assert len(set(server.ports())) == len(server.ports())


def fake_docker(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    folder.mkdir()
    docker = folder / "docker"
    docker.write_text(f"#!/bin/sh\n{script}\n")
    docker.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")


def test_docker_without_an_engine_does_not_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_docker(tmp_path / "bin", monkeypatch, '[ "$1" != info ]')
    assert not engine_works()


def test_compose_is_asked_for_the_servers_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = tmp_path / "said"
    fake_docker(tmp_path / "bin", monkeypatch, f'echo "$POSTGRES_PORT $@" >> "{said}"')
    assert engine_works()
    said.unlink()
    compose = Compose(tmp_path, tmp_path / "var")

    compose.start(["postgres"])
    compose.stop(["postgres"])

    port, project = (compose.settings[name] for name in ("POSTGRES_PORT", "COMPOSE_PROJECT_NAME"))
    files = f"--file={tmp_path}/docker-compose.yml --file={tmp_path}/deploy/compose/servers.yml"
    assert said.read_text().splitlines() == [
        f"{port} compose {files} --project-name {project} up --detach --wait postgres",
        f"{port} compose {files} --project-name {project} stop --timeout 6 postgres",
    ]
    secrets = tmp_path / "var" / "compose-secrets"
    assert stat.S_IMODE(secrets.stat().st_mode) == 0o700
    assert (secrets / "postgres_password").read_text() in compose.urls["DATABASE_URL"]
    assert f":{port}/" in compose.urls["DATABASE_URL"]
