"""A worker without a living thread takes messages, and looks well."""

from tests.stock.rig import SENT, Facts, Rig, dead_threads

THREADS = 4


def reproduce(rig: Rig) -> Facts:
    broker = rig.broker()
    ran: list[int] = []
    actor = rig.actor(broker, ran.append)
    worker = rig.work(broker, threads=THREADS)
    for _ in range(THREADS):
        # One way among several (traps 5 and 7) for a thread to die.
        rig.publish(queue_name="another", args=[0])
    rig.wait(lambda: dead_threads(worker) == THREADS, "all threads dead")
    ran.clear()
    for number in range(SENT):
        actor.send(number)
    taken = min(SENT, worker.queue_prefetch - THREADS)
    rig.wait(lambda: worker.work_queue.qsize() == taken, "messages taken")
    attached = sum(thread.is_alive() for thread in worker.consumers.values())
    rig.hang_up(worker)
    return {
        "threads": THREADS,
        "threads that died": dead_threads(worker),
        "consumers attached, of the queue and its delayed messages": attached,
        "sent": SENT,
        "taken from the queue": taken,
        "run": len(ran),
    }
