"""RabbitMQ goes, is short of memory, is full, loses its queues."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Final

from dramatiq.common import dq_name

from actors.commands import QUEUES
from tests.torture.faults.scene import (
    ON_DISK_S,
    ORDERS,
    Scene,
    channel_of,
    consumers,
    fault,
    retrying,
)
from tests.torture.rig import (
    NAME,
    WORKERS,
    Rig,
)

#: Longer than a worker tries to publish a retry: so many attempts, each until it is blocked.
ALARM_S: Final = 7.5


@contextmanager
def _circumstance(scene: Scene) -> Iterator[str]:
    """Idle, under load, or while messages are on their way to be tried again."""
    which = scene.random.choice(("idle", "under load", "during retries"))
    if which == "idle":
        scene.without_doomed()
        with scene.load.held():
            yield which
    elif which == "during retries":
        with retrying(scene):
            yield which
    else:
        yield which


@fault("rabbitmq-restart")
def rabbitmq_restart(scene: Scene) -> str:
    with _circumstance(scene) as which:
        scene.rig.rabbitmq.stop()
        scene.rig.rabbitmq.start()
    return which


@fault("rabbitmq-kill")
def rabbitmq_kill(scene: Scene) -> str:
    with _circumstance(scene) as which:
        scene.rig.rabbitmq.kill()
        scene.rig.rabbitmq.start()
    return which


@fault("rabbitmq-delete-delay-queues")
def rabbitmq_delete_delay_queues(scene: Scene) -> str:
    _delete(scene, [dq_name(queue) for queue in QUEUES])
    return ""


@fault("rabbitmq-delete-queue")
def rabbitmq_delete_queue(scene: Scene) -> str:
    """The queue of new orders goes, empty: what is in a queue that somebody deletes is theirs."""
    _delete(scene, [ORDERS])
    return ""


def _delete(scene: Scene, queues: list[str]) -> None:
    """Delete queues; returns when they were made again and workers take from them.

    Not sooner: RabbitMQ that is killed before a new queue is on disk can't start it any more, and
    its clients get INTERNAL_ERROR for ever (docs/rabbitmq-generations.md).
    """
    with scene.load.held():
        now_s = scene.history.now_s()
        scene.fires(lambda: scene.watch.undecided(now_s) == 0, "nothing waits", 60.0)
        with channel_of(scene.rig) as channel:
            for queue in queues:
                channel.queue_delete(queue)
    for queue in queues:
        scene.fires(partial(_is_consumed, scene.rig, queue), f"{queue} is there again")
    scene.wait(ON_DISK_S)


def _is_consumed(rig: Rig, queue: str) -> bool:
    return consumers(rig, queue) == len(WORKERS)


@fault("rabbitmq-memory-alarm")
def rabbitmq_memory_alarm(scene: Scene) -> str:
    shed = scene.load.shed
    with _memory_alarm(scene):
        scene.fires(lambda: scene.load.shed > shed, "somebody is told to come again")
        scene.wait(1.0)
    return ""


@fault("rabbitmq-kill-under-alarm")
def rabbitmq_kill_under_alarm(scene: Scene) -> str:
    """While no retry can be published, for longer than anybody tries, it dies."""
    with retrying(scene), _memory_alarm(scene):
        scene.wait(ALARM_S)
        scene.rig.rabbitmq.kill()
        scene.rig.rabbitmq.start()
    return ""


@contextmanager
def _memory_alarm(scene: Scene) -> Iterator[None]:
    """RabbitMQ takes nothing from publishers; it goes on to deliver."""
    scene.rig.rabbitmq.ctl("set_vm_memory_high_watermark", "absolute", "1")
    try:
        yield
    finally:
        scene.rig.rabbitmq.ctl("set_vm_memory_high_watermark", "absolute", "1GB")


@fault("rabbitmq-full-queue")
def rabbitmq_full_queue(scene: Scene) -> str:
    """The queue of new orders may hold next to nothing, while nobody takes from it."""
    shed = scene.load.shed
    with _paused_orders(scene), _holding_one(scene):
        scene.fires(lambda: scene.load.shed > shed + 5, "the queue refuses")
    return f"{scene.load.shed - shed} refused"


@contextmanager
def _holding_one(scene: Scene) -> Iterator[None]:
    scene.rig.rabbitmq.ctl("set_policy", "-p", NAME, "full", f"^{ORDERS}$", '{"max-length": 1}')
    try:
        yield
    finally:
        scene.rig.rabbitmq.ctl("clear_policy", "-p", NAME, "full")


@contextmanager
def _paused_orders(scene: Scene) -> Iterator[None]:
    """Nobody takes new orders: a worker that held still would have room for some more of them."""
    scene.operate(f"queues/{ORDERS}/pause", reason="the rig")
    try:
        scene.fires(lambda: consumers(scene.rig) == 0, "nobody takes new orders")
        yield
    finally:
        scene.operate(f"queues/{ORDERS}/resume")
