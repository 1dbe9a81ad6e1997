"""What a hook raises is logged, and the actor runs anyway; SkipMessage acknowledges."""

from typing import Any

from dramatiq.middleware import Middleware, SkipMessage

from tests.stock.rig import SENT, Facts, Rig


class Refuse(Middleware):
    def __init__(self, error: Exception) -> None:
        self._error = error

    def before_process_message(self, _broker: Any, _message: Any) -> None:
        raise self._error


def reproduce(rig: Rig) -> Facts:
    ran, _ = _refused(rig, PermissionError("not this one"))
    ran_skipped, left_skipped = _refused(rig, SkipMessage("not now"))
    return {
        "sent, each kind": SENT,
        "PermissionError in before_process_message: run all the same": ran,
        "SkipMessage in before_process_message: run": ran_skipped,
        "SkipMessage: left": left_skipped,
        "lost": SENT - ran_skipped - left_skipped,
    }


def _refused(rig: Rig, error: Exception) -> tuple[int, int]:
    """How many ran, and how many are left, of messages that a hook refuses."""
    broker = rig.broker()
    broker.add_middleware(Refuse(error))
    runs: list[int] = []
    actor = rig.actor(broker, runs.append)
    for number in range(SENT):
        actor.send(number)
    worker = rig.work(broker, threads=4)
    rig.wait(lambda: rig.ready(rig.queue) == 0, "all delivered")
    rig.wait_idle(worker)
    rig.hang_up(worker)
    return len(runs), len(rig.left())
