"""A malformed envelope stops its queue, ends a thread, or is acknowledged and lost."""

from typing import Any

from tests.stock.rig import Facts, Rig, dead_threads

BAD = 4


def reproduce(rig: Rig) -> Facts:
    return {
        "malformed, of each kind": BAD,
        **_reproduce_loop(rig),
        **_reproduce_end(rig, "throws is a text", bad=True, options={"throws": "ValueError"}),
        **_reproduce_end(rig, "queue_name is another's", bad=False, queue_name="another"),
        **_reproduce_loss(rig),
    }


def _reproduce_loop(rig: Rig) -> Facts:
    broker, done = _given(rig, True, options=None)
    connected = []
    consume = broker.consume

    def counted(queue_name: str, **options: Any) -> Any:
        connected.append(queue_name)
        return consume(queue_name, **options)

    broker.consume = counted
    worker = rig.work(broker, threads=BAD)
    rig.wait(lambda: connected.count(rig.queue) >= 4, "connects for ever")
    rig.hang_up(worker)
    left = len(rig.left())
    return {
        "options is null: left, their neighbour with them": left,
        "options is null: neighbours done after four connections": len(done),
    }


def _reproduce_end(rig: Rig, kind: str, bad: bool, **wrong: Any) -> Facts:
    broker, _ = _given(rig, bad, **wrong)
    worker = rig.work(broker, threads=BAD)
    rig.wait(lambda: dead_threads(worker) == BAD, "all threads dead")
    rig.hang_up(worker)
    # The neighbour is left in either case: no thread is there for it.
    left = len(rig.left()) - 1
    return {
        f"{kind}: threads that died, of {BAD}": dead_threads(worker),
        f"{kind}: lost": BAD - left,
    }


def _reproduce_loss(rig: Rig) -> Facts:
    broker, done = _given(rig, True, options={"max_retries": "3"})
    worker = rig.work(broker, threads=BAD)
    rig.wait(lambda: bool(done), "the neighbour is done")
    rig.wait_idle(worker)
    rig.hang_up(worker)
    return {"max_retries is a text: lost": BAD - len(rig.left())}


def _given(rig: Rig, bad: bool, **wrong: Any) -> tuple[Any, list[bool]]:
    """A broker, with malformed messages on its queue and a good one after them; what is done.

    bad: whether the actor fails on the malformed ones.
    """
    broker = rig.broker()
    done = []

    def work(bad: bool) -> None:
        if bad:
            raise ValueError("a message that fails")
        done.append(True)

    rig.actor(broker, work)
    broker.declare_queue(rig.queue, ensure=True)
    for _ in range(BAD):
        rig.publish(kwargs={"bad": bad}, **wrong)
    rig.publish(kwargs={"bad": False})
    return broker, done
