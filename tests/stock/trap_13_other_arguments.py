"""A queue that exists with other arguments: the consumer connects for ever, and looks well."""

from typing import Any

from dramatiq.common import dq_name, xq_name

from tests.stock.rig import SENT, Facts, Rig, dead_threads


def reproduce(rig: Rig) -> Facts:
    broker = rig.broker()
    ran: list[int] = []
    rig.actor(broker, ran.append)
    with rig.channel() as channel:
        # As another version had it: no dead letters.
        for name in (rig.queue, dq_name(rig.queue), xq_name(rig.queue)):
            channel.queue_declare(name, durable=True)
    for number in range(SENT):
        rig.publish(args=[number])
    attempts = []
    consume = broker.consume

    def counted(queue_name: str, **options: Any) -> Any:
        attempts.append(queue_name)
        return consume(queue_name, **options)

    broker.consume = counted
    worker = rig.work(broker, threads=4)
    rig.wait(lambda: attempts.count(rig.queue) >= 5, "connects for ever")
    alive = sum(thread.is_alive() for thread in worker.consumers.values())
    dead = dead_threads(worker)
    rig.hang_up(worker)
    return {
        "messages in the queue": SENT,
        "attempts of the consumer": 5,
        "threads that died, of workers and consumers": dead + len(worker.consumers) - alive,
        "run": len(ran),
        "left": len(rig.left()),
    }
