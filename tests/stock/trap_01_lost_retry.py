"""A retry that can't be published is acknowledged all the same.

Here a full delay queue refuses it: any policy that bounds all queues does that.
"""

from dramatiq.common import dq_name

from tests.stock.rig import SENT, Facts, Rig


def reproduce(rig: Rig) -> Facts:
    broker = rig.broker()
    failed = []

    def fail(number: int) -> None:
        failed.append(number)
        raise ConnectionError("a fault that passes by itself")

    actor = rig.actor(broker, fail)
    for number in range(SENT):
        actor.send(number)
    rig.set_policy(dq_name(rig.queue), {"max-length": 0, "overflow": "reject-publish"})
    try:
        worker = rig.work(broker, threads=4)
        rig.wait(lambda: len(failed) == SENT, "all have failed")
        rig.wait_idle(worker)
    finally:
        rig.clear_policy()
    rig.hang_up(worker)
    left = len(rig.left())
    return {
        "sent": SENT,
        "failed once, worth a retry": len(failed),
        "left in the queue, its delayed and its dead messages": left,
        "lost": SENT - left,
    }
