"""The short torture: every fault once, from a fixed seed; `make torture` is the long one."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import CHECKOUT
from tests.torture.faults import FAULTS

SEED = 4
#: Requests a second: enough that each fault meets some, and cheap, since other tests run beside it.
RATE = 60
#: Seconds to recover from a fault, which takes some three: the machine may be slow, and is shared.
PATIENCE_S = 240
OF_RABBITMQ = [name for name in FAULTS if ":" not in name and name.startswith("rabbitmq-")]
ALL_OTHERS = [name for name in FAULTS if ":" not in name and name not in OF_RABBITMQ]


# Two systems side by side: one after the other, the faults take some three minutes. What shows only
# when faults of both kinds come in a row is for the long one.
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    "faults",
    [
        pytest.param(faults, id=id_, marks=pytest.mark.xdist_group(f"torture {id_}"))
        for id_, faults in (("of RabbitMQ", OF_RABBITMQ), ("all others", ALL_OTHERS))
    ],
)
def test_every_fault_once_and_every_promise_holds(faults: list[str], tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.torture", f"--seed={SEED}", f"--folder={tmp_path}",
         f"--rate={RATE}", f"--patience={PATIENCE_S}",
         f"--faults={','.join(faults)}"],
        cwd=CHECKOUT, capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert done.returncode == 0, done.stdout[-6_000:] + done.stderr
    assert f": {len(faults)} faults fired\n" in done.stdout
    assert done.stdout.rstrip().endswith("Every promise held.")
