"""A private RabbitMQ."""

import json
import secrets
import shutil
import socket
import subprocess
from pathlib import Path
from typing import Any

from deploy.local import ports
from deploy.local.install import rabbitmq_binaries
from deploy.local.processes import Program
from deploy.local.server import NAME, Server, ServerError, plain_environment, write_private


class RabbitMQ(Server):
    """A private RabbitMQ with an Erlang port mapper (epmd) of its own.

    `advanced` are settings of its application `rabbit` that have no name in rabbitmq.conf.
    """

    name = "rabbitmq"
    title = "RabbitMQ"
    ready_seconds_max = 90.0

    def __init__(self, root: Path, **advanced: int) -> None:
        super().__init__(root)
        self.advanced = advanced

    @property
    def binaries(self) -> Path:
        return rabbitmq_binaries()

    @property
    def entry(self) -> list[str]:
        """What its programs are run through; nothing, where they are the machine's own."""
        return []

    @property
    def url(self) -> str:
        return self.vhost_url(NAME)

    def vhost_url(self, vhost: str) -> str:
        return f"amqp://{NAME}:{self.password}@127.0.0.1:{self.port}/{vhost}"

    def initial_settings(self) -> dict[str, Any]:
        port, distribution_port, epmd_port = ports.free_ports(3)
        return {
            **super().initial_settings(),
            "port": port,
            "distribution_port": distribution_port,
            "epmd_port": epmd_port,
            # The database's folder is named after the node: it must stay the same.
            "node": f"holdfast-{secrets.token_hex(4)}@localhost",
            "cookie": secrets.token_hex(16),
        }

    def programs(self) -> list[Program]:
        epmd = [shutil.which("epmd") or "epmd", "-port", str(self.settings["epmd_port"])]
        epmd = [*self.entry, *epmd, "-relaxed_command_check"]
        server = [*self.entry, str(self.binaries / "rabbitmq-server")]
        return [
            self._program("epmd", epmd, stop_seconds_max=1.0),
            self._program("rabbitmq", server, stop_seconds_max=5.0),
        ]

    def prepare(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.folder.chmod(0o700)
        cookie = self.folder / ".erlang.cookie"
        if not cookie.exists():
            write_private(cookie, str(self.settings["cookie"]), mode=0o400)
        (self.folder / "rabbitmq-env.conf").touch()
        (self.folder / "enabled_plugins").write_text("[].\n")
        write_private(self.folder / "rabbitmq.conf", self.configuration())
        terms = ", ".join(f"{{{name}, {value}}}" for name, value in self.advanced.items())
        (self.folder / "advanced.config").write_text(f"[{{rabbit, [{terms}]}}].\n")

    def configuration(self) -> str:
        settings = {
            "listeners.tcp.1": f"127.0.0.1:{self.port}",
            "default_user": NAME,
            "default_pass": self.password,
            "default_vhost": NAME,
            "vm_memory_high_watermark.absolute": "1GB",
            "disk_free_limit.absolute": "50MB",
            "log.file": "false",
            "log.console": "true",
            "log.console.level": "info",
            "log.console.use_colors": "off",
        }
        return "".join(f"{name} = {value}\n" for name, value in settings.items())

    def answers(self) -> bool:
        """A greeting to our protocol header: listeners open last, when all is recovered."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=2) as connection:
                connection.settimeout(5)
                connection.sendall(b"AMQP\x00\x00\x09\x01")
                # A method frame on channel 0.
                return connection.recv(3) == b"\x01\x00\x00"
        except OSError:
            return False

    def create_vhost(self, name: str) -> str:
        """Create a virtual host that our user may use and return its URL."""
        permission = {"configure": ".*", "write": ".*", "read": ".*"}
        definitions = {
            "vhosts": [{"name": name}],
            "permissions": [{"user": NAME, "vhost": name, **permission}],
        }
        # One call for both: each start of rabbitmqctl takes a second. 4.0 waits for ever for the
        # end of what is piped in.
        file = self.folder / "definitions.json"
        write_private(file, json.dumps(definitions))
        self.ctl("import_definitions", str(file))
        return self.vhost_url(name)

    def ctl(self, *arguments: str) -> str:
        """Run `rabbitmqctl` on this broker and return what it prints."""
        done = subprocess.run(
            [*self.entry, str(self.binaries / "rabbitmqctl"), "--quiet", *arguments],
            env=self.environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise ServerError(f"rabbitmqctl {' '.join(arguments)}: {done.stdout}{done.stderr}")
        return done.stdout

    def environment(self) -> dict[str, str]:
        folder = str(self.folder)
        loopback = "-kernel inet_dist_use_interface {127,0,0,1}"
        return {
            **plain_environment(),
            "HOME": folder,
            "ERL_EPMD_PORT": str(self.settings["epmd_port"]),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            # Ours runs beside it; one that Erlang starts by itself would never be stopped.
            "ERL_AFLAGS": "-start_epmd false",
            "RABBITMQ_NODENAME": str(self.settings["node"]),
            "RABBITMQ_DIST_PORT": str(self.settings["distribution_port"]),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": loopback,
            "RABBITMQ_CTL_ERL_ARGS": loopback,
            "RABBITMQ_CONF_ENV_FILE": f"{folder}/rabbitmq-env.conf",
            "RABBITMQ_CONFIG_FILE": f"{folder}/rabbitmq.conf",
            "RABBITMQ_CONFIG_FILES": f"{folder}/conf.d",
            "RABBITMQ_ADVANCED_CONFIG_FILE": f"{folder}/advanced.config",
            "RABBITMQ_ENABLED_PLUGINS_FILE": f"{folder}/enabled_plugins",
            "RABBITMQ_MNESIA_BASE": f"{folder}/data",
            "RABBITMQ_LOG_BASE": f"{folder}/log",
            "RABBITMQ_GENERATED_CONFIG_DIR": f"{folder}/generated",
            # These two make the start script *become* the server instead of watching over it,
            # so that signals and the kernel's death signal reach the server.
            "RABBITMQ_ALLOW_INPUT": "1",
            "RABBITMQ_SERVER_START_ARGS": "-noinput +B i",
        }

    def _program(self, name: str, argv: list[str], stop_seconds_max: float) -> Program:
        return Program(
            name=name,
            argv=argv,
            log=self.log if name == self.name else self.log.with_name(f"{name}.log"),
            owner=self.root,
            cwd=self.folder,
            environment=self.environment(),
            stop_seconds_max=stop_seconds_max,
        )
