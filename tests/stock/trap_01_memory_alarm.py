"""The same while RabbitMQ is short of memory: lost, or six times there, as that ends.

pika has written each retry to its socket, six times over, before the time-out; RabbitMQ reads them
once it has memory again. Where those connections go first, as in a restart, so do the messages.
"""

from tests.stock.rig import SENT, Facts, Rig


def reproduce(rig: Rig) -> Facts:
    return {
        "sent": SENT,
        "left after it had memory again": _left(rig, connections_close=False),
        "left where the connections had closed before": _left(rig, connections_close=True),
    }


def _left(rig: Rig, connections_close: bool) -> int:
    broker = rig.broker(blocked_connection_timeout=0.3)
    failed = []

    def fail(number: int) -> None:
        failed.append(number)
        raise ConnectionError("a fault that passes by itself")

    actor = rig.actor(broker, fail)
    for number in range(SENT):
        actor.send(number)
    with rig.short_of_memory():
        worker = rig.work(broker, threads=SENT)
        rig.wait(lambda: len(failed) == SENT, "all have failed")
        rig.wait_idle(worker)
        rig.hang_up(worker)
        if connections_close:
            rig.close_connections()
    return len(rig.left())
