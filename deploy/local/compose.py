"""PostgreSQL and RabbitMQ from docker-compose.yml, for a machine that has Docker.

Only the two servers: Holdfast's own processes run from the checkout either way, so that a change
in the code counts at the next start, with no image to build. `docker compose up` runs everything.
"""

import json
import os
import secrets
import shutil
import subprocess
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

from deploy.local import ports
from deploy.local.server import ServerError, write_private

ENGINE_SECONDS_MAX = 10
#: Paths in the second are meant from where the first one lies.
FILES = ("docker-compose.yml", "deploy/compose/servers.yml")


def engine_works() -> bool:
    """Whether there is Docker, with an engine that answers and the compose plugin."""
    if not shutil.which("docker"):
        return False
    return all(_succeeds(["docker", *words]) for words in (["info"], ["compose", "version"]))


class Compose:
    """The two servers of one checkout: a compose project of its own, ports on the loopback."""

    def __init__(self, checkout: Path, var: Path) -> None:
        self.checkout = checkout
        self.path = var / "compose.json"
        if not self.path.exists():
            var.mkdir(parents=True, exist_ok=True)
            write_private(self.path, json.dumps(initial_settings(checkout), indent=2))
        self.settings: dict[str, str] = json.loads(self.path.read_text())
        self.secrets = var / "compose-secrets"

    @property
    def urls(self) -> dict[str, str]:
        """The servers' URLs by the name of their setting."""
        known = self.settings
        database = f"holdfast:{known['POSTGRES_PASSWORD']}@127.0.0.1:{known['POSTGRES_PORT']}"
        broker = f"holdfast:{known['RABBITMQ_PASSWORD']}@127.0.0.1:{known['RABBITMQ_PORT']}"
        return {
            "DATABASE_URL": f"postgresql://{database}/holdfast",
            "RABBITMQ_URL": f"amqp://{broker}/holdfast",
        }

    @classmethod
    def exists(cls, var: Path) -> bool:
        return (var / "compose.json").exists()

    def start(self, services: Sequence[str]) -> None:
        """Start and wait until healthy; Docker shows its own progress."""
        self._write_secrets()
        self._compose("up", "--detach", "--wait", *services)

    def stop(self, services: Sequence[str]) -> None:
        self._compose("stop", "--timeout", "6", *services)

    def _write_secrets(self) -> None:
        # The folder is closed to others; the files are read by the containers' own users.
        self.secrets.mkdir(mode=0o700, exist_ok=True)
        password = self.settings["RABBITMQ_PASSWORD"]
        texts = {
            "postgres_password": self.settings["POSTGRES_PASSWORD"],
            "rabbitmq.conf": "default_user = holdfast\ndefault_vhost = holdfast\n"
            f"default_pass = {password}\n",
        }
        for name, text in texts.items():
            (self.secrets / name).write_text(text)
            (self.secrets / name).chmod(0o644)

    def _compose(self, *words: str) -> None:
        files = [f"--file={self.checkout / name}" for name in FILES]
        project = ["--project-name", self.settings["COMPOSE_PROJECT_NAME"]]
        done = subprocess.run(
            ["docker", "compose", *files, *project, *words],
            cwd=self.checkout,
            env={**os.environ, **self.settings, "SECRETS": str(self.secrets)},
            check=False,
        )
        if done.returncode:
            raise ServerError(f"docker compose {words[0]} failed; its reason stands above.")


def initial_settings(checkout: Path) -> dict[str, str]:
    """Chosen once: the checkout's own project name, ports and passwords."""
    postgres_port, rabbitmq_port = ports.free_ports(2)
    return {
        "COMPOSE_PROJECT_NAME": f"holdfast-{sha256(str(checkout).encode()).hexdigest()[:8]}",
        "POSTGRES_PORT": str(postgres_port),
        "POSTGRES_PASSWORD": secrets.token_hex(16),
        "RABBITMQ_PORT": str(rabbitmq_port),
        "RABBITMQ_PASSWORD": secrets.token_hex(16),
    }


def _succeeds(command: list[str]) -> bool:
    try:
        done = subprocess.run(command, capture_output=True, timeout=ENGINE_SECONDS_MAX, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0
