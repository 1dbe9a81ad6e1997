"""The load generator: wrk, with the scripts in load/."""

import json
import queue
import signal
import subprocess
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from bench.contenders import API_KEY
from deploy.local.errors import CannotRunError

SCRIPTS = Path(__file__).parent / "load"
#: An answer that takes longer is a fault of its own.
ANSWER_SECONDS_MAX = 60


@dataclass(frozen=True)
class Orders:
    """What is posted. rate: requests per second, 0 for as fast as they are answered.

    lines: of an order, each of another one of `skus` SKUs; keyed: with an Idempotency-Key each.
    """

    connections: int
    seconds: float
    hot: bool = False
    batch: int = 1
    rate: float = 0.0
    lines: int = 2
    skus: int = 1000
    keyed: bool = False


@dataclass(frozen=True)
class Answers:
    """How the requests were answered; the times are those to the `202`, not to the decision."""

    answered: int
    refused: int
    broken: int
    p50_ms: float
    p99_ms: float

    @property
    def accepted(self) -> int:
        return self.answered - self.refused


class LoadError(CannotRunError):
    """wrk did not do its work; the message is what it said."""


class OrderLoad:
    """Posts orders in a process of its own, from `with` on."""

    def __init__(self, address: str, orders: Orders) -> None:
        self._orders = orders
        options = {
            "token": API_KEY,
            "connections": orders.connections,
            "seconds": orders.seconds,
            "hot": int(orders.hot),
            "batch": orders.batch,
            "rate": orders.rate,
            "lines": orders.lines,
            "skus": orders.skus,
            "keyed": int(orders.keyed),
        }
        # It waits for our signal: its own end is only for when we are gone.
        duration = int(orders.seconds) + 2 * ANSWER_SECONDS_MAX
        self._command = [
            "wrk", "--threads", "1", "--connections", str(orders.connections),
            "--duration", f"{duration}s", "--timeout", f"{ANSWER_SECONDS_MAX}s",
            "--script", str(SCRIPTS / "orders.lua"), "--latency", address, "--",
            *(f"{name}={value}" for name, value in options.items()),
        ]  # fmt: skip
        self._lines: queue.Queue[tuple[float, str]] = queue.Queue()

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            self._command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        self._reader.join()

    @property
    def pid(self) -> int:
        return self._process.pid

    def first_request(self) -> float:
        """Wait for the first request; returns its time on the monotonic clock."""
        return self._wait_for("first")

    def all_answered(self) -> float:
        """Wait until all was sent and answered; returns the time on the monotonic clock."""
        return self._wait_for("idle")

    def answers(self) -> Answers:
        """End it, and hear what it counted."""
        self._process.send_signal(signal.SIGINT)
        while True:
            _, line = self._next()
            if line.startswith("{"):
                return Answers(**json.loads(line))

    def _wait_for(self, word: str) -> float:
        while True:
            at, line = self._next()
            if line == word:
                return at

    def _next(self) -> tuple[float, str]:
        try:
            at, line = self._lines.get(timeout=self._orders.seconds + ANSWER_SECONDS_MAX)
        except queue.Empty:
            raise LoadError("wrk has been silent for too long") from None
        if not line:
            raise LoadError(f"wrk ended with status {self._process.wait()}")
        return at, line.strip()

    def _read(self) -> None:
        output = self._process.stdout
        assert output is not None
        for line in output:
            self._lines.put((time.monotonic(), line))
        self._lines.put((time.monotonic(), ""))


def read_orders(address: str, ids: Path, connections: int, seconds: float) -> dict[str, Any]:
    """Read random orders of a file of ids; what wrk counted, with `seconds` it took."""
    command = [
        "wrk", "--threads", "1", "--connections", str(connections), "--duration", f"{seconds:.0f}s",
        "--timeout", f"{ANSWER_SECONDS_MAX}s", "--script", str(SCRIPTS / "reads.lua"),
        "--latency", address, "--", API_KEY, str(ids),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise LoadError(done.stdout + done.stderr)
    last: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return last
