"""Connections and consumers that RabbitMQ ends."""

import threading
from collections import Counter
from functools import partial
from typing import Final

from tests.torture.faults.processes import killed_at
from tests.torture.faults.scene import NotFiredError, Scene, consumers, fault, retrying
from tests.torture.proxy import Mode
from tests.torture.rig import (
    WORKERS,
)

#: At the rate of the load: each worker has had a handful, and no more than it fetches ahead.
A_FEW_MESSAGES_S: Final = 0.2


@fault("rabbitmq-close-connections")
def rabbitmq_close_connections(scene: Scene) -> str:
    for _ in range(scene.series):
        _close_connections(scene)
    return f"{scene.series} times"


@fault("rabbitmq-cancel-consumers")
def rabbitmq_cancel_consumers(scene: Scene) -> str:
    """Consumers that hold delayed messages are cancelled; each goes on once all the same."""
    # What an earlier fault has cut off may still come a second time.
    scene.fires(lambda: consumers(scene.rig) == len(WORKERS), "all consumers are there")
    before = len(scene.rig.failpoints.moved())
    with retrying(scene):
        scene.wait(1.5)
        cancelled = scene.rig.links["worker-broker"].cancel_consumers(".DQ")
    if not cancelled:
        raise NotFiredError("no consumer of delayed messages was there")
    # Dramatiq begins to consume again after three seconds.
    scene.wait(5.0)
    moves = Counter(scene.rig.failpoints.moved()[before:])
    scene.broken += [
        f"P2 a delayed message goes on {n} times: {m}" for m, n in moves.items() if n > 1
    ]
    return f"{cancelled} consumers, {len(moves)} delayed messages"


@fault("rabbitmq-reconnect-with-work-in-hand")
def rabbitmq_reconnect_with_work_in_hand(scene: Scene) -> str:
    """Threads are still at work on messages of a connection that is gone, and finish after the

    next one has delivered others under the same numbers; then their processes die.
    """
    link = scene.rig.links["worker-database"]
    with scene.load.held():
        now_s = scene.history.now_s()
        scene.fires(lambda: scene.watch.undecided(now_s) == 0, "nothing waits", 60.0)
        _close_connections(scene)
        scene.fires(lambda: consumers(scene.rig) == len(WORKERS), "the consumers are back")
    # A few are done, so that what is in hand has numbers that others will have next time.
    scene.wait(A_FEW_MESSAGES_S)
    link.set(Mode.FREEZE)
    try:
        scene.wait(1.0)
        _close_connections(scene)
        scene.fires(lambda: consumers(scene.rig) == len(WORKERS), "the consumers are back again")
        scene.wait(0.3)
    finally:
        frozen = link.heal()
    if not frozen:
        raise NotFiredError("nobody was at work")
    for _ in WORKERS:
        killed_at("before-commit")(scene)
    return ""


def _close_connections(scene: Scene) -> None:
    """Every one; returns when RabbitMQ knows no consumer any more."""
    scene.fires(lambda: consumers(scene.rig) == len(WORKERS), "there are consumers")
    # Without --global it closes those of the virtual host "/" only, of which there are none.
    close = partial(scene.rig.rabbitmq.ctl, "close_all_connections", "--global", "torture")
    # They come back within seconds, which a slow rabbitmqctl might take to say that it is done.
    closing = threading.Thread(target=close)
    closing.start()
    try:
        scene.fires(lambda: consumers(scene.rig) == 0, "the consumers are gone")
    finally:
        closing.join()
