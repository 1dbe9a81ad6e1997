"""`kill -9` of whatever `make run` started, again and again under load: it mends itself."""

import contextlib
import os
import random
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from deploy.local import metrics, ports
from deploy.local.demo import ensure_product
from deploy.local.postgres import children
from tests.conftest import eventually
from tests.e2e.running import Running, served_metrics
from tests.e2e.shop import all_decided, an_order, fresh

KILLS = 10
#: Answers that have to come between two kills, so that each meets a load.
ANSWERS_BETWEEN = 5
LEADERS = {
    "postgres": "postgres -D", "rabbitmq": "beam", "epmd": "epmd", "gunicorn": "-m web",
    "dramatiq": "-m actors", "clock": "clock",
}  # fmt: skip
KINDS = (*LEADERS, "web process", "worker process", "metrics process")

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")


def find(run: Running, kind: str) -> int | None:
    """The pid of a process of a kind; None while there is none."""
    if kind in LEADERS:
        return run.leader(LEADERS[kind])
    leader = run.leader("-m web" if kind == "web process" else "-m actors")
    with contextlib.suppress(OSError):
        found = sorted(children(leader), key=_threads) if leader else []
        if kind == "web process":
            return found[-1] if found else None
        # Of Dramatiq's two, the worker is the one with many threads.
        if len(found) == 2:
            return found[-1] if kind == "worker process" else found[0]
    return None


def _threads(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/task").iterdir()))


class Load:
    """Clients who place orders, each repeated with its key until it has an answer."""

    def __init__(self, run: Running, sku: str, clients: int = 3) -> None:
        self.accepted: list[str] = []
        self._run = run
        self._body = an_order((sku, 1))
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._order_on) for _ in range(clients)]

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _order_on(self) -> None:
        while not self._stop.is_set():
            self._place(fresh("kill"))
            self._stop.wait(0.02)

    def _place(self, key: str) -> None:
        pause = threading.Event()
        while self._run.make.poll() is None:
            with contextlib.suppress(OSError, ValueError):
                headers = {"Idempotency-Key": key}
                answer = self._run.client.ask("POST", "/v1/orders", self._body, **headers)
                if answer.status == 202:
                    self.accepted.append(answer.body["id"])
                    return
            pause.wait(0.2)


def victims(seed: int) -> Iterator[str]:
    """Every kind once, and some again, in an order of the seed's."""
    chance = random.Random(seed)
    order = [*KINDS, *chance.choices(KINDS, k=KILLS - len(KINDS))]
    chance.shuffle(order)
    yield from order


def test_ten_kills_in_any_order_under_load_lose_nothing(make_run: Callable[..., Running]) -> None:
    seed = int(os.environ.get("SEED", random.randrange(10_000)))
    # The usual ports are the other test's of `make run`, which starts at the same moment.
    variables = [variable for _, variable, _ in metrics.PORTS]
    free = map(str, ports.free_ports(len(variables)))
    run = make_run(**dict(zip(variables, free, strict=True)))
    run.wait_up()
    sku = fresh("KILL")
    ensure_product(run.client, sku, "Mug", 100, 1_000_000)
    killed: list[str] = []

    with Load(run, sku) as load:
        for kind in victims(seed):
            pid = eventually(lambda kind=kind: find(run, kind), what=kind)  # type: ignore[misc]
            os.kill(pid, signal.SIGKILL)
            killed.append(kind)
            print(f"seed {seed}: killed {kind} ({pid}) after {len(load.accepted)} orders")
            goal = len(load.accepted) + ANSWERS_BETWEEN
            eventually(lambda goal=goal: len(load.accepted) >= goal,  # type: ignore[misc]
                       what=f"orders go on after {killed}")  # fmt: skip

    # Then it is whole again by itself, its ports of metrics included
    eventually(run.client.is_ready, what="ready")
    for kind in KINDS[:-1]:
        assert eventually(lambda kind=kind: find(run, kind), what=kind)  # type: ignore[misc]
    for name in ("web", "worker", "clock"):
        eventually(lambda name=name: name in served_metrics(run.text),  # type: ignore[misc]
                   what=f"metrics of {name}")  # fmt: skip
    # And each order is there once, and decided
    ids = load.accepted
    assert len(ids) == len(set(ids)) >= KILLS * ANSWERS_BETWEEN
    assert set(all_decided(run, ids).values()) == {"confirmed"}
    placed = run.sql("SELECT count(*) FROM order_lines WHERE sku = %s", sku)
    assert placed == [(len(ids),)]
