"""A time limit that strikes in a hook acknowledges the message and ends the worker's thread."""

import time
from typing import Any

from dramatiq.middleware import Middleware

from tests.stock.rig import Facts, Rig, dead_threads

THREADS = 8


class Report(Middleware):
    """Tells another service about failures, which takes its time."""

    def after_process_message(self, *_: Any, **__: Any) -> None:
        for _step in range(1_000):
            time.sleep(0.01)


def reproduce(rig: Rig) -> Facts:
    broker = rig.broker()
    broker.add_middleware(Report())

    def fail() -> None:
        raise ConnectionError("a fault that passes by itself")

    actor = rig.actor(broker, fail, time_limit=500)
    for _ in range(THREADS):
        actor.send()
    worker = rig.work(broker, threads=THREADS)
    rig.wait(lambda: dead_threads(worker) == THREADS, "all threads dead")
    rig.hang_up(worker)
    left = len(rig.left())
    return {
        "sent": THREADS,
        "threads of the worker": THREADS,
        "threads that died": dead_threads(worker),
        "left in the queue, its delayed and its dead messages": left,
        "lost": THREADS - left,
    }
