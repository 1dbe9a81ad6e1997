"""`holdfast failures`, `queues` and `top`, against the running system."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from tests.conftest import CHECKOUT, System, eventually
from tests.e2e.shop import Shop
from tests.seeding import FAILED_ORDERS


class Shell:
    """Runs `holdfast` on a system."""

    def __init__(self, system: System) -> None:
        self._system = system

    def __call__(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "holdfast", *arguments],
            cwd=CHECKOUT, env=self._system.environment, capture_output=True, text=True,
            timeout=60, check=False,
        )  # fmt: skip

    def json(self, *arguments: str) -> Any:
        ran = self(*arguments, "--json")
        assert ran.stdout, ran.stderr
        return json.loads(ran.stdout)


@pytest.fixture
def holdfast(system: System) -> Shell:
    return Shell(system)


@pytest.fixture
def sku(system: System, shop: Shop) -> Iterator[str]:
    """A product with stock, and failed orders of it; none stay behind."""
    name = shop.product(100)
    system.sql(FAILED_ORDERS, name, 6)
    yield name
    system.sql(
        "WITH gone AS (DELETE FROM dead_letters WHERE subjects @> ARRAY[%s] RETURNING command_ids)"
        " DELETE FROM commands WHERE status = 'failed'"
        " AND id IN (SELECT unnest(command_ids) FROM gone)",
        f"sku:{name}",
    )


def allocated(system: System, sku: str) -> int:
    ((units,),) = system.sql("SELECT allocated FROM stock WHERE sku = %s", sku)
    return int(units)


def test_failures_are_listed_and_shown(holdfast: Shell, sku: str) -> None:
    listed = holdfast.json("failures", "list", "--subject", f"sku:{sku}")
    groups = holdfast.json("failures", "list", "--subject", f"sku:{sku}", "--groups")

    assert len(listed) == 6
    assert {row["state"] for row in listed} == {"failed"}
    assert sum(group["count"] for group in groups) == 6
    shown = holdfast.json("failures", "show", str(listed[0]["id"]))
    assert shown["id"] == listed[0]["id"]
    assert shown["arguments"]["commands"][0]["lines"] == [{"sku": sku, "quantity": 1}]
    text = holdfast("failures", "show", str(listed[0]["id"])).stdout
    assert f"sku:{sku}" in text
    assert "in place" in text
    assert str(listed[0]["id"]) in holdfast("failures", "list").stdout


def test_a_failure_that_is_not_there_is_said_so(holdfast: Shell) -> None:
    ran = holdfast("failures", "show", "999999999")

    assert (ran.returncode, ran.stdout) == (1, "")
    assert "there is no failure 999999999" in ran.stderr


def test_one_failure_is_put_back_and_another_discarded(
    system: System, holdfast: Shell, sku: str
) -> None:
    first, second, *_ = holdfast.json("failures", "list", "--subject", f"sku:{sku}")

    retried = holdfast.json("failures", "retry", str(first["id"]))
    discarded = holdfast("failures", "discard", str(second["id"]), "--reason", "a test")

    assert (retried["status"], retried["done"], retried["skipped"]) == ("applied", 1, 0)
    assert (discarded.returncode, discarded.stdout) == (0, "Done: 1 failure.\n")
    eventually(lambda: allocated(system, sku) == 1)
    again = holdfast("failures", "retry", str(first["id"]))
    assert again.returncode == 1
    assert "No open failure matches" in again.stdout


def test_all_that_matches_is_counted_first_and_put_back_when_told_to(
    system: System, holdfast: Shell, shop: Shop, sku: str
) -> None:
    these = ("failures", "retry", "--all-matching", "--subject", f"sku:{sku}")

    counted = holdfast(*these)
    assert "Matching: 6 failures. Nothing was done" in counted.stdout
    assert holdfast.json(*these) == {"matching": 6, "done": 0}
    assert allocated(system, sku) == 0

    done = holdfast.json(*these, "--yes")

    assert (done["status"], done["done"]) == ("applied", 6)
    eventually(lambda: allocated(system, sku) == 6)
    assert shop.command(done["command_id"])["status"] == "applied"
    ((by, action),) = system.sql(
        "SELECT key_id, action FROM audit_log WHERE command_id = %s", done["command_id"]
    )
    assert (by, action) == ("cli", "retry_failures")


def test_a_search_for_what_is_not_there_is_refused(holdfast: Shell) -> None:
    ran = holdfast("failures", "list", "--text=-boom")

    assert (ran.returncode, ran.stdout) == (1, "")
    assert "--text: name at least one word" in ran.stderr


@pytest.mark.parametrize(
    "arguments",
    [("retry",), ("retry", "5", "--all-matching"), ("retry", "5", "--actor", "place_orders")],
)
def test_what_to_put_back_has_to_be_said(holdfast: Shell, arguments: tuple[str, ...]) -> None:
    ran = holdfast("failures", *arguments)

    assert ran.returncode == 1
    assert "say which" in ran.stderr


def test_a_queue_is_paused_and_resumed(
    system: System, holdfast: Shell, shop: Shop, sku: str
) -> None:
    paused = holdfast.json("queues", "pause", "holdfast.orders", "--reason", "a test")
    try:
        assert paused["status"] == "applied"
        queues = {row["queue"]: row for row in holdfast.json("queues", "list")}
        assert queues["holdfast.orders"]["paused"]["reason"] == "a test"
        assert queues["holdfast.transitions"]["paused"] is None
        assert "paused by" in holdfast("queues", "list").stdout
        # Intake goes on, decisions don't.
        eventually(lambda: consumers(holdfast, "holdfast.orders") == 0)
        placed = shop.place((sku, 1), headers={})
        assert allocated(system, sku) == 0
    finally:
        resumed = holdfast("queues", "resume", "holdfast.orders")

    assert (resumed.returncode, resumed.stdout) == (0, "Done.\n")
    assert placed.status_code == 202
    eventually(lambda: allocated(system, sku) == 1)


def consumers(holdfast: Shell, queue: str) -> int:
    (row,) = [row for row in holdfast.json("queues", "list") if row["queue"] == queue]
    return int(row["consumers"])


def test_a_queue_that_is_not_there_is_refused(holdfast: Shell) -> None:
    ran = holdfast("queues", "pause", "nothing", "--reason", "a test")

    assert ran.returncode == 1
    assert "There is no queue nothing." in ran.stdout


def test_top_shows_actors_queues_workers_and_failures(
    system: System, holdfast: Shell, sku: str
) -> None:
    eventually(lambda: system.sql("SELECT 1 FROM workers"))

    shown = holdfast.json("top")
    text = holdfast("top", "--once").stdout

    assert shown["failures"] >= 6
    assert {"holdfast.orders", "holdfast.operations"} <= {q["queue"] for q in shown["queues"]}
    assert shown["workers"][0]["threads"] == 8
    assert "FAILURES" in text
    assert "holdfast.transitions" in text


def test_top_goes_on_until_it_is_interrupted(system: System) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "holdfast", "top", "--every", "0.2"],
        cwd=CHECKOUT, env=system.environment, stdout=subprocess.PIPE, text=True,
    ) as top:  # fmt: skip
        assert top.stdout is not None
        frames = 0
        while frames < 3:
            frames += top.stdout.readline().count("\x1b[H")
        top.send_signal(signal.SIGINT)
        rest, _ = top.communicate(timeout=60)

    assert top.returncode == 0
    assert "Traceback" not in rest


def test_a_terminal_can_not_be_driven_by_what_a_message_carried(
    system: System, holdfast: Shell, sku: str
) -> None:
    ((id_,),) = system.sql(
        "UPDATE dead_letters SET error = E'\\x1b]0;owned\\x07' "
        "WHERE id = (SELECT max(id) FROM dead_letters) RETURNING id"
    )

    for arguments in (("list",), ("show", str(id_)), ("list", "--groups")):
        printed = holdfast("failures", *arguments).stdout
        assert "owned" in printed
        assert "\x1b" not in printed


def test_keys_are_listed_in_any_terminal_and_into_any_pipe(system: System) -> None:
    def shell(line: str, **variables: str) -> tuple[int, str, str]:
        ran = subprocess.run(
            ["bash", "-c", f"set -o pipefail; {line}", sys.executable],
            cwd=CHECKOUT, env=system.environment | variables, capture_output=True, text=True,
            timeout=60, check=False,
        )  # fmt: skip
        return ran.returncode, ran.stdout, ran.stderr

    ascii_only = {"PYTHONIOENCODING": "ascii", "LC_ALL": "C", "PYTHONUTF8": "0"}
    code, made, _ = shell('"$0" -m holdfast keys create "Zoë [2J" '
                          "--scope orders:read", **ascii_only)  # fmt: skip
    assert code == 0
    key_id = made.split()[1].rstrip(".")
    ((name,),) = system.sql("SELECT name FROM api_keys WHERE id = %s", key_id)
    assert name == "Zoë [2J"
    system.sql("UPDATE api_keys SET name = %s WHERE id = %s", "Zoë \x1b\n[2J", key_id)

    _, listed, errors = shell('"$0" -m holdfast keys list', **ascii_only)
    assert rf"{key_id}  good     no limit       Zo\xeb ??[2J  orders:read" in listed
    assert errors == ""
    code, first, errors = shell('"$0" -m holdfast keys list | head -1')
    assert (first.count("\n"), errors) == (1, "")
    assert shell('"$0" -m holdfast keys list > /dev/full') == (
        1, "", "holdfast: the output can't be written: No space left on device\n"
    )  # fmt: skip
