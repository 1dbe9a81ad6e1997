"""Processes that serve do not look through what they have loaded for garbage."""

import subprocess
import sys

import pytest

from tests.conftest import CHECKOUT

LOOK = "import gc, {module}; print(gc.get_freeze_count(), *gc.get_threshold())"


@pytest.mark.parametrize("module", ["web.main", "actors.main"])
def test_what_is_loaded_is_frozen_and_cycles_are_still_found(module: str) -> None:
    environment = {
        "SECRET_KEY": "a-secret-that-is-long-enough-for-it",
        "DATABASE_URL": "postgresql://nobody@127.0.0.1:1/nothing",
        "RABBITMQ_URL": "amqp://127.0.0.1:1",
    }
    ran = subprocess.run(
        [sys.executable, "-c", LOOK.format(module=module)],
        cwd=CHECKOUT, env=environment, capture_output=True, text=True, check=True,
    )  # fmt: skip

    frozen, *thresholds = map(int, ran.stdout.split())
    assert frozen > 10_000
    assert thresholds == [5_000, 10, 10]
