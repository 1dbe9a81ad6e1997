"""`make run` as a newcomer meets it: a checkout in a path with a space, nothing set up."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from config.addresses import problem_of_listening
from deploy.local import ports, processes
from tests.e2e.running import Running, served_metrics

# Alone on two good cores a stop takes 4 s and a second start 6 to 9; here the servers of the other
# tests run beside them, on a machine of any speed.
STOP_SECONDS_MAX = 60
SECOND_START_SECONDS_MAX = 90
IPV6 = problem_of_listening("::1", 0) is None

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")


def kill_and_see_it_back(run: Running, word: str) -> None:
    victim = run.leader(word)
    assert victim, word
    os.kill(victim, signal.SIGKILL)
    assert processes.wait_until(lambda: run.leader(word) not in (None, victim), 60), run.text


def paste(line: str) -> dict[str, Any]:
    done = subprocess.run(["/bin/sh", "-c", line], capture_output=True, text=True, check=True)
    printed: dict[str, Any] = json.loads(done.stdout)
    return printed


def get_order(run: Running, order_id: str) -> dict[str, Any]:
    return run.client.ask("GET", f"/v1/orders/{order_id}").body


def printed_curl(text: str) -> str:
    return next(line for line in text.splitlines() if line.startswith("curl "))


def test_from_a_fresh_checkout_to_an_order_that_outlives_everything(
    make_run: Callable[..., Running],
) -> None:
    # Given a first run, which ends its start with a decided order
    first = make_run()
    first.wait_up()
    assert "sample order  confirmed" in first.text

    # Then the addresses of metrics that it prints are served
    assert served_metrics(first.text) == {"web", "worker", "clock"}, first.text

    # And the line that it prints places another when pasted
    order = paste(printed_curl(first.text)) if shutil.which("curl") else first.order()
    assert order["status"] == "confirmed"

    # And whatever is killed comes back, without orphans of the old one
    count = len(first.pids())
    for word in ("clock", "-m web", "-m actors", "epmd", "beam", "postgres -D"):
        kill_and_see_it_back(first, word)
    assert processes.wait_until(first.places_orders, 60, every=0.3), first.text
    assert processes.wait_until(lambda: len(first.pids()) == count, 60), first.text

    # When it is told to stop, then it does, in time, and all that it started is gone
    assert first.stop(first.make.terminate) < STOP_SECONDS_MAX
    assert first.pids() == []
    assert ports.is_free(first.port)

    # When it runs again, then soon, with every order and no second delivery of stock; on every
    # address of the machine, where it has IPv6 and that is asked for
    everywhere, here = ("[::]", "[::1]") if IPV6 else ("0.0.0.0", "127.0.0.1")
    second = make_run(HOST=everywhere, METRICS_HOST=everywhere)
    assert second.wait_up() < SECOND_START_SECONDS_MAX
    assert "demo catalogue  is there" in second.text
    assert get_order(second, order["id"]) == order
    assert f"dashboard http://{here}:{second.port}/dashboard" in second.text
    assert served_metrics(second.text) == {"web", "worker", "clock"}, second.text

    # And Ctrl-C, which reaches make and what it runs, stops it as well
    assert second.stop(lambda: os.killpg(second.make.pid, signal.SIGINT)) < STOP_SECONDS_MAX
    assert second.pids() == []


def test_a_port_that_is_taken_is_named_before_anything_starts(checkout: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = subprocess.run(
            ["make", "run"],
            cwd=checkout,
            env={**os.environ, "VENV": sys.prefix, "PORT": str(port)},
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode != 0
    assert f"Port {port} is taken" in done.stdout
    assert f"PORT={port + 1} make run" in done.stdout
    assert not (checkout / ".env").exists()
