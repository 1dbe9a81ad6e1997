"""The stock parts still do what our code is there for.

A failure here is good news: upstream has closed a trap, and what closes it here may go, with its
row in docs/dramatiq-traps.md. The reproductions run in a process of their own, where nothing of
Holdfast has changed Dramatiq.
"""

import json
import subprocess
import sys

import pytest

from deploy.local.servers import RabbitMQ
from tests.conftest import CHECKOUT
from tests.stock.rig import Facts

WHAT_HAPPENS = {
    "1": {"left in the queue, its delayed and its dead messages": 0, "lost": 20},
    "2": {"errors": 0, "lost": 20, "lost with confirm_delivery=True": 0},
    "3": {"unfinished, in the queue": 0, "lost": 20},
    "4": {"run": 40, "run twice": 20},
    "5": {"threads that died": 8, "lost": 8},
    "7": {
        "options is null: neighbours done after four connections": 0,
        "throws is a text: threads that died, of 4": 4,
        "throws is a text: lost": 4,
        "queue_name is another's: threads that died, of 4": 4,
        "max_retries is a text: lost": 4,
    },
    "8": {"PermissionError in before_process_message: run all the same": 20, "lost": 20},
    "9": {"run": 0, "dead letters": 20},
    "13": {"threads that died, of workers and consumers": 0, "run": 0},
}


@pytest.fixture(scope="module")
def reproduced(rabbitmq: RabbitMQ) -> dict[str, Facts]:
    """What each reproduction reports."""
    command = [sys.executable, "-m", "tests.stock", "--json", "--root", str(rabbitmq.root)]
    done = subprocess.run(
        [*command, *WHAT_HAPPENS], cwd=CHECKOUT, check=False, capture_output=True, text=True
    )
    facts = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(facts) == len(WHAT_HAPPENS), done.stderr
    return dict(zip(WHAT_HAPPENS, facts, strict=True))


@pytest.mark.parametrize("trap", WHAT_HAPPENS)
def test_the_stock_parts_still_have_the_trap(reproduced: dict[str, Facts], trap: str) -> None:
    wanted = WHAT_HAPPENS[trap]
    assert {what: reproduced[trap].get(what) for what in wanted} == wanted
