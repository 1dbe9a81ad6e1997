"""What operators do to a service that is well."""

from typing import Final

from actors.commands import QUEUES, ROUTES, Operate
from tests.torture.faults.scene import Scene, channel_of, fault

PAUSED: Final = "SELECT count(*) FROM paused_queues"
#: How long nothing is taken from the queues: chains come to wait in all of them.
PAUSED_S: Final = 1.0
#: A worker sees a pause half a second later: so the queues go on one by one.
BETWEEN_S: Final = 0.6


@fault("pause-queues")
def pause_queues(scene: Scene) -> str:
    """All changes wait, and are taken up again queue by queue, in any order."""
    queues = sorted(set(QUEUES) - {ROUTES[Operate].queue})
    for queue in queues:
        scene.operate(f"queues/{queue}/pause", reason="the rig")
    try:
        scene.fires(lambda: scene.rig.sql(PAUSED) == [(len(queues),)], "all are paused")
        scene.fires(lambda: _all_wait(scene, queues), "something waits in each")
        scene.wait(PAUSED_S)
    finally:
        scene.random.shuffle(queues)
        for queue in queues:
            scene.operate(f"queues/{queue}/resume")
            scene.wait(BETWEEN_S)
    return ", ".join(queues)


def _all_wait(scene: Scene, queues: list[str]) -> bool:
    with channel_of(scene.rig) as channel:
        return all(
            channel.queue_declare(queue, passive=True).method.message_count for queue in queues
        )
