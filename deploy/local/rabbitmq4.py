"""RabbitMQ 4, of Debian 13, beside the machine's own: for tests. `make rabbitmq4` unpacks it."""

import os
import subprocess
import sys
from pathlib import Path

from deploy.local import trixie
from deploy.local.console import step
from deploy.local.errors import CannotRunError
from deploy.local.rabbitmq import RabbitMQ

FOLDER = Path(__file__).resolve().parents[2] / "var" / "rabbitmq-4"
BINARIES = Path("/usr/lib/rabbitmq/bin")


class RabbitMQ4(RabbitMQ):
    """A private RabbitMQ like the other, of the next generation."""

    title = "RabbitMQ 4"

    @property
    def binaries(self) -> Path:
        return BINARIES

    @property
    def entry(self) -> list[str]:
        if not FOLDER.exists():
            raise CannotRunError("RabbitMQ 4 is not unpacked here: make rabbitmq4")
        return trixie.inside(FOLDER)


def main() -> int:
    """Unpack RabbitMQ 4 unless it is there."""
    try:
        with step("RabbitMQ 4") as current:
            if not FOLDER.exists():
                trixie.unpack(["rabbitmq-server"], FOLDER)
            current.detail = in_words()
    except CannotRunError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def in_words() -> str:
    """Which release is unpacked, where, and how much room it takes."""
    (release,) = FOLDER.glob("usr/lib/rabbitmq/lib/rabbitmq_server-*")
    used = subprocess.run(["du", "-sm", FOLDER], capture_output=True, text=True, check=True)
    version = release.name.rpartition("-")[2]
    return f"{version}, {used.stdout.split()[0]} MiB in {os.path.relpath(FOLDER)}"


if __name__ == "__main__":
    sys.exit(main())
