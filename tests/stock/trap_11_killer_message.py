"""A message that kills its process comes back for ever, before all of its neighbours."""

import os
import signal
from multiprocessing import get_context

from tests.stock.rig import SENT, Facts, Rig

DEATHS = 10


def reproduce(rig: Rig) -> Facts:
    broker = rig.broker()
    killer = rig.actor(broker, lambda number: None)
    for number in range(SENT):
        killer.send(number)
    deaths = 0
    for _ in range(DEATHS):
        process = get_context("fork").Process(target=_work, args=(rig,))
        process.start()
        process.join(10)
        deaths += process.exitcode == -signal.SIGKILL
    left = [message["args"][0] for message in rig.left()]
    return {
        "sent, of which the first kills": SENT,
        "workers started": DEATHS,
        "workers killed": deaths,
        "neighbours done": SENT - len(left),
        "left, the killer among them": len(left),
        "the killer is left": "yes" if 0 in left else "no",
    }


def _work(rig: Rig) -> None:
    """What a worker process does, on a connection of its own."""
    broker = rig.broker()

    def work(number: int) -> None:
        if number == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    rig.actor(broker, work)
    worker = rig.work(broker, threads=1)
    worker.workers[0].join()
