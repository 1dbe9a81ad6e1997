"""A database that can't be used as it is: each process says why, and none goes on in silence."""

import subprocess
import sys
from functools import partial

import httpx

from deploy.local.servers import Postgres, RabbitMQ
from tests.conftest import CHECKOUT, System, eventually

REASON = "DATABASE_URL: this database is in SQL_ASCII"


def test_every_process_names_the_encoding_and_what_to_do(
    postgres: Postgres, rabbitmq: RabbitMQ
) -> None:
    """As `createdb` makes it on a machine without LANG."""
    system = System(postgres, rabbitmq, "ascii")
    postgres.query('DROP DATABASE "ascii"')
    postgres.query("CREATE DATABASE ascii ENCODING 'SQL_ASCII' LOCALE 'C' TEMPLATE template0")

    # Whoever migrates, or waits for that, is told
    for options in ([], ["--wait"]):
        ran = subprocess.run(
            [sys.executable, "-m", "holdfast", "migrate", *options],
            cwd=CHECKOUT, env=system.environment, capture_output=True, text=True, check=False,
            timeout=60,
        )  # fmt: skip
        assert ran.returncode == 1
        assert ran.stderr.startswith(f"holdfast: {REASON}")
        assert "createdb --encoding=UTF8" in ran.stderr

    # And so is whoever starts the rest all the same
    system.start("web", "worker", "clock", ready=False)
    try:
        for name in ("worker", "clock"):
            eventually(partial(says, system, name), what=f"{name} says it")
        for _ in range(3):
            eventually(lambda: not checks(system)["database"])
        assert system.log("web").read_text().count(REASON) == 1
    finally:
        system.discard()


def says(system: System, name: str) -> bool:
    return REASON in system.log(name).read_text()


def checks(system: System) -> dict[str, bool]:
    try:
        told: dict[str, bool] = httpx.get(f"{system.base_url}/readyz").json()["checks"]
    except httpx.TransportError:
        return {"database": True}
    return told
